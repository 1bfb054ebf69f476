"""The store's adapters when the server is not there, refuses, or is killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import pymongo
import pytest
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    ServerSelectionTimeoutError,
    WriteConcernError,
)

from core.adapters.store import pages
from core.adapters.store.client import DEADLINE, Client, Collection, open_client, store_calls
from core.adapters.store.control import MongoControl
from core.adapters.store.events import MongoEventStore
from core.adapters.store.indexes import ensure_indexes
from core.adapters.store.inserts import insert_rows
from core.adapters.store.ledger import MongoLedger
from core.adapters.store.outbox import MongoOutbox
from core.adapters.store.parking import MongoParking
from core.adapters.store.upserts import upsert
from core.errors import Blocked, Invalid, TimedOut, Unavailable
from core.ports import Heartbeat, InsertOutcome
from core.query import EventQuery
from infra.local.servers import Server, free_port, start_store
from tests.contracts.stores import a_scope, rows

Call = Callable[[Client], Awaitable[object]]
CALLS: dict[str, Call] = {
    "insert": lambda c: MongoEventStore(c["x"]).insert(rows(a_scope(), 1)),
    "find": lambda c: MongoEventStore(c["x"]).find(a_scope(), EventQuery(), after=None, limit=1, total_bound=1),
    "fetch": lambda c: MongoEventStore(c["x"]).fetch(a_scope(), ["x"]),
    "bodies": lambda c: MongoEventStore(c["x"]).bodies(a_scope(), ["x"]),
    "scan": lambda c: anext(MongoEventStore(c["x"]).scan(a_scope(), start=0, end=9)),
    "ping": lambda c: MongoEventStore(c["x"]).ping(),
    "oldest": lambda c: MongoOutbox(c["x"]).oldest(1, "tenant01"),
    "listing": lambda c: MongoParking(c["x"]).listing(),
    "beat": lambda c: MongoLedger(c["x"]).beat(Heartbeat("p", 0, 1)),
    "control": lambda c: MongoControl.open(c["x"]),
}


async def test_a_dead_server_is_unavailable_within_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pymongo.timeout
    monkeypatch.setattr(pymongo, "timeout", lambda seconds: whole(seconds / 10))
    client = open_client(f"mongodb://user:hunter2@127.0.0.1:{free_port()}/?authSource=admin")
    # The deadlines are a tenth: 1.5 s at most. The driver's own would be 30 s; the rest is room for a busy machine.
    async with asyncio.timeout(20):
        results = await asyncio.gather(*(call(client) for call in CALLS.values()), return_exceptions=True)
    for name, raised in zip(CALLS, results, strict=True):
        assert isinstance(raised, Unavailable), name
        assert raised.dependency == "store"
        assert "hunter2" not in str(raised)
        assert "127.0.0.1" not in str(raised)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AutoReconnect("gone"), Unavailable),
        (NetworkTimeout("silent"), TimedOut),
        (ServerSelectionTimeoutError("none found"), TimedOut),
        (NotPrimaryError("not primary"), Unavailable),
        (ExecutionTimeout("slow", 50), Unavailable),
        (WriteConcernError("not journaled", 64), Unavailable),
        (OperationFailure("write blocked", 371), Blocked),
        (OperationFailure("disk full", 14031), Blocked),
        (OperationFailure("not authorized", 13), Blocked),
        (BulkWriteError({"writeErrors": [{"index": 0, "code": 14031}], "writeConcernErrors": []}), Blocked),
    ],
    ids=lambda value: getattr(value, "__name__", None) or f"{type(value).__name__}-{getattr(value, 'code', '')}",
)
def test_the_drivers_errors_become_ocelots_own(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(Unavailable) as raised, store_calls():
        raise error
    assert type(raised.value) is expected


class Refusing:
    """A collection whose server answers a batch with these details."""

    def __init__(self, *codes: int, concern: Sequence[int] = ()) -> None:
        self.details = {
            "writeErrors": [{"index": n, "code": code} for n, code in enumerate(codes)],
            "writeConcernErrors": [{"code": code} for code in concern],
        }

    async def insert_many(self, documents: object, ordered: bool) -> None:
        raise BulkWriteError(self.details)


@pytest.mark.parametrize(
    ("refusing", "expected"),
    [
        (Refusing(121, 91), Unavailable),
        (Refusing(11000, 14031), Blocked),
        (Refusing(concern=[64]), Unavailable),
        (Refusing(121, concern=[64]), Unavailable),
    ],
    ids=["shutting down", "disk full", "not durable", "not durable, one refused"],
)
async def test_a_batch_that_the_server_could_not_finish_fails_whole(
    refusing: Refusing, expected: type[Exception]
) -> None:
    with pytest.raises(Unavailable) as raised:
        await insert_rows(cast("Collection", refusing), rows(a_scope(), 3))
    assert type(raised.value) is expected


async def test_a_document_that_the_server_refuses_is_its_own_fault() -> None:
    outcomes = await insert_rows(cast("Collection", Refusing(121, 10334)), rows(a_scope(), 3))
    assert [type(outcome) for outcome in outcomes] == [Invalid, Invalid, InsertOutcome]


@pytest.mark.parametrize(
    ("url", "concern"),
    [
        ("mongodb://h/", {"w": "majority", "j": True}),
        ("mongodb://h/?W=1&journal=false", {"w": 1, "j": False}),
        ("mongodb://h/db?replicaSet=r&w=3", {"w": 3, "j": True}),
    ],
)
async def test_writes_are_durable_unless_the_url_says_otherwise(url: str, concern: dict[str, object]) -> None:
    client = open_client(url + ("&" if "?" in url else "?") + "retryWrites=true")
    assert client.write_concern.document == concern
    options = client.delegate.options
    assert (options.retry_writes, options.retry_reads, options.timeout) == (False, False, DEADLINE)
    client.close()


async def test_a_total_that_takes_too_long_is_a_lower_bound(
    embedded_store: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "COUNT_DEADLINE", 1e-6)
    client, scope = open_client(embedded_store.url), a_scope()
    store = MongoEventStore(client["slow_count"])
    await store.insert(rows(scope, 9))
    page = await store.find(scope, EventQuery(), after=None, limit=4, total_bound=100)
    assert (len(page.events), page.total, page.total_exact) == (4, 4, False)
    await client.drop_database("slow_count")
    client.close()


class Racing:
    """A collection whose first `lost` upserts come second in a race."""

    def __init__(self, lost: int) -> None:
        self.lost, self.applied = lost, 0

    async def update_one(self, asked: object, change: object, upsert: bool) -> None:
        if self.lost:
            self.lost -= 1
            raise DuplicateKeyError("E11000")
        self.applied += 1


async def test_an_upsert_that_lost_a_race_is_applied_once() -> None:
    racing = Racing(2)
    await upsert(cast("Collection", racing), "x", {})
    assert racing.applied == 1
    with pytest.raises(Unavailable):
        await upsert(cast("Collection", Racing(99)), "x", {})


async def test_a_killed_store_has_every_acknowledged_event(tmp_path: Path) -> None:
    server = start_store(tmp_path)
    scope, acknowledged = a_scope(), []
    client = open_client(server.url)
    store = MongoEventStore(client["killed"])
    await ensure_indexes(client["killed"])

    async def insert_until_it_dies() -> None:
        with contextlib.suppress(Unavailable):
            while True:
                batch = rows(scope, 20)
                assert await store.insert(batch) == [InsertOutcome.STORED] * 20
                acknowledged.extend(batch)

    async def kill() -> None:
        while len(acknowledged) < 400:
            await asyncio.sleep(0.01)
        server.kill()

    await asyncio.gather(kill(), *(insert_until_it_dies() for _ in range(3)))
    client.close()
    again = start_store(tmp_path)
    try:
        client = open_client(again.url)
        store = MongoEventStore(client["killed"])
        held = await store.fetch(scope, [r.id for r in acknowledged])
        assert {event_id: event.body for event_id, event in held.items()} == {r.id: r.body for r in acknowledged}
        assert set(await store.insert(acknowledged[:40])) == {InsertOutcome.DUPLICATE}
        client.close()
    finally:
        again.stop()
