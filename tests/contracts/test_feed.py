"""`EventFeed` on every server that tells of changes: nothing left out, nothing twice, and no silence about a loss."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.adapters.store import feed as feeds
from core.adapters.store.client import Database, open_client
from core.adapters.store.events import MongoEventStore
from core.adapters.store.feed import MongoEventFeed
from core.adapters.store.feed_marks import mark_of, token_of
from core.adapters.store.indexes import ensure_indexes
from core.errors import HistoryLost, Unavailable
from core.ports import FeedEvent, Watch
from core.tenant import TenantScope
from infra.local import servers
from tests.conftest import LIVE_MONGODB
from tests.contracts.stores import a_scope, body_of, row, rows

LIVE = pytest.param("live", id="live", marks=pytest.mark.skipif(not LIVE_MONGODB, reason="no OCELOT_TEST_MONGODB_URL"))


@pytest.fixture(params=[pytest.param("embedded", id="secantusdb"), LIVE])
def backend(request: pytest.FixtureRequest) -> str:
    """The mongomock of the other suites tells of no changes."""
    return str(request.param)


@pytest.fixture
def store(database: Database) -> MongoEventStore:
    return MongoEventStore(database)


@pytest.fixture
def feed(database: Database) -> MongoEventFeed:
    return MongoEventFeed(database)


async def until_quiet(watch: Watch) -> tuple[list[FeedEvent], bytes]:
    """What the watch tells until it has nothing more to tell, and its mark then."""
    events: list[FeedEvent] = []
    while (reading := await watch.read()).events:
        events += reading.events
    return events, reading.mark or (events[-1].mark if events else watch.mark)


async def insert(store: MongoEventStore, scope: TenantScope, count: int) -> list[str]:
    some = rows(scope, count)
    await store.insert(some)
    return [each.id for each in some]


async def test_it_tells_of_the_tenants_events_whole_and_in_order(store: MongoEventStore, feed: MongoEventFeed) -> None:
    mine, ours, theirs = a_scope(), a_scope(), a_scope()
    await insert(store, mine, 3)
    watch = await feed.watch([mine, ours], None)
    fields = {"user_id": "ana", "tags": ["a", "b"], "ip_address": "10.0.0.1", "metadata": {"a.b": "é\u2028"}}
    whole = row(mine, body_of(mine.tenant_id, fields))
    await store.insert([whole])
    ids = [whole.id]
    for scope in (theirs, ours, mine, theirs, mine):
        made = await insert(store, scope, 4)
        ids += made if scope is not theirs else []
    events, _ = await until_quiet(watch)
    await watch.aclose()
    assert [event.id for event in events] == ids
    assert [event.order for event in events] == sorted(event.order for event in events)
    first = events[0]
    assert (first.body, first.timestamp, first.received_at) == (whole.body, whole.timestamp, whole.received_at)
    assert (first.named, first.tenant_id) == (whole.named, mine.tenant_id)


async def test_an_update_or_a_removal_is_no_event(store: MongoEventStore, feed: MongoEventFeed) -> None:
    scope = a_scope()
    watch = await feed.watch([scope], None)
    made = await insert(store, scope, 1)
    await store._events.update_one({"_id": made[0]}, {"$set": {"placement": "209901"}})
    await store._events.delete_one({"_id": made[0]})
    events, _ = await until_quiet(watch)
    await watch.aclose()
    assert [event.id for event in events] == made


async def test_what_was_stored_before_is_no_event(store: MongoEventStore, feed: MongoEventFeed) -> None:
    scope = a_scope()
    watch = await feed.watch([scope], None)
    before = await insert(store, scope, 2)
    await store.insert(rows(scope, 3), again=True)
    after = await insert(store, scope, 1)
    await store.insert(rows(scope, 3), again=True)
    events, mark = await until_quiet(watch)
    await watch.aclose()
    assert [event.id for event in events] == before + after
    for place, left in ((events[0].mark, [before[1], *after]), (events[-1].mark, []), (mark, [])):
        again = await feed.watch([scope], place)
        assert [event.id for event in (await until_quiet(again))[0]] == left
        await again.aclose()


async def test_every_mark_goes_on_where_it_was_made(
    database: Database, store: MongoEventStore, feed: MongoEventFeed
) -> None:
    mine, theirs = a_scope(), a_scope()
    both = await feed.watch([mine, theirs], None)
    ids: list[str] = []
    for _ in range(4):
        ids += await insert(store, mine, 1)
        await insert(store, theirs, 1)
    events, _ = await until_quiet(both)
    quiet = None
    while quiet is None:  # the last event is of the other tenant, until something else is written
        await database["else"].insert_one({})
        quiet = (await both.read()).mark
    later = await insert(store, mine, 2)
    ids += later
    marks = [(both.mark, ids), (quiet, later)]
    marks += [(event.mark, ids[n + 1 :]) for n, event in enumerate(e for e in events if e.id in ids)]
    await both.aclose()
    for mark, expected in marks:
        watch = await feed.watch([mine], mark)
        told, _ = await until_quiet(watch)
        await watch.aclose()
        assert [event.id for event in told] == expected


async def test_a_quiet_mark_lies_behind_what_was_stored_before_it_was_asked_for(
    store: MongoEventStore, feed: MongoEventFeed
) -> None:
    scope = a_scope()
    watch = await feed.watch([scope], None)
    seen: list[str] = []
    made: list[str] = []
    for _ in range(5):
        made += await insert(store, scope, 2)
        events, mark = await until_quiet(watch)
        seen += [event.id for event in events]
        assert seen == made
        again = await feed.watch([scope], mark)
        assert (await until_quiet(again))[0] == []
        await again.aclose()
    await watch.aclose()


async def test_a_watch_nobody_reads_waits_and_loses_nothing(
    store: MongoEventStore, feed: MongoEventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "MAX_WAITING", 20)
    scope = a_scope()
    watch = await feed.watch([scope], None)
    made = await insert(store, scope, 300)
    await asyncio.sleep(0.5)
    assert len(watch._waiting) == 20
    events, _ = await until_quiet(watch)
    await watch.aclose()
    assert [event.id for event in events] == made


async def test_a_late_watch_that_missed_nothing_says_so(
    store: MongoEventStore, feed: MongoEventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "LATE", -1.0)
    monkeypatch.setattr(feeds, "STRIDE", 7)
    scope = a_scope()
    watch = await feed.watch([scope], None)
    made = await insert(store, scope, 100)
    events, _ = await until_quiet(watch)
    await watch.aclose()
    assert [event.id for event in events] == made


async def test_a_mark_of_another_server_is_lost_history(feed: MongoEventFeed) -> None:
    for mark in (b"\1\x82nonsense", b"\0" + b"\5\0\0\0\0"):
        with pytest.raises((HistoryLost, Unavailable)):
            await feed.watch([a_scope()], mark)


@pytest.mark.parametrize("token", [{"_data": "82AF"}, {"_data": "82af"}, {"_data": "8"}, {"_data": "xy"}, {"a": 1}])
def test_a_mark_is_a_token_in_fewer_bytes(token: dict[str, object]) -> None:
    assert token_of(mark_of(token)) == token


# A server that forgets -----------------------------------------------------------------------------------------------


@pytest.fixture
async def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database on an embedded server whose oplog keeps 1,000 entries."""
    spawn = servers._spawn

    def with_a_small_oplog(command: list[str], log: Path) -> subprocess.Popen[bytes]:
        at = command.index("--oplog-max-entries")
        return spawn([*command[: at + 1], "1000", *command[at + 2 :]], log)

    monkeypatch.setattr(servers, "_spawn", with_a_small_oplog)
    server = servers.start_store(tmp_path)
    client = open_client(server.url)
    database = client["ocelot_test"]
    await ensure_indexes(database)
    yield database
    client.close()
    server.stop()


