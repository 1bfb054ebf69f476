"""Whether what was accepted is stored and indexed: counted interval by interval, and named where it is not.

Three counts are made, each by another means: the books say what must be there (`Tally.due`, from the envelopes as the
consumer took them), the store counts what it holds, and the index what it finds. An envelope that never arrived is in
none of them; the gap in its producer's sequence tells of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from core.counting import stored_between
from core.errors import FieldError, InvalidQuery, Unavailable, UnboundedQuery
from core.gaps import Gap, Gaps, Span
from core.ports import Accounts, EventIndex, EventStore, Hole, Ledger, Outbox, Parking, Rebuilding, Tally
from core.query import EventQuery, Range
from core.stats import Ask, Over
from core.tenant import TenantScope
from core.timeline import Interval, TooManyIntervals, edges_of, fitting, interval_of

MAX_INTERVALS: Final = 1000
MAX_NAMED: Final = 100
"""Ids and envelopes that one report names."""
BUDGET: Final = 4.0
"""Seconds after which no further interval is begun: the report says where to go on. As many again may go into naming
what is missing."""
_AT_ONCE: Final = 8
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
        self._naming = Gaps(store, index, accounts)

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
        gaps = await self._gaps(scope, counts)
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
            tally = await self._accounts.tally(scope, start, end)
            stored = await stored_between(self._store, self._accounts, scope, start, end, tally.due)
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

    async def _gaps(self, scope: TenantScope, counts: Sequence[Count]) -> list[Gap]:
        until = time.monotonic() + self._budget
        gaps: list[Gap] = []
        left = MAX_NAMED
        for count in counts:
            if count.state is not State.DIFFERS:
                continue
            if left <= 0 or (gaps and time.monotonic() > until):
                gaps.append(Gap(count.start, count.end, cut=True))
                continue
            span = Span(count.start, count.end, count.stored, count.indexed, count.tally.due)
            gaps.append(await self._naming.named(scope, span, left, until))
            left -= gaps[-1].named
        return gaps


def _fault(name: str, message: str) -> InvalidQuery:
    return InvalidQuery(f"{name} {message}", errors=[FieldError(("query", name), message, "parameter")])
