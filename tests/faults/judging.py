"""What a service holds, against what its clients were told: nothing lost, nothing twice, nothing altered."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests import census, figures
from tests.census import Census
from tests.faults.sender import Sender, Told
from tests.faults.stack import Stack
from tests.service import Client

TABLE = "Nothing lost, nothing twice"


def judge_all(
    request: pytest.FixtureRequest, stack: Stack, clients: list[Client], senders: list[Sender], **notes: object
) -> None:
    """Wait until all is settled, judge each client's events, and leave a row of figures."""
    for sender in senders:
        sender.enough.set()
    for sender in senders:
        sender.join(600)
        assert not sender.is_alive()
        assert sender.failed is None, sender.failed
    accepted = sum(len(sender.told.accepted) for sender in senders)
    census.settle(stack.service, clients, timeout=100 + accepted / 100)
    total: Counter[str] = Counter()
    for client, sender in zip(clients, senders, strict=True):
        total += judge(sender.told, census.take(stack.service, client, timeout=300 + accepted / 100), client)
    # Each of these was asserted to be none: what is printed is what was found.
    row = {name: total[name] for name in ("accepted", "stored", "indexed", "lost", "twice", "altered")}
    figures.record(request, TABLE, test=request.node.name, **row, **notes)


def judge(told: Told, held: Census, client: Client) -> Counter[str]:
    """The counts; fails unless what was answered 202 is stored once and indexed once, as it was sent."""
    attempts = Counter(json.loads(body).get("request_id") for body in held.bodies.values() if b'"test.plain"' in body)
    accepted = told.accepted
    lost = accepted - set(held.stored)
    twice = [ids for ids in told.keyed.values() if len(ids) > 1] + [a for a, count in attempts.items() if count > 1]
    untold = set(held.stored) - accepted
    assert told.wrong == []
    assert len(told.keyed) + len(told.unkeyed) == len(accepted) > 0
    assert not lost
    assert not twice
    assert held.altered == []
    # What is there beyond the accepted are attempts whose answer was cut off, and nothing else.
    assert {json.loads(held.bodies[id_]).get("request_id") for id_ in untold} <= told.unanswered
    assert sorted(held.indexed) == sorted(held.stored)
    assert len(set(held.stored)) == len(held.stored)
    found = client.found(len(held.stored), limit=1)
    assert found["answered_by"] == "index"
    return Counter(
        accepted=len(accepted), stored=len(held.stored), indexed=len(held.indexed), lost=len(lost), twice=len(twice),
        altered=len(held.altered),
    )  # fmt: skip