async def test_a_mark_that_the_server_has_forgotten_is_lost_history(forgetful: Database) -> None:
    scope, store, feed = a_scope(), MongoEventStore(forgetful), MongoEventFeed(forgetful)
    watch = await feed.watch([scope], None)
    await insert(store, scope, 1)
    events, _ = await until_quiet(watch)
    await watch.aclose()
    for _ in range(6):
        await insert(store, scope, 500)
    with pytest.raises(HistoryLost):
        await feed.watch([scope], events[0].mark)


async def test_a_skip_by_the_server_is_lost_history(forgetful: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    scope, store, feed = a_scope(), MongoEventStore(forgetful), MongoEventFeed(forgetful)
    monkeypatch.setattr(feeds, "MAX_WAITING", 100)
    watch = await feed.watch([scope], None)
    made = []
    for _ in range(7):
        made += await insert(store, scope, 500)
    await asyncio.sleep(max(0.0, feeds.LATE))  # the watch stands still for want of a reader
    told: list[FeedEvent] = []

    async def read_on() -> None:
        while True:
            told.extend((await watch.read()).events)

    with pytest.raises(HistoryLost):
        await asyncio.wait_for(read_on(), 60)
    await watch.aclose()
    ids = [event.id for event in told]
    assert ids != made[: len(ids)], "the server has skipped nothing: this test has no subject"
