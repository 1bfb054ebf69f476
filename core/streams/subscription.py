"""One follower of a tenant's log: from its place through a watch of its own into the watch that all share.

Joining loses and repeats nothing, because every watch tells of a tenant's events in the same order:

1. Its own watch tells of what came after the place, until it is about as far as the shared one.
2. It joins: the shared watch fills its buffer from some event on, which may lie before or behind where it is.
3. Its own watch goes on until it has told of the first buffered event, or has told of all that was stored since it
   joined. Now nothing can lie between it and the buffer.
4. What the buffer holds of what it was told already (by order and id) is passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Final

import msgspec

from core import instant, telemetry
from core.errors import HistoryLost, Unavailable
from core.matching import Subject, compiled, event_of
from core.ports import Reading, Stored, Watch
from core.query import EventQuery, Position, without_own
from core.streams.hub import StreamHub
from core.streams.items import Event, Gap, Item, Told, TooSlow
from core.streams.place import MAX_IDS, Place
from core.tenant import TenantScope

log = logging.getLogger(__name__)
_BACK_OFF: Final = (0.25, 5.0)
_SKEW_US: Final = 60 * 1_000_000
MAX_SEEN: Final = 50_000
"""Ids read from the store that a watch may tell of once more; past them it does."""


class _Overrun(Exception):
    """More came than the buffer holds, while it was not read yet."""


class Subscription:
    """Yields what a follower gets to see. `place` is behind the last item that was yielded."""

    def __init__(self, hub: StreamHub, scope: TenantScope, query: EventQuery, place: Place | None) -> None:
        self.predicate = compiled(without_own(query))
        self._hub = hub
        self._scope = scope
        self._given = place
        self._place = place or Place(b"", 0)
        self._own: Watch | None = None
        self._lost: str | None = None
        self._buffer: deque[Told] = deque()
        self._buffered = 0
        self._bytes = 0
        self._missed = 0
        self._first: tuple[int, str] | None = None
        """Order and id of the first event in the buffer since it joined."""
        self._told = asyncio.Event()
        self._at_order: dict[str, None] = dict.fromkeys(self._place.ids)
        """Ids at the place's `order`: events of one moment share it."""
        self._seen: set[str] = set()

    @property
    def place(self) -> Place:
        return self._place

    async def open(self) -> None:
        """Begin: from here on nothing is missed. Raises `Unavailable` when the store does not answer."""
        if self._given is not None and self._given.scanned is not None:
            return
        try:
            await self._open_own()
        except HistoryLost:
            self._lost = "history_lost"

    async def items(self) -> AsyncGenerator[Sequence[Item], None]:
        """Some items at a time, never none, until the follower is too slow; to be closed with its `aclose`."""
        delay = _BACK_OFF[0]
        try:
            while not self._missed:
                try:
                    async with aclosing(self._follow()) as following:
                        async for items in following:
                            delay = _BACK_OFF[0]
                            yield items
                except HistoryLost:
                    self._lost = self._lost or "history_lost"
                    self._forget()
                except _Overrun:
                    self._forget()
                except Unavailable as error:
                    log.warning("a stream waits: %s", error.message)
                    self._forget()
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, _BACK_OFF[1])
            yield [TooSlow(self._missed, self._place)]
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Let go of the hub and the store, also where `items` was never begun; harmless when done again."""
        self._forget()
        await self._close_own()

    # What the hub calls ---------------------------------------------------------------------------------------------

    def tell(self, told: Told) -> None:
        """Put by what the shared watch tells."""
        if self._missed:
            self._missed += told.body is not None
            return
        if self._first is None and told.order:
            self._first = (told.order, told.id)
        if told.body is None and self._buffer and self._buffer[-1].body is None:
            last = self._buffer.pop()
            if not told.order:  # quiet after a passed event: both are worth knowing
                told = told._replace(order=last.order, id=last.id, mark=told.mark or last.mark)
        self._buffer.append(told)
        if told.body is not None:
            self._buffered += 1
            self._bytes += len(told.body)
            limits = self._hub.limits
            if self._buffered > limits.buffer_events or self._bytes > limits.buffer_bytes:
                self._missed = self._buffered
                self._buffer.clear()
        self._told.set()

    def lose(self, reason: str) -> None:
        """The shared watch has lost history."""
        self._hub.leave(self, self._scope)
        self._lost = reason
        self._told.set()

    # Following ------------------------------------------------------------------------------------------------------

    async def _follow(self) -> AsyncGenerator[Sequence[Item], None]:
        if self._lost is not None:
            yield [await self._begin_again(self._lost)]
        if self._place.scanned is not None:
            async with aclosing(self._scan(self._place.scanned)) as scanning:
                async for events in scanning:
                    yield events
        async with self._hub.catching_up, aclosing(self._catch_up()) as catching_up:
            async for events in catching_up:
                yield events
        while True:
            if events := self._drained():
                yield events
            if self._missed:
                return
            if self._lost is not None:
                raise HistoryLost(self._lost)
            self._told.clear()
            await self._told.wait()

    async def _catch_up(self) -> AsyncGenerator[list[Event], None]:
        """Steps 1 to 3 above."""
        watch = self._own or await self._open_own()
        try:
            near = self._given is None
            while not near:
                reading = await watch.read()
                if events := self._events_of(reading):
                    yield events
                near = not reading.events or self._hub.order is None or self._place.order >= self._hub.order
            joining = asyncio.create_task(self._hub.join(self, self._scope))
            try:
                joined = False
                while not joined:
                    since_joined = joining.done()
                    reading = await watch.read()
                    if events := self._events_of(reading):
                        yield events
                    if self._missed:
                        raise _Overrun
                    joined = (since_joined and not reading.events) or self._has_passed_the_first()
                await joining
            finally:
                joining.cancel()
        finally:
            await self._close_own()
        self._given = self._place

    def _has_passed_the_first(self) -> bool:
        """Whether the first event of the buffer was told of by the watch of its own: then so was all before it."""
        if self._first is None:
            return False
        order, event_id = self._first
        return self._place.order > order or (self._place.order == order and event_id in self._at_order)

    def _drained(self) -> list[Event]:
        """What the buffer holds that was not told of yet; it is empty then."""
        waiting, self._buffer = self._buffer, deque()
        self._buffered = self._bytes = 0
        return [event for told in waiting for event in self._take(told)]

    def _events_of(self, reading: Reading) -> list[Event]:
        """The matching events of the watch of its own."""
        found: list[Event] = []
        for event in reading.events:
            matches = self.predicate(Subject(event))
            told = Told(event.body if matches else None, event.order, event.id, event.mark, self._place.floor)
            found += self._take(told)
        if reading.mark is not None:
            self._place = msgspec.structs.replace(self._place, mark=reading.mark)
        return found

    def _take(self, told: Told) -> list[Event]:
        """Move the place behind what was told; the event, if it is one and was not told of already."""
        place = self._place
        if not told.order:
            floor = max(place.floor, told.floor)
            self._place = msgspec.structs.replace(place, mark=told.mark or place.mark, floor=floor)
            return []
        if told.order < place.order or (told.order == place.order and told.id in self._at_order):
            if told.body is None:
                self._place = msgspec.structs.replace(place, floor=max(place.floor, told.floor))
            return []
        if told.order > place.order:
            self._at_order.clear()
        self._at_order[told.id] = None
        ids = tuple(islice(reversed(self._at_order), MAX_IDS))
        self._place = Place(told.mark or place.mark, max(place.floor, told.floor), told.order, ids)
        if told.body is None or told.id in self._seen:
            self._seen.discard(told.id)
            return []
        return [Event(told.body, self._place)]

    async def _open_own(self) -> Watch:
        given = self._given is not None or self._place.mark
        floor = self._place.floor if given else await self._hub.watermark(self._scope)
        watch = await self._hub.feed.watch([self._scope], self._place.mark if given else None)
        self._own = watch
        self._place = msgspec.structs.replace(self._place, mark=watch.mark, floor=floor)
        return watch

    async def _close_own(self) -> None:
        watch, self._own = self._own, None
        if watch is not None:
            await watch.aclose()

    def _forget(self) -> None:
        """Stand outside again, with an empty buffer."""
        self._hub.leave(self, self._scope)
        self._buffer.clear()
        self._buffered = self._bytes = self._missed = 0
        self._first = None

    # What the server has forgotten ------------------------------------------------------------------------------------

    async def _begin_again(self, reason: str) -> Gap:
        """A gap: what came after the place's floor will be read from the store, and watched from now on."""
        self._forget()
        await self._close_own()
        since, floor = self._place.floor, await self._hub.watermark(self._scope)
        watch = await self._hub.feed.watch([self._scope], None)
        mark = watch.mark
        await watch.aclose()
        self._lost = None
        self._at_order = {}
        self._seen.clear()
        self._given = self._place = Place(mark, floor, scanned=Position(since, ""))
        telemetry.STREAM_GAPS.labels(reason).inc()
        return Gap(reason, since, self._place)

    async def _scan(self, after: Position) -> AsyncGenerator[list[Event], None]:
        end = instant.now_us() + _SKEW_US
        async for batch in self._hub.store.scan(self._scope, start=after.us, end=end, descending=False):
            found = []
            for stored in batch:
                position = Position(stored.received_at, stored.id)
                if (position.us, position.id) <= (after.us, after.id):
                    continue
                if position.us >= self._place.floor and len(self._seen) < MAX_SEEN:
                    self._seen.add(stored.id)
                self._place = msgspec.structs.replace(self._place, scanned=position)
                if self._matches(stored):
                    found.append(Event(stored.body, self._place))
            if found:
                yield found
        self._place = msgspec.structs.replace(self._place, scanned=None)

    def _matches(self, stored: Stored) -> bool:
        return self.predicate(Subject(event_of(stored, self._scope.tenant_id)))
