"""Whether what was accepted is stored and indexed: counted interval by interval, and named where it is not.

Three counts are made, each by another means: the books say what must be there (`Tally.due`, from the envelopes as the
consumer took them), the store counts what it holds, and the index what it finds. An envelope that never arrived is in
none of them; the gap in its producer's sequence tells of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from core.comparison import NARROW, Comparison
from core.errors import FieldError, InvalidQuery, Unavailable, UnboundedQuery
from core.ports import Accounts, EventIndex, EventStore, Hole, Ledger, Outbox, Parking, Rebuilding, Tally
from core.ports.accounts import SECOND
from core.query import EventQuery, Range
from core.stats import Ask, Over
from core.tenant import TenantScope
from core.timeline import Interval, TooManyIntervals, edges_of, fitting, interval_of

MAX_INTERVALS: Final = 1000
MAX_NAMED: Final = 100
"""Ids and envelopes that one report names."""
BUDGET: Final = 4.0
"""Seconds after which no further interval is begun: the report says where to go on."""
_AT_ONCE: Final = 8
_LOOKS: Final = 200
_UTC: Final = ZoneInfo("UTC")


class State(StrEnum):
    """Of an interval; of a report the gravest of its intervals', in this order."""

    OPEN = "open"
    """Not settled yet: it ends after the watermark, or the index is being rebuilt."""
    AGREES = "agrees"
    UNPROVEN = "unproven"
    """All counts agree, but an envelope that may belong here never arrived."""
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Count:
    """One interval, `start` inclusive, `end` exclusive, microseconds."""

    start: int
    end: int
    state: State
    tally: Tally
    stored: int
    indexed: int
    waiting: int
    """Stored, and in the outbox for the index."""
    unindexable: int
    """Stored, and parked because the index refuses them."""


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


@dataclass(frozen=True, slots=True)
class Report:
    interval: Interval
    complete_through: int | None
    counts: list[Count]
    gaps: list[Gap]
    holes: list[Hole]
    next_start: int | None
    """Where to ask again: the counting took too long for all of it."""

    @property
    def state(self) -> State:
        order = list(State)
        return max((count.state for count in self.counts), key=order.index, default=State.OPEN)


def intervals_of(start: int, end: int, written: str) -> tuple[Interval, list[int]]:
    """The interval, and the edges of all of its kind that meet `[start, end)`; raises `InvalidQuery`."""
    if start >= end:
        raise _fault("to", "must be after `from`")
    try:
        interval = fitting(start, end) if written == "auto" else interval_of(written)
        return interval, edges_of(start, end, interval, _UTC, MAX_INTERVALS)
    except TooManyIntervals as error:
        raise InvalidQuery(f"{error}: ask for longer ones", code="too_many_buckets") from None
    except ValueError as error:
        raise _fault("interval", str(error)) from None


