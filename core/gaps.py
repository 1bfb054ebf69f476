"""Naming what is missing of a stretch whose counts differ: by halving, down to what can be compared id by id."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from core.comparison import NARROW, Comparison
from core.counting import stored_between
from core.ports import Accounts, EventIndex, EventStore, Tally
from core.ports.accounts import SECOND
from core.tenant import TenantScope


@dataclass(frozen=True, slots=True)
class Span:
    """Whole seconds, `start` inclusive, `end` exclusive (microseconds), and the three counts of their events."""

    start: int
    end: int
    stored: int
    indexed: int
    due: int

    @property
    def agrees(self) -> bool:
        return self.stored == self.indexed == self.due

    @property
    def is_narrow(self) -> bool:
        return max(self.stored, self.indexed) <= NARROW


@dataclass(frozen=True, slots=True)
class Envelope:
    id: str
    due: int
    stored: int


@dataclass(slots=True)
class Gap:
    """What is missing of an interval, as far as it is known."""

    start: int
    end: int
    not_indexed: list[str] = field(default_factory=list)
    not_stored: list[str] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    cut: bool = False
    """More could be named: ask for a shorter range."""

    @property
    def named(self) -> int:
        return len(self.not_indexed) + len(self.not_stored) + len(self.envelopes)


class Gaps:
    def __init__(self, store: EventStore, index: EventIndex, accounts: Accounts) -> None:
        self._store = store
        self._index = index
        self._accounts = accounts

    async def named(self, scope: TenantScope, span: Span, most: int, until: float) -> Gap:
        """What is missing of the span, up to `most` names and up to `until` (monotonic seconds)."""
        gap = Gap(span.start, span.end)
        comparison = Comparison(self._store, self._index, scope)
        waiting = [span]
        while waiting:
            if gap.named >= most or time.monotonic() > until:
                gap.cut = True
                break
            span = waiting.pop()
            if span.is_narrow or span.end - span.start <= SECOND:
                await self._name(comparison, scope, span, gap, until)
            else:
                waiting += [half for half in await self._halves(comparison, scope, span) if not half.agrees]
        _cut(gap, most)
        return gap

    async def _halves(self, comparison: Comparison, scope: TenantScope, span: Span) -> tuple[Span, Span]:
        """The later one first; what it counts is the rest of what is counted of the earlier."""
        middle = span.start + (span.end - span.start) // SECOND // 2 * SECOND
        stored, indexed, tally = await asyncio.gather(
            stored_between(self._store, self._accounts, scope, span.start, middle, span.due),
            comparison.indexed(span.start, middle),
            self._accounts.tally(scope, span.start, middle),
        )
        earlier = Span(span.start, middle, stored, indexed, tally.due)
        later = Span(middle, span.end, span.stored - stored, span.indexed - indexed, span.due - tally.due)
        return later, earlier

    async def _name(self, comparison: Comparison, scope: TenantScope, span: Span, gap: Gap, until: float) -> None:
        """A narrow span is compared whole, and so is one of which the store lacks some: each side may lack another
        event, and both count the same."""
        stretches = [(span.start, span.end)]
        if not span.is_narrow and span.stored == span.due:
            stretches, whole = await comparison.stretches(span.start, span.end, span.stored, span.indexed, until)
            gap.cut = gap.cut or not whole
        for start, end in stretches:
            async for found in comparison.differences(start, end):
                gap.not_indexed += [each.id for each in found.not_indexed]
                gap.not_stored += [each.id for each in found.not_stored]
                if time.monotonic() > until and found.reached.us < end:
                    gap.cut = True
                    break
        if span.stored != span.due:
            gap.envelopes += await self._envelopes(scope, span)

    async def _envelopes(self, scope: TenantScope, span: Span) -> list[Envelope]:
        kept = await self._accounts.by_source(scope, span.start, span.end)
        if any(tally.archived or tally.erased for tally in kept.values()):
            return []  # of what was taken out the books know the second alone
        stored = await self._store.by_envelope(scope, start=span.start, end=span.end)
        found = [Envelope(id_, kept.get(id_, Tally()).due, stored.get(id_, 0)) for id_ in sorted({*kept, *stored})]
        return [each for each in found if each.due != each.stored]


def _cut(gap: Gap, most: int) -> None:
    """Leave out what is more than `most` names."""
    if gap.named > most:
        gap.cut = True
        left = most
        for names in (gap.not_indexed, gap.not_stored, gap.envelopes):
            del names[left:]
            left -= len(names)
