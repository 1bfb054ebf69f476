"""A hub and its subscriptions over a feed in memory whose watches may be behind one another, fail and forget."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core import instant
from core.errors import HistoryLost, Overloaded, Unavailable
from core.ports import FeedEvent, Reading, Stored
from core.query import Condition, EventQuery, Value
from core.streams import Event, Gap, Limits, StreamHub, Subscription, TooSlow, place
from core.streams.place import MAX_IDS, Place
from core.tenant import Tenant, TenantScope, for_system
from tests.unit.ports import AT, Ledger

MINE, THEIRS = for_system("mine0000", "test"), for_system("theirs00", "test")
ALL = EventQuery()


class Feed:
    """Everything that was stored, in its order. A mark is a number: how many events lie before it."""

    def __init__(self) -> None:
        self.events: list[FeedEvent] = []
        self.forgotten = 0
        """Marks before this one are lost."""
        self.down = False
        self.amnesia = False
        """Nobody is told what comes next."""
        self.slow = random.Random(0)
        self.watches: list[Watch] = []

    def store(self, scope: TenantScope, **named: str) -> str:
        n = len(self.events)
        text = instant.to_text(AT + n)
        body = (
            f'{{"id":"e{n}","tenant_id":"{scope.tenant_id}","timestamp":"{text}","received_at":"{text}",'
            f'"action":"a","severity":"INFO"}}'
        )
        # Two of one moment now and then.
        event = FeedEvent(
            f"e{n}", scope.tenant_id, AT + n, AT + n, named, body.encode(), 1 + n // 2, str(n + 1).encode()
        )
        self.events.append(event)
        return event.id

    async def watch(self, scopes: Collection[TenantScope], after: bytes | None) -> Watch:
        await asyncio.sleep(0)
        self.check()
        start = len(self.events) if after is None else int(after)
        if start < self.forgotten or (self.amnesia and after is not None):
            raise HistoryLost("forgotten")
        watch = Watch(self, {scope.tenant_id for scope in scopes}, start)
        self.watches.append(watch)
        return watch

    def check(self) -> None:
        if self.down:
            raise Unavailable("store")


class Watch:
    def __init__(self, feed: Feed, tenant_ids: set[str], start: int) -> None:
        self.mark = str(start).encode()
        self.feed = feed
        self.tenant_ids = tenant_ids
        self.at = start
        self.closed = False

    async def read(self) -> Reading:
        for _ in range(self.feed.slow.choice([1, 1, 5, 20])):
            await asyncio.sleep(0)
        self.feed.check()
        if self.at < self.feed.forgotten or self.feed.amnesia:
            raise HistoryLost("forgotten")
        end = min(len(self.feed.events), self.at + self.feed.slow.choice([1, 3, 50]))
        some = [event for event in self.feed.events[self.at : end] if event.tenant_id in self.tenant_ids]
        self.at = end
        if not some and end < len(self.feed.events):
            return await self.read()
        return Reading(some, None if some else str(end).encode())

    async def aclose(self) -> None:
        self.closed = True


class Store:
    def __init__(self, feed: Feed) -> None:
        self.feed = feed

    async def scan(self, scope: TenantScope, *, start: int, end: int, **_: Any) -> AsyncIterator[list[Stored]]:
        found = [
            Stored(e.id, "", e.timestamp, e.received_at, b"", e.body)
            for e in self.feed.events
            if e.tenant_id == scope.tenant_id and start <= e.received_at < end
        ]
        for n in range(0, len(found), 10):
            yield found[n : n + 10]


def a_hub(feed: Feed, **limits: int) -> StreamHub:
    ledger: Any = Ledger()
    ledger.through = AT
    store: Any = Store(feed)
    return StreamHub(feed, store, ledger, Limits(**limits))


class Reader:
    """Follows in a task; `take` are the ids of its events, `items` everything."""

    def __init__(
        self, hub: StreamHub, query: EventQuery = ALL, at: Place | None = None, scope: TenantScope = MINE
    ) -> None:
        self.subscription = Subscription(hub, scope, query, at)
        self.items: list[Any] = []
        self.paused = asyncio.Event()
        self.paused.set()
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> Reader:
        await self.subscription.open()
        self.task = asyncio.create_task(self._run())
        return self

    async def _run(self) -> None:
        items = self.subscription.items()
        try:
            async for some in items:
                self.items += some
                await self.paused.wait()
        finally:
            await items.aclose()

    @property
    def ids(self) -> list[str]:
        return [f"e{int(item.place.mark) - 1}" if item.place.scanned is None else item.place.scanned.id
                for item in self.items if isinstance(item, Event)]  # fmt: skip

    @property
    def place(self) -> Place:
        return self.items[-1].place if self.items else self.subscription.place

    async def until(self, holds: Any) -> None:
        async def wait() -> None:
            while not holds():
                await asyncio.sleep(0)

        await asyncio.wait_for(wait(), 20)

    async def stop(self) -> Place:
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.subscription.aclose()
        return self.place


@settings(max_examples=30, deadline=None)
@example(752)
@given(st.integers(0, 10**6))
async def test_cut_and_go_on_at_random_loses_and_repeats_nothing(seed: int) -> None:
    chance, feed = random.Random(seed), Feed()
    feed.slow = random.Random(seed + 1)
    hubs = [a_hub(feed), a_hub(feed)]
    reader = await Reader(chance.choice(hubs)).start()
    other = await Reader(hubs[0], scope=THEIRS).start()
    told: list[str] = []
    sent: list[str] = []
    for _ in range(40):
        for _ in range(chance.choice([0, 1, 2, 30])):
            if chance.random() < 0.6:
                sent.append(feed.store(MINE))
            else:
                feed.store(THEIRS)
        for _ in range(chance.choice([0, 0, 3, 40])):
            await asyncio.sleep(0)
        if chance.random() < 0.3:
            at = await reader.stop()
            told += reader.ids
            reader = await Reader(chance.choice(hubs), at=at).start()
    await reader.until(lambda: len(told) + len(reader.ids) >= len(sent))
    theirs = [event.id for event in feed.events if event.tenant_id == THEIRS.tenant_id]
    await other.until(lambda: len(other.ids) >= len(theirs))
    for _ in range(50):
        await asyncio.sleep(0)
    await reader.stop()
    await other.stop()
    assert told + reader.ids == sent
    assert other.ids == theirs
    for hub in hubs:
        await hub.aclose()
    assert all(watch.closed for watch in feed.watches)


async def test_the_watch_opens_with_the_first_and_closes_with_the_last() -> None:
    feed = Feed()
    hub = a_hub(feed)
    assert feed.watches == []
    first = await Reader(hub).start()
    second = await Reader(hub, scope=THEIRS).start()
    await first.until(lambda: len([w for w in feed.watches if not w.closed]) == 1 and len(feed.watches) >= 3)
    assert next(w for w in feed.watches if not w.closed).tenant_ids == {MINE.tenant_id, THEIRS.tenant_id}
    await first.stop()
    await second.stop()
    await first.until(lambda: all(watch.closed for watch in feed.watches))


async def test_the_store_may_go_and_come() -> None:
    feed = Feed()
    hub = a_hub(feed)
    reader = await Reader(hub).start()
    sent = [feed.store(MINE) for _ in range(5)]
    await reader.until(lambda: len(reader.ids) == 5)
    feed.down = True
    sent += [feed.store(MINE) for _ in range(5)]
    await asyncio.sleep(0.05)
    feed.down = False
    await reader.until(lambda: len(reader.ids) == 10)
    await reader.stop()
    assert reader.ids == sent
    feed.down = True
    with pytest.raises(Unavailable):
        await Reader(hub).start()


async def test_forgotten_history_is_a_gap_and_read_from_the_store() -> None:
    feed = Feed()
    hub = a_hub(feed)
    reader = await Reader(hub).start()
    sent = [feed.store(MINE) for _ in range(3)]
    await reader.until(lambda: len(reader.ids) == 3)
    at = await reader.stop()
    sent += [feed.store(scope) for scope in (MINE, THEIRS) * 15][::2]
    feed.forgotten = len(feed.events)
    again = await Reader(hub, at=at).start()
    await again.until(lambda: len(again.ids) >= 18)
    sent.append(feed.store(MINE))
    await again.until(lambda: len(again.ids) >= 19)
    await again.stop()
    gap = again.items[0]
    assert isinstance(gap, Gap)
    assert (gap.reason, gap.since) == ("history_lost", AT)
    # From the floor on: what came before the gap comes once more, and nothing is left out.
    assert again.ids == sent


async def test_a_backfill_goes_on_where_it_was() -> None:
    feed = Feed()
    hub = a_hub(feed)
    sent = [feed.store(MINE) for _ in range(35)]
    feed.forgotten = 35
    reader = Reader(hub, at=Place(b"3", AT))
    reader.paused.clear()
    await reader.start()
    await reader.until(lambda: len(reader.items) == 1)
    reader.paused.set()
    await reader.until(lambda: len(reader.ids) >= 10)
    reader.paused.clear()
    at = await reader.stop()
    assert at.scanned is not None
    again = await Reader(hub, at=at).start()
    sent.append(feed.store(MINE))
    await again.until(lambda: len(reader.ids) + len(again.ids) >= 36)
    await again.stop()
    assert reader.ids + again.ids == sent
    assert not [item for item in again.items if isinstance(item, Gap)]


async def test_a_shared_watch_that_loses_history_tells_each_follower() -> None:
    feed = Feed()
    hub = a_hub(feed)
    readers = [await Reader(hub).start(), await Reader(hub, scope=THEIRS).start()]
    feed.store(MINE)
    feed.store(THEIRS)
    for reader in readers:
        await reader.until(lambda reader=reader: len(reader.ids) == 1)
    feed.amnesia = True
    feed.store(MINE)
    for reader in readers:
        await reader.until(lambda reader=reader: any(isinstance(item, Gap) for item in reader.items))
    feed.amnesia = False
    feed.store(MINE)
    await readers[0].until(lambda: {"e0", "e2", "e3"} <= set(readers[0].ids))
    for reader in readers:
        await reader.stop()


async def test_a_slow_reader_is_told_and_cut_off_and_slows_nobody() -> None:
    feed = Feed()
    hub = a_hub(feed, buffer_events=10)
    slow, fast = await Reader(hub).start(), await Reader(hub).start()
    sent = [feed.store(MINE)]
    for reader in (slow, fast):
        await reader.until(lambda reader=reader: len(reader.ids) == 1)
    slow.paused.clear()
    sent.append(feed.store(MINE))
    await slow.until(lambda: len(slow.ids) == 2)
    for n in range(50):
        sent.append(feed.store(MINE))
        await fast.until(lambda n=n: len(fast.ids) == n + 3)
    slow.paused.set()
    assert slow.task is not None
    await asyncio.wait_for(slow.task, 5)
    end = slow.items[-1]
    assert isinstance(end, TooSlow)
    assert end.missed == 50
    again = await Reader(hub, at=end.place).start()
    await again.until(lambda: len(slow.ids) + len(again.ids) >= 52)
    assert slow.ids + again.ids == fast.ids == sent
    for reader in (again, fast):
        await reader.stop()


async def test_what_does_not_match_moves_the_place_and_fills_no_buffer() -> None:
    feed = Feed()
    hub = a_hub(feed, buffer_events=5)
    reader = await Reader(hub, EventQuery(conditions=(Condition("user_id", (Value("ana"),)),))).start()
    reader.paused.clear()
    for _ in range(100):
        feed.store(MINE, user_id="ben")
    sent = [feed.store(MINE, user_id="ana")]
    reader.paused.set()
    await reader.until(lambda: len(reader.ids) == 1)
    at = await reader.stop()
    assert reader.ids == sent
    assert int(at.mark) == 101


async def test_streams_are_bounded_by_tenant_and_process() -> None:
    hub = a_hub(Feed(), streams=3, tenant_streams=2)
    held = [hub.admit(scope) for scope in (MINE, MINE, THEIRS)]
    for each in held[:2]:
        each.__enter__()
    with pytest.raises(Overloaded), hub.admit(MINE):
        pass
    held[2].__enter__()
    with pytest.raises(Overloaded), hub.admit(THEIRS):
        pass
    held[0].__exit__(None, None, None)
    with hub.admit(THEIRS):
        pass
    await hub.drain(0)
    with pytest.raises(Unavailable), hub.admit(MINE):
        pass


places = st.builds(
    Place,
    st.binary(max_size=200),
    st.integers(0, 1 << 60),
    st.integers(0, 1 << 62),
    st.lists(st.uuids().map(str), max_size=MAX_IDS).map(tuple),
)


@given(places, st.integers(0, 10**6))
def test_a_place_is_good_for_its_tenant_and_unchanged_alone(at: Place, where: int) -> None:
    mine, theirs = (Tenant(name, "n", secret * 32, 0) for name, secret in (("mine0000", b"a"), ("theirs00", b"b")))
    text = place.seal(mine, at)
    assert place.open_(mine, text) == at
    n = where % len(text)
    other = text[:n] + ("A" if text[n] != "A" else "B") + text[n + 1 :]
    for tenant, shown in ((theirs, text), (mine, other)):
        with pytest.raises(Exception, match="is not one of this log's"):
            place.open_(tenant, shown)
