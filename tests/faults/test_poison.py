"""Messages that no API made: what is good arrives, a bad event is set aside alone, what is no envelope ends dead."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from core import envelope, instant
from core.envelope import Header, Record
from core.errors import UndecodableEnvelope
from core.placement import place
from core.ports import Depth, Heartbeat, Message
from core.wiring import Backends
from infra.local.servers import free_port
from tests import census, figures
from tests.faults import stack as stacks
from tests.faults.stack import Stack
from tests.service import ROOT, Client, Process


@pytest.fixture(scope="module", params=stacks.SERVERS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service whose queue makes a dead letter of what was received three times."""
    with getattr(stacks, request.param)(tmp_path_factory.mktemp("poison"), OCELOT_MAX_RECEIVES="3") as running:
        yield running


def test_poison_is_set_aside_alone(stack: Stack) -> None:
    client = stack.service.tenant("poison")
    good = [_record(client, f"good-{n}") for n in range(6)]
    bad = [
        Record(good[0].tenant_id, good[0].placement, b'{"no":"event"}'),
        Record(good[0].tenant_id, good[0].placement, b"\x00\xff not even JSON"),
        Record(good[0].tenant_id, "nowhere", good[0].body.replace(b"good-0", b"misplaced")),
        Record("another1", good[0].placement, good[0].body.replace(b"good-0", b"strayed")),
    ]
    _send(stack, _envelope([good[0], bad[0], good[1], bad[1], good[2]]), b"garbage", _envelope([good[3], *bad[2:]]))
    _send(stack, b"", b"\x01\x00\x00\x00\x04nope", _envelope([*good[4:], bad[0]])[:-20], _envelope(good[4:]))
    client.found(6, action="poisoned")
    _await_dead(stack, 4 - 1)  # an empty message is refused at the queue's door
    held = census.take(stack.service, client)
    assert sorted(held.bodies.values()) == sorted(record.body for record in good)
    assert sorted(held.indexed) == sorted(held.stored)
    parked = _listed(stack, "--tenant", good[0].tenant_id)
    assert {one["reason"] for one in parked} == {"undecodable_event"}
    assert sorted(one["bytes"] for one in parked) == sorted(len(record.body) for record in bad[:3])
    assert [one["tenant_id"] for one in _listed(stack, "--tenant", "another1")] == ["another1"]
    assert client.ingest({"action": "still.works"})
    client.found(1, action="still.works")


def test_a_parked_event_is_replayed(stack: Stack) -> None:
    """One that was parked by mistake arrives; one that is still bad is on the list again, and never lost between."""
    client = stack.service.tenant("replayed")
    assert client.tenant is not None
    good, bad = _record(client, "mended"), b'{"still":"bad"}'
    placement = good.placement
    _send(stack, _envelope([Record(good.tenant_id, placement, bad)]))
    [listed] = _await_listed(stack, client, 1)
    stack.service.with_backends(lambda backends: _park_as(backends, listed["id"], good))
    both = {one["id"]: one for one in _listed(stack, "--tenant", good.tenant_id)}
    assert len(both) == 2
    for parked_id in both:
        done = _ocelot(stack, "parked", "replay", parked_id)
        assert (done.returncode, done.stdout) == (0, f"queued again: {parked_id}\n"), done.stderr
    client.found(1, action="poisoned", request_id="mended")
    [again] = _await_listed(stack, client, 1)
    assert again["id"] == listed["id"]
    assert _ocelot(stack, "parked", "show", again["id"]).stdout.strip() == bad.decode()
    assert _ocelot(stack, "parked", "discard", "--yes", again["id"]).returncode == 0
    assert _listed(stack, "--tenant", good.tenant_id) == []


