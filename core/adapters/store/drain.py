"""Every event of a query, oldest first: windows of time that follow how densely its events lie.

Nothing is held on the server between two batches: a snapshot there lives five minutes, and a reader may be slower.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

from core.adapters.store import pages
from core.adapters.store.client import BULK_DEADLINE, BsonMap, Collection, store_calls, timed_out
from core.adapters.store.windows import FIRST_SPAN
from core.errors import Unavailable
from core.ports import Drained, Stored
from core.query import Position

BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bodies that a batch aims at; one can have twice as much and a `_STEP` of the largest events, 16 MiB, more."""
_BATCH: Final = 4000
_FIRST_BATCH: Final = 200
_STEP: Final = 64
_FILL: Final = 0.8
"""How full of a batch a window should be."""
_SLOW: Final = 1.0
"""Seconds: a window that takes longer is made narrower."""
_MAX_TRIES: Final = 6
_ORDER: Final = [("received_at", 1), ("_id", 1)]


@dataclass(slots=True)
class Drain:
    """The events of the filter `base` with `start <= received_at < end`, past `after`, by (received_at, id)."""

    events: Collection
    base: BsonMap
    start: int
    end: int
    after: Position | None = None
    span: int = FIRST_SPAN
    limit: int = _FIRST_BATCH
    dense: bool = False
    """Whether `span` was taken from how densely the last batch lay."""
    fields: BsonMap = field(default_factory=lambda: pages.STORED)

    async def batches(self) -> AsyncIterator[Drained]:
        """Batches until the end, empty ones for stretches where nothing matches."""
        if self.after is not None and self.after.us >= self.start:
            self.start = self.after.us + 1
        else:
            self.after = None
        while self.after is not None or self.start < self.end:
            found = await self._next()
            if found:
                self._aim(found)
            yield Drained(found, self.after or Position(self.start, ""))

    async def _next(self) -> list[Stored]:
        """The next batch, at the same time the ties of where the last one ended and the window after it.

        Moves `after` and `start`. A window that is too much for the server's deadline is asked for again, narrower.
        """
        for attempt in range(_MAX_TRIES):
            high = min(self.end, self.start + self.span)
            began = time.monotonic()
            try:
                with store_calls(BULK_DEADLINE):
                    high = await self._narrowed(high)
                    (ties, cut), (window, full) = await asyncio.gather(self._ties(), self._window(high))
            except Unavailable as error:
                if attempt + 1 == _MAX_TRIES or not timed_out(error):
                    raise
                self.span = max(1, self.span // 16)
                continue
            if cut:  # more ties than a batch holds: the window's turn comes later
                self.after = Position(ties[-1].received_at, ties[-1].id)
                return ties
            self._move(window, full, high, time.monotonic() - began)
            return ties + window
        raise AssertionError("unreachable")

    async def _narrowed(self, high: int) -> int:
        """Where the window ends; `start` moves to its first event, and the span is small again, if it holds too much.

        Coming out of a stretch in which nothing matches, a window is far wider than what follows is dense: to sort it
        all for its first events is what this spares. To halve it until it is narrow enough would ask a dozen times for
        the same events, and a count stops at a batch on some servers only.
        """
        if self.dense or high - self.start <= FIRST_SPAN:
            return high
        if await self._count(high) <= self.limit:
            return high
        first = await self._cursor(self._within(high), 1, {"received_at": 1}).to_list(None)
        if first:
            self.start = int(first[0]["received_at"])
        self.span = FIRST_SPAN
        return min(high, self.start + FIRST_SPAN)

    def _within(self, high: int) -> BsonMap:
        return {"received_at": {"$gte": self.start, "$lt": high}}

    def _move(self, window: list[Stored], full: bool, high: int, seconds: float) -> None:
        found = len(window)
        self.dense = full or found > self.limit // 8
        if full:
            last = window[-1]
            high = last.received_at + 1
            self.after = Position(last.received_at, last.id)
        else:
            self.after = None
        # A window that holds a little less than a batch is read once and whole; of a fuller one the rest is read again,
        # and sorted again by a server that sorts what is in a window.
        growth = min(2.0, _FILL * self.limit / max(1, found)) if self.dense else 2.0
        if seconds > _SLOW and not full:
            growth = 0.25
        self.span = max(1, int((high - self.start) * growth))
        self.start = high

    def _aim(self, found: list[Stored]) -> None:
        size = sum(len(event.body) for event in found)
        fitting = BATCH_BYTES * len(found) // max(1, size)
        self.limit = max(_STEP, min(_BATCH, fitting, self.limit * 2))

    async def _count(self, high: int) -> int:
        """How many events the window has, counted up to one past the limit."""
        [within, *rest] = self._matching(self._within(high))
        if not rest:
            return int(await self.events.count_documents(within, limit=self.limit + 1))
        counting: list[BsonMap] = [{"$match": within}, *({"$match": each} for each in rest)]
        counting += [{"$limit": self.limit + 1}, {"$count": "n"}]
        counted = await self.events.aggregate(counting).to_list(None)
        return int(counted[0]["n"]) if counted else 0

    def _cursor(self, bounds: BsonMap, limit: int = 0, fields: BsonMap | None = None) -> Any:
        """The first events within the bounds that meet the filter, in order."""
        limit, shown = limit or self.limit, fields or self.fields
        [within, *rest] = self._matching(bounds)
        if not rest:
            return self.events.find(within, shown).sort(_ORDER).limit(limit).batch_size(limit)
        stages: list[BsonMap] = [{"$match": within}, *({"$match": each} for each in rest)]
        stages += [{"$sort": dict(_ORDER)}, {"$limit": limit}, *([{"$project": shown}] if shown else [])]
        return self.events.aggregate(stages, batchSize=limit)

    def _matching(self, bounds: BsonMap) -> list[BsonMap]:
        """What finds the events within the bounds that meet the filter; two filters, one after the other, as in
        `pages.Reader`: SecantusDB scans everything when more than an index's keys are asked for at once."""
        within = {"tenant_id": self.base["tenant_id"]} | bounds
        rest = {name: asked for name, asked in self.base.items() if name != "tenant_id"}
        return [within, rest] if rest else [within]

    async def _ties(self) -> tuple[list[Stored], bool]:
        if self.after is None:
            return [], False
        return await self._read({"received_at": self.after.us, "_id": {"$gt": self.after.id}})

    async def _window(self, high: int) -> tuple[list[Stored], bool]:
        if self.start >= high:
            return [], False
        return await self._read(self._within(high))

    async def _read(self, bounds: BsonMap) -> tuple[list[Stored], bool]:
        """The first events within the bounds, and whether there may be more; ends at the batch's bytes too."""
        cursor = self._cursor(bounds)
        found: list[Stored] = []
        size = 0
        try:
            while len(found) < self.limit:
                taken = await cursor.to_list(min(max(_STEP, self.limit // 16), self.limit - len(found)))
                step = list(map(pages.stored_of, taken))
                if not step:
                    return found, False
                found += step
                size += sum(len(event.body) for event in step)
                if size >= 2 * BATCH_BYTES:
                    return found, True
            return found, True
        finally:
            await cursor.close()