class Completeness:
    """Counts for any tenant. `budget` is in seconds."""

    def __init__(
        self,
        store: EventStore,
        index: EventIndex,
        ledger: Ledger,
        accounts: Accounts,
        parking: Parking,
        outbox: Outbox,
        *,
        budget: float = BUDGET,
    ) -> None:
        self._store = store
        self._index = index
        self._ledger = ledger
        self._accounts = accounts
        self._parking = parking
        self._outbox = outbox
        self._budget = budget

    async def report(self, scope: TenantScope, interval: Interval, edges: Sequence[int]) -> Report:
        """Of the intervals between the edges, as many from the first on as the budget allows, and one at least.

        Raises `UnboundedQuery` when the store cannot count one of them in time.
        """
        until = time.monotonic() + self._budget
        mark = await self._ledger.complete_through(scope.tenant_id)
        behind = await self._ledger.rebuilding(scope.tenant_id) is Rebuilding.BEHIND
        holes = await self._ledger.holes(edges[0], edges[-1], MAX_NAMED)
        indexed = await self._indexed(scope, interval, edges)
        counts: list[Count] = []
        spans = list(pairwise(edges))
        for first in range(0, len(spans), _AT_ONCE):
            if counts and time.monotonic() > until:
                break
            some = spans[first : first + _AT_ONCE]
            closed = [not behind and mark is not None and end <= mark for _, end in some]
            counts += await asyncio.gather(
                *(
                    self._count(scope, *span, found, holes if is_closed else None)
                    for span, found, is_closed in zip(some, indexed[first:], closed, strict=False)
                )
            )
        gaps = await self._gaps(scope, counts, until)
        left = spans[len(counts)][0] if len(counts) < len(spans) else None
        return Report(interval, mark, counts, gaps, holes, left)

    async def _indexed(self, scope: TenantScope, interval: Interval, edges: Sequence[int]) -> Sequence[int]:
        query = EventQuery(received_at=Range(edges[0], edges[-1]))
        asked = Ask(over=Over("received_at", interval, tuple(edges)))
        over = (await self._index.aggregate(scope, query, asked)).over
        return over.counts if over is not None else [0] * (len(edges) - 1)

    async def _count(
        self, scope: TenantScope, start: int, end: int, indexed: int, holes: Sequence[Hole] | None
    ) -> Count:
        """`holes` is None for an interval that is not settled."""
        tenant_id = scope.tenant_id
        try:
            tally, stored = await asyncio.gather(
                self._accounts.tally(scope, start, end), self._store.count(scope, start=start, end=end)
            )
        except Unavailable as error:
            await self._store.ping()
            raise UnboundedQuery("an interval has too many events to count in time: ask for shorter ones") from error
        waiting = unindexable = 0
        if stored != indexed:
            waiting = await self._outbox.waiting(tenant_id, start, end)
            unindexable = await self._parking.unindexed(tenant_id, start, end)
        state = State.OPEN
        if holes is not None:
            agrees = stored == tally.due == indexed + waiting + unindexable
            unproven = any(hole.after < end and hole.before > start for hole in holes)
            state = State.DIFFERS if not agrees else State.UNPROVEN if unproven else State.AGREES
        return Count(start, end, state, tally, stored, indexed, waiting, unindexable)

    async def _gaps(self, scope: TenantScope, counts: Sequence[Count], until: float) -> list[Gap]:
        gaps: list[Gap] = []
        named = 0
        for count in counts:
            if count.state is not State.DIFFERS:
                continue
            gap = Gap(count.start, count.end, cut=named >= MAX_NAMED or (bool(gaps) and time.monotonic() > until))
            gaps.append(gap)
            if gap.cut:
                continue
            await self._name(scope, gap, MAX_NAMED - named, is_narrow=max(count.stored, count.indexed) <= NARROW)
            if count.stored != count.tally.due:
                await self._name_envelopes(scope, gap)
            named += len(gap.not_indexed) + len(gap.not_stored) + len(gap.envelopes)
        return gaps

    async def _name(self, scope: TenantScope, gap: Gap, most: int, *, is_narrow: bool) -> None:
        """A narrow interval is compared whole: each side may lack another event, and both count the same."""
        comparison = Comparison(self._store, self._index, scope)
        stretches = [(gap.start, gap.end)]
        if not is_narrow:
            stretches = [span async for span in comparison.stretches(gap.start, gap.end, _LOOKS)]
        for start, end in stretches:
            async for found in comparison.differences(start, end):
                gap.not_indexed += [each.id for each in found.not_indexed]
                gap.not_stored += [each.id for each in found.not_stored]
            if len(gap.not_indexed) + len(gap.not_stored) > most:
                gap.cut = True
                del gap.not_indexed[most:]
                del gap.not_stored[max(0, most - len(gap.not_indexed)) :]
                return

    async def _name_envelopes(self, scope: TenantScope, gap: Gap) -> None:
        """By halving, the seconds in which the store has other than what the books say; in these, the envelopes."""
        waiting = [(gap.start, gap.end)]
        looks = _LOOKS
        while waiting and looks > 0 and len(gap.envelopes) < MAX_NAMED:
            low, high = waiting.pop()
            looks -= 1
            tally, stored = await asyncio.gather(
                self._accounts.tally(scope, low, high), self._store.count(scope, start=low, end=high)
            )
            if stored == tally.due:
                continue
            if high - low > SECOND:
                middle = low + (high - low) // SECOND // 2 * SECOND
                waiting += [(middle, high), (low, middle)]
            elif not (tally.archived or tally.erased):  # of what was taken out the books know the second alone
                gap.envelopes += await self._envelopes(scope, low, high)
        gap.cut = gap.cut or bool(waiting) or len(gap.envelopes) > MAX_NAMED
        del gap.envelopes[MAX_NAMED:]

    async def _envelopes(self, scope: TenantScope, start: int, end: int) -> list[Envelope]:
        kept = await self._accounts.by_source(scope, start, end)
        stored = await self._store.by_envelope(scope, start=start, end=end)
        found = [Envelope(id_, kept.get(id_, Tally()).due, stored.get(id_, 0)) for id_ in sorted({*kept, *stored})]
        return [each for each in found if each.due != each.stored]


def _fault(name: str, message: str) -> InvalidQuery:
    return InvalidQuery(f"{name} {message}", errors=[FieldError(("query", name), message, "parameter")])