def test_one_in_five_hundred_is_set_aside_by_a_faulty_consumer_and_replayed_after_the_fix(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    """A consumer with a fault of its own refuses some good events; the mended one takes them, by `ocelot parked`."""
    client = stack.service.tenant("faulty")
    assert client.tenant is not None
    port = free_port()
    settings = {
        **stack.service.environment, "OCELOT_BREAK": '{"refuses": "cursed"}', "OCELOT_CONSUMER_PORT": str(port),
    }  # fmt: skip
    faulty = Process("tests.faults.breaking", settings, port, "/health")
    stack.service.consumer.stop()
    faulty.start()
    try:
        actions = ["cursed" if n % 500 == 250 else "good" for n in range(1_000)]
        for start in range(0, len(actions), 250):
            items = [{"action": action} for action in actions[start : start + 250]]
            assert client.post("/logs/bulk", json=items).json()["accepted"] == 250
        census.settle(stack.service, [client])
    finally:
        faulty.stop()
        stack.service.consumer.start()
    aside = _await_listed(stack, client, 2)
    assert len(census.take(stack.service, client).stored) == 998
    for one in aside:
        assert _ocelot(stack, "parked", "replay", one["id"]).returncode == 0
    client.found(2, action="cursed")
    census.settle(stack.service, [client])
    held = census.take(stack.service, client)
    assert len(held.stored) == len(held.indexed) == 1_000
    assert _listed(stack, "--tenant", client.tenant.id) == []
    figures.record(
        request, "Poison, one in 500", servers="embedded" if stack.servers else "live", accepted=1_000,
        set_aside=len(aside), stored_meanwhile=998, replayed=2, stored=len(held.stored), indexed=len(held.indexed),
    )  # fmt: skip


def test_a_replay_does_not_remove_what_was_parked_again(stack: Stack) -> None:
    """The consumer may park the event again between the command's two steps: that parking stays."""
    client = stack.service.tenant("raced")
    record = _record(client, "raced")

    async def race(backends: Backends) -> tuple[bool, bool]:
        await _park_as(backends, None, record)
        [item] = await backends.parking.listing(record.tenant_id)
        await backends.parking.park([item])
        late = await backends.parking.remove(item.id, item.attempts)
        [item] = await backends.parking.listing(record.tenant_id)
        return late, await backends.parking.remove(item.id, item.attempts)

    assert stack.service.with_backends(race) == (False, True)


async def _park_as(backends: Backends, like: str | None, record: Record) -> None:
    from core.ports import Parked

    item = Parked(
        id=secrets.token_hex(16), tenant_id=record.tenant_id, event_id=None, reason="not_indexable", detail=like or "",
        body=record.body, placement=record.placement, content=None, envelope="", attempts=1, parked_at=instant.now_us(),
    )  # fmt: skip
    await backends.parking.park([item])


def _record(client: Client, mark: str) -> Record:
    assert client.tenant is not None
    now = instant.now_us()
    event_id = f"01999999-{secrets.token_hex(2)}-7000-8000-{secrets.token_hex(6)}"
    body = (
        f'{{"id":"{event_id}","tenant_id":"{client.tenant.id}","timestamp":"{instant.to_text(now)}",'
        f'"received_at":"{instant.to_text(now)}","salt":"c2FsdA","action":"poisoned","severity":"INFO",'
        f'"request_id":"{mark}"}}'
    )
    return Record(client.tenant.id, place(client.tenant.placements, now), body.encode())


def _envelope(records: list[Record]) -> bytes:
    producer = secrets.token_hex(16)
    events: dict[str, int] = {}
    for record in records:
        events[record.tenant_id] = events.get(record.tenant_id, 0) + 1
    header = Header(id=f"{producer}-1", producer=producer, sequence=1, made_at=instant.now_us(), events=events)
    return envelope.pack(header, records)


def _send(stack: Stack, *messages: bytes) -> None:
    async def send(backends: Backends) -> None:
        await backends.queue.send([Message(message) for message in messages if message])
        for message in messages:
            with suppress(UndecodableEnvelope):
                # Or every watermark would wait a minute for what else it may send.
                header, _ = envelope.unpack(message)
                await backends.ledger.beat(Heartbeat(header.producer, 1, instant.now_us(), ended=True))

    stack.service.with_backends(send)


def _await_dead(stack: Stack, count: int, timeout: float = 60) -> None:
    async def depth(backends: Backends) -> Depth:
        return await backends.queue.depth()

    deadline = time.monotonic() + timeout
    while (now := stack.service.with_backends(depth)) != Depth(0, 0, count):
        assert time.monotonic() < deadline, now
        time.sleep(0.2)


def _ocelot(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **stack.service.environment, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=Path(ROOT))


def _listed(stack: Stack, *arguments: str) -> list[dict[str, Any]]:
    done = _ocelot(stack, "parked", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _await_listed(stack: Stack, client: Client, count: int, timeout: float = 30) -> list[dict[str, Any]]:
    assert client.tenant is not None
    deadline = time.monotonic() + timeout
    while len(found := _listed(stack, "--tenant", client.tenant.id)) != count:
        assert time.monotonic() < deadline, found
    return found
