"""A hundred thousand old events, moved into the archive and back by a consumer that is killed again and again."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import instant
from core.query import NOT_OWN, EventQuery, Range
from core.segments import SegmentState
from core.tenant import for_system
from core.wiring import Backends
from tests.flow.aged import aged, put
from tests.flow.conftest import LIVE, drop_live, live_environment
from tests.flow.test_retention import ended
from tests.service import Client, Service, environment, service

EVENTS = int(os.environ.get("OCELOT_RETENTION_EVENTS", "100000"))
DAY = 86_400_000_000
BACKENDS = ["embedded", *([pytest.param("live", marks=pytest.mark.live)] if LIVE else [])]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1400)]


@pytest.fixture(params=BACKENDS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """A service that looks for old events every other second."""
    more = {"OCELOT_RETENTION_EVERY": "2", "OCELOT_LEASE_SECONDS": "4"}
    if request.param == "embedded":
        store, index = request.getfixturevalue("embedded_store"), request.getfixturevalue("embedded_index")
        settings = environment(tmp_path, store.url, index.url, **more)
    else:
        settings = live_environment(tmp_path) | more
    made = service(settings)
    made.start()
    yield made
    made.stop()
    if request.param == "live":
        drop_live(settings)


def digests(running: Service, client: Client) -> dict[str, bytes]:
    """The SHA-256 of every stored body, by id, but for the service's own events: each look at a job leaves one."""
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")
    found: dict[str, bytes] = {}

    async def read(backends: Backends) -> None:
        query = EventQuery(conditions=(NOT_OWN,), received_at=Range(0, 1 << 60), sort="received_at")
        async for batch in backends.store.drain(scope, query, after=None):
            for event in batch.events:
                found[event.id] = hashlib.sha256(event.body).digest()
                assert found[event.id] == event.hash

    running.with_backends(read)
    return found


def indexed(running: Service, client: Client) -> int:
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")

    async def count(backends: Backends) -> int:
        await backends.index.refresh(scope)
        query = EventQuery(conditions=(NOT_OWN,))
        return (await backends.index.search(scope, query, after=None, limit=1, total_bound=2 * EVENTS)).total

    found: int = running.with_backends(count)
    return found


def kill_and_start(running: Service, times: int, pause: float) -> None:
    for _ in range(times):
        time.sleep(pause)
        running.consumer.kill()
        running.consumer.start()


def test_a_hundred_thousand_events_go_and_come_back(kept: Service) -> None:
    client = kept.tenant("aged")
    assert client.tenant is not None
    today = instant.now_us() // DAY * DAY
    # Two and a half months of them, all past the retention of 90 days but for the last thousand.
    start, last = today - 170 * DAY, today - 91 * DAY
    old = EVENTS - 1000
    rows = [aged(client.tenant, start + n * (last - start) // old, n, user_id=f"u{n % 1000}") for n in range(old)]
    young = [aged(client.tenant, today - 30 * DAY + n, n, user_id=f"u{n % 1000}") for n in range(1000)]
    kept.consumer.stop()  # so that the look comes when all is there
    began = time.monotonic()
    put(kept, client, [*rows, *young])
    print(f"\nput {EVENTS} in {time.monotonic() - began:.0f} s")
    expected = {row.id: row.hash for row in (*rows, *young)}
    recent = last - 10 * DAY
    held = {row.id for row in rows if row.named["user_id"] in ("u7", "u8") and row.received_at >= recent}
    staying = held | {row.id for row in young}
    search = {"query": {"field": "user_id", "equals": ["u7", "u8"]}, "received_from": instant.to_text(recent)}
    assert client.post("/holds", json={"search": search, "reason": "a court's file"}).status_code == 201

    kept.consumer.start()
    began = time.monotonic()
    kill_and_start(kept, 3, 6)
    job = wait_for(kept, client)
    print(f"archived and removed in {time.monotonic() - began:.0f} s, three kills included: {job}")
    assert (job["archived"], job["held"]) == (len(expected) - len(staying), len(held))
    assert job["dropped_indices"]  # at least the first month: nothing of it is held
    after = digests(kept, client)
    assert after == {event_id: expected[event_id] for event_id in staying}
    assert indexed(kept, client) == len(staying)
    assert states(kept, client) == {SegmentState.REMOVED}

    body = {"received_from": instant.to_text(start), "received_to": instant.to_text(today), "keep_days": 1}
    began = time.monotonic()
    answer = client.post("/logs/restore", json=body)
    kill_and_start(kept, 2, 6)
    result = ended(client, answer.json()["job"], timeout=600)
    print(f"restored in {time.monotonic() - began:.0f} s, two kills included: {result}")
    assert (result["conflicts"], result["failed"]) == (0, 0)
    assert result["restored"] == len(expected) - len(staying)
    assert digests(kept, client) == expected
    assert indexed(kept, client) == len(expected)


def wait_for(running: Service, client: Client) -> dict[str, Any]:
    """The result of the job that the look has asked for."""
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")
    deadline = time.monotonic() + 900
    while True:
        [*jobs] = running.with_backends(lambda b: b.jobs.listing(scope, "retention", before=None, limit=9))
        if jobs:
            break
        assert time.monotonic() < deadline
        time.sleep(1)
    assert len(jobs) == 1
    while (found := client.get(f"/jobs/{jobs[0].id}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, found
        time.sleep(1)
    assert found["state"] == "done", found
    result: dict[str, Any] = found["result"]
    return result


def states(running: Service, client: Client) -> set[SegmentState]:
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")
    found = running.with_backends(lambda backends: backends.segments.listing(scope, after=None, limit=10_000))
    return {segment.state for segment in found}
