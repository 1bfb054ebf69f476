"""SIGKILL at random moments: what was answered 202 is stored once and indexed once, and nothing is stored twice."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import census
from tests.census import Census
from tests.conftest import DATA
from tests.faults import stack as stacks
from tests.faults.sender import Sender, Told, keyed_events
from tests.faults.stack import Stack
from tests.service import Client

SEED = int(os.environ.get("OCELOT_TEST_SEED", "20261121"))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_no_accepted_event_is_lost_or_stored_twice(servers: str, tmp_path: Path) -> None:
    storm(servers, tmp_path, events=2_000, rounds=2, bulk=10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_no_accepted_event_of_100_000_is_lost_or_stored_twice(servers: str, tmp_path: Path) -> None:
    storm(servers, tmp_path, events=67_000, rounds=15, bulk=100)


def storm(servers: str, home: Path, *, events: int, rounds: int, bulk: int) -> None:
    """Two tenants send `events` keyed events, and half as many without keys, while each process is killed `rounds`
    times; then everything is counted."""
    with getattr(stacks, servers)(home) as stack:
        clients = [stack.service.tenant("one"), stack.service.tenant("two")]
        log = DATA / "cloudtrail.ndjson.gz" if DATA.is_dir() else None
        senders = [Sender(client, keyed_events(log, events // 2), bulk) for client in clients]
        for sender in senders:
            sender.start()
        _kill_at_random(stack, rounds)
        for sender in senders:
            sender.enough.set()
        for sender in senders:
            sender.join(600)
            assert not sender.is_alive()
            assert sender.failed is None, sender.failed
        census.settle(stack.service, clients, timeout=100 + events / 100)
        for client, sender in zip(clients, senders, strict=True):
            _judge(sender.told, census.take(stack.service, client), client)


def _kill_at_random(stack: Stack, rounds: int) -> None:
    """Each process `rounds` times, each on its own clock, so that any of them may be gone at once."""

    def rounds_of(name: str) -> None:
        chance = random.Random(f"{SEED}-{name}")
        for _ in range(rounds):
            time.sleep(chance.uniform(0.2, 3.0))
            stack.kill(name)
            time.sleep(chance.uniform(0.0, 0.5))
            stack.start(name)

    with ThreadPoolExecutor() as pool:
        list(pool.map(rounds_of, stack.names))


def _judge(told: Told, held: Census, client: Client) -> None:
    attempts = Counter(json.loads(body).get("request_id") for body in held.bodies.values() if b'"test.plain"' in body)
    accepted = told.accepted
    lost = accepted - set(held.stored)
    twice = [ids for ids in told.keyed.values() if len(ids) > 1] + [a for a, count in attempts.items() if count > 1]
    untold = set(held.stored) - accepted
    print(
        f"\nseed {SEED}: accepted {len(accepted)}, stored {len(held.stored)} ({len(untold)} of them of "
        f"{len(told.unanswered)} sent without an answer), indexed {len(held.indexed)}, lost {len(lost)}, "
        f"twice {len(twice)}"
    )
    assert told.wrong == []
    assert len(told.keyed) + len(told.unkeyed) == len(accepted) > 0
    assert not lost
    assert not twice
    assert held.altered == []
    # What is there beyond the accepted are attempts whose answer was cut off, and nothing else.
    assert {json.loads(held.bodies[id_]).get("request_id") for id_ in untold} <= told.unanswered
    assert sorted(held.indexed) == sorted(held.stored)
    assert len(set(held.stored)) == len(held.stored)
    found = client.get("/logs", params={"limit": 1}).json()
    assert (found["total"], found["answered_by"]) == (len(held.stored), "index")
