"""The store's events against the index's: which ids the one has and the other lacks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from core.ports import EventIndex, EventStore
from core.query import EventQuery, Position, Range
from core.tenant import TenantScope

_PAGE: Final = 1000
_ALL: Final = (1 << 31) - 1
NARROW: Final = 2000
"""Events in a stretch that is narrow enough to compare id by id."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A stretch that was compared, up to `reached`: what only one side has, by (received_at, id)."""

    reached: Position
    compared: int
    """Events of the store in it."""
    not_indexed: list[Position]
    not_stored: list[Position]


class Comparison:
    """Compares one tenant's events. What is on its way may show as not indexed: end before the watermark."""

    def __init__(self, store: EventStore, index: EventIndex, scope: TenantScope) -> None:
        self._store = store
        self._index = index
        self._scope = scope

    async def differences(self, start: int, end: int, behind: Position | None = None) -> AsyncIterator[Difference]:
        """Every event with `start <= received_at < end` on either side, past `behind`, stretch by stretch, in order."""
        if behind is not None:
            start = max(start, behind.us)
        async for batch in self._store.ids(self._scope, start=start, end=end):
            stored = batch if behind is None else [each for each in batch if _key(each) > _key(behind)]
            if stored:
                yield _difference(stored, await self._indexed(start, end, behind, stored[-1]), stored[-1])
                behind = stored[-1]
        yield _difference([], await self._indexed(start, end, behind, None), Position(end, ""))

    async def stretches(
        self, start: int, end: int, stored: int, indexed: int, until: float
    ) -> tuple[list[tuple[int, int]], bool]:
        """Narrow stretches in which the two count differently, found by halving what so many are `stored` and
        `indexed` of; and whether these are all: nothing is counted after `until` (monotonic seconds).
        """
        found: list[tuple[int, int]] = []
        waiting = [(start, end, stored, indexed)]
        while waiting:
            low, high, stored, indexed = waiting.pop()
            if stored == indexed:
                continue
            if max(stored, indexed) <= NARROW or high - low == 1:
                found.append((low, high))
                continue
            if time.monotonic() > until:
                return found, False
            middle = (low + high) // 2
            here, there = await asyncio.gather(
                self._store.count(self._scope, start=low, end=middle), self.indexed(low, middle)
            )
            waiting += [(middle, high, stored - here, indexed - there), (low, middle, here, there)]
        return found, True

    async def indexed(self, start: int, end: int) -> int:
        """How many events the index finds with `start <= received_at < end`."""
        page = await self._index.search(self._scope, _within(start, end), after=None, limit=1, total_bound=_ALL)
        return page.total

    async def _indexed(self, start: int, end: int, after: Position | None, last: Position | None) -> list[Position]:
        """What the index has past `after`, up to `last` if there is one."""
        if last is not None:
            end = min(end, last.us + 1)
        found: list[Position] = []
        while True:
            page = await self._index.search(self._scope, _within(start, end), after=after, limit=_PAGE, total_bound=0)
            found += page.hits
            if len(page.hits) < _PAGE:
                break
            after = found[-1]
        return [each for each in found if last is None or _key(each) <= _key(last)]


def _within(start: int, end: int) -> EventQuery:
    return EventQuery(received_at=Range(start, end), sort="received_at", descending=False)


def _key(position: Position) -> tuple[int, str]:
    return position.us, position.id


def _difference(stored: list[Position], indexed: list[Position], reached: Position) -> Difference:
    here, there = set(stored), set(indexed)
    return Difference(
        reached,
        len(stored),
        [each for each in stored if each not in there],
        [each for each in indexed if each not in here],
    )
