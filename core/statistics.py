"""Counting the log: the index counts; with the index down, the store's fields are counted here, within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from core import instant, tally
from core.errors import FieldError, InvalidQuery, Overloaded, Unavailable
from core.event import MAX_FUTURE_US
from core.facets import Facet
from core.ports import EventIndex, EventStore
from core.query import TIME_FIELDS, EventQuery, Range
from core.restriction import restricted_query
from core.search import Search, Watermark
from core.stats import INDEX_TARGETS, MAX_INTERVALS, MAX_STEPS, Ask, Figures, Over
from core.stats_request import StatsRequest
from core.tenant import TenantScope
from core.timeline import DAY, Interval, TooManyIntervals, edges_of, fitting, interval_of, residues_of

_DAY: Final = interval_of("1d")
_NO_VALUES: Final = (0, DAY * 1_000_000)
STORE_BOUND: Final = 50_000
"""Events that are counted from the store: half a second of a MongoDB server's, and within 5 s of any."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """An answer. `span` is the range that the timeline covers; None: there is none, or no event and no range."""

    ask: Ask
    figures: Figures
    span: Range | None
    watermark: Watermark
    answered_by: str


@dataclass(frozen=True, slots=True)
class _Asked:
    query: EventQuery
    ask: Ask
    span: Range | None


class Counter:
    """Answers requests for statistics of any tenant."""

    def __init__(self, store: EventStore, index: EventIndex, search: Search) -> None:
        self._store = store
        self._index = index
        self._search = search

    async def count(self, scope: TenantScope, request: StatsRequest) -> Statistics:
        """Raises `InvalidQuery` for too many intervals, `Unavailable` when nobody can count.

        With the index down `Overloaded`, when as many as may be look through the store, for a search or to count.
        """
        request = replace(request, query=restricted_query(scope, request.query))
        # As in a search, the watermark must not claim what came after the count.
        watermark = await self._search.watermark(scope)
        if watermark.behind and _store_can(request):
            counted = None
            with suppress(Overloaded):
                counted = await self._in_store(scope, request)
            if counted is not None:
                return Statistics(counted[0].ask, counted[1], counted[0].span, watermark, "store")
        try:
            asked = await self._asked_of_index(scope, request)
            figures = await self._index.aggregate(scope, asked.query, asked.ask)
            ask = asked.ask if asked.span is not None else msgspec.structs.replace(asked.ask, over=None)
            return Statistics(ask, figures, asked.span, watermark, "index")
        except Unavailable as error:
            if error.dependency != "index" or not _store_can(request):
                raise
            counted = await self._in_store(scope, request)
            if counted is None:
                raise
        return Statistics(counted[0].ask, counted[1], counted[0].span, watermark, "store")

    async def _asked_of_index(self, scope: TenantScope, request: StatsRequest) -> _Asked:
        if request.over is None:
            return _asked(request, None)
        given = _given(request)
        if given.start is not None and given.end is not None:
            return _asked(request, given)
        extent = await self._index.extent(scope, request.query, request.over)
        return _asked(request, _within(given, extent))

    async def _in_store(self, scope: TenantScope, request: StatsRequest) -> tuple[_Asked, Figures] | None:
        """None when the store cannot count in time, or has more events than are counted here."""
        fields = sorted({*TIME_FIELDS, *map(str, request.targets)})
        with self._search.looks.taken(scope.tenant_id):
            try:
                rows = await self._store.columns(scope, request.query, fields, bound=STORE_BOUND)
            except Unavailable:
                return None
            if rows is None:
                return None
            # Up to half a second's work, for which the others' requests are not to wait.
            return await asyncio.to_thread(_counted, request, rows)


def _counted(request: StatsRequest, rows: Sequence[Mapping[str, Any]]) -> tuple[_Asked, Figures]:
    """The figures of an ask without facets, from the store's fields."""
    span = None
    if request.over is not None:
        moments: Sequence[int] = [row[str(request.over)] for row in rows]
        extent = (int(min(moments)), int(max(moments)) + 1) if moments else None
        span = _within(_given(request), extent)
    asked = _asked(request, span)
    return asked, tally.figures_of(rows, asked.ask)


def _store_can(request: StatsRequest) -> bool:
    named = all(not isinstance(target, Facet) and target not in INDEX_TARGETS for target in request.targets)
    return named and not request.query.needs_index


def _given(request: StatsRequest) -> Range:
    """The range that the query gives, within which events can lie: no event is of before 1970, or of after tomorrow."""
    if isinstance(request.over, Facet):
        return Range()
    given: Range = getattr(request.query, str(request.over))
    latest = instant.now_us() + MAX_FUTURE_US + 1
    start = None if given.start is None else max(0, given.start)
    return Range(start, None if given.end is None else min(given.end, latest))


def _within(given: Range, extent: tuple[int, int] | None) -> Range | None:
    """The whole range, its open ends where the events end; None when there are none."""
    if extent is None:
        return None
    return Range(extent[0] if given.start is None else given.start, extent[1] if given.end is None else given.end)


def _asked(request: StatsRequest, span: Range | None) -> _Asked:
    """What to count, over whole intervals of `span`; the query is bounded by it, so that all figures are of it."""
    ask = Ask(None, request.groups, request.distinct, request.ranks)
    if isinstance(request.over, Facet) and span is None:
        # No event has a value: what remains to be told is why.
        return _Asked(request.query, msgspec.structs.replace(ask, over=Over(request.over, _DAY, _NO_VALUES)), None)
    if request.over is None or span is None or span.start is None or span.end is None or span.start >= span.end:
        return _Asked(request.query, ask, None)
    interval = request.interval or fitting(span.start, span.end)
    edges = _edges(request, interval, span.start, span.end)
    query = request.query
    if not isinstance(request.over, Facet):
        query = msgspec.structs.replace(query, **{request.over: span})
    return _Asked(query, msgspec.structs.replace(ask, over=Over(request.over, interval, edges)), span)


def _edges(request: StatsRequest, interval: Interval, start: int, end: int) -> tuple[int, ...]:
    try:
        edges = edges_of(start, end, interval, request.zone, MAX_INTERVALS)
    except TooManyIntervals:
        raise _too_many(f"there would be more than {MAX_INTERVALS} intervals of {interval.text}") from None
    step, residues = residues_of(edges, interval)
    if len(residues) * (edges[-1] - edges[0]) // (step * 1_000_000) > MAX_STEPS:
        raise _too_many(f"the range has too many days of {request.zone.key} (in UTC it may have more)")
    return tuple(edges)


def _too_many(message: str) -> InvalidQuery:
    change = f"{message}: ask for a shorter range or a longer interval"
    return InvalidQuery(change, code="too_many_buckets", errors=[FieldError(("query", "interval"), change, "too_many")])
