"""`EventIndex.aggregate` in OpenSearch's aggregations, those of them that every server here counts alike.

Never over a `flat_object`, whose aggregations are nonsense, and never `date_range`, which on `date_nanos` compares
milliseconds with nanoseconds and finds nothing. Time zones are not the server's affair: it counts in equal steps of
UTC, one histogram for each remainder that the intervals' beginnings leave (`core.timeline.residues_of`), and the
counts before each beginning are summed here.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

import msgspec

from core.adapters.index import answers, percentiles
from core.adapters.index.client import Client
from core.adapters.index.dsl import Clause
from core.facets import MARKS, Facet
from core.stats import (
    EXACT_VALUES,
    Ask,
    DistinctFigure,
    Figures,
    Group,
    GroupFigure,
    Over,
    OverFigure,
    Ranks,
    RanksFigure,
    Rest,
    Target,
)
from core.timeline import residues_of

# The most that a server takes.
_PRECISION: Final = 40_000
_encode: Final = msgspec.json.Encoder().encode
_BY_COUNT: Final = [{"_count": "desc"}, {"_key": "asc"}]


@dataclass(frozen=True, slots=True)
class Counted:
    """One answer: how many events the query finds, and the aggregations by name ({} where there is no index yet)."""

    total: int
    found: dict[str, Any]


Count = Callable[[Clause], Awaitable[Counted]]
"""Asks for aggregations over the events of a query."""


def counting(client: Client, path: str, params: Mapping[str, str], clause: Clause) -> Count:
    """Asks `path` for aggregations over the events of the query `clause`."""
    params = {
        **params,
        "allow_partial_search_results": "false",
        # One copy of a shard keeps its answers, where nothing has changed since.
        "preference": f"q{zlib.crc32(_encode(clause)):x}",
        "filter_path": "timed_out,_shards.failed,hits.total,aggregations",
    }

    async def count(aggregations: Clause) -> Counted:
        body = {
            "size": 0,
            "timeout": f"{client.deadline * 800:.0f}ms",
            "track_total_hits": True,
            "query": clause,
            "aggs": aggregations,
        }
        found = answers.whole(await client.call("POST", path, params, _encode(body)))
        return Counted(0 if found.hits.total is None else found.hits.total.value, found.aggregations)

    return count


async def extent(count: Count, target: Target) -> tuple[int, int] | None:
    """The range of a time in microseconds, rounded outwards to milliseconds; None: no event has it."""
    field = field_of(target)
    found = await count(_placed("e", target, {"min": {"min": {"field": field}}, "max": {"max": {"field": field}}}))
    least, greatest = (_read(found, "e", target, name).get("value") for name in ("min", "max"))
    return None if least is None or greatest is None else (int(least) * 1000, int(greatest) * 1000 + 1000)


async def aggregate(count: Count, ask: Ask) -> Figures:
    """All figures, from one answer but for percentiles."""
    found = await count(_aggregations(ask))
    return Figures(
        total=found.total,
        over=None if ask.over is None else _over(found, ask.over),
        groups=tuple(_group(found, f"g{n}", group) for n, group in enumerate(ask.groups)),
        distinct=tuple(_distinct(found, f"d{n}", target) for n, target in enumerate(ask.distinct)),
        ranks=tuple([await _ranks(count, found, f"r{n}", ranks) for n, ranks in enumerate(ask.ranks)]),
    )


def field_of(target: Target) -> str:
    return target.slot if isinstance(target, Facet) else target


def marked(facet: Facet) -> Clause:
    """The events that were indexed with the facet."""
    return {"term": {MARKS: str(facet.serial)}}


def _aggregations(ask: Ask) -> Clause:
    asked: Clause = {}
    if ask.over is not None:
        asked |= _placed("o", ask.over.target, _histograms(ask.over))
    for n, group in enumerate(ask.groups):
        asked |= _placed(f"g{n}", group.target, _terms(group.target, group.top))
    for n, target in enumerate(ask.distinct):
        estimate = {"cardinality": {"field": field_of(target), "precision_threshold": _PRECISION}}
        asked |= _placed(f"d{n}", target, {**_terms(target, EXACT_VALUES), "estimate": estimate})
    for n, ranks in enumerate(ask.ranks):
        asked |= _placed(f"r{n}", ranks.facet, percentiles.extremes(ranks.facet.slot))
    return asked


def _placed(name: str, target: Target, aggregations: Clause) -> Clause:
    """A facet's own aggregations stand under a filter; a named field's stand alone, where the server has shortcuts."""
    if isinstance(target, Facet):
        return {name: {"filter": marked(target), "aggs": aggregations}}
    return {f"{name}.{key}": aggregation for key, aggregation in aggregations.items()}


def _read(counted: Counted, name: str, target: Target, key: str) -> dict[str, Any]:
    if isinstance(target, Facet):
        found: dict[str, Any] = counted.found.get(name, {}).get(key, {})
        return found
    alone: dict[str, Any] = counted.found.get(f"{name}.{key}", {})
    return alone


def _rest(counted: Counted, name: str, target: Target) -> Rest:
    missing = _read(counted, name, target, "missing").get("doc_count", 0)
    if not isinstance(target, Facet):
        return Rest(missing)
    return Rest(missing, counted.total - counted.found.get(name, {}).get("doc_count", 0))


def _missing(target: Target) -> Clause:
    return {"missing": {"field": field_of(target)}}


def _histograms(over: Over) -> Clause:
    step, residues = residues_of(over.edges, over.interval)
    histograms: Clause = {
        str(residue): {
            "date_histogram": {
                "field": field_of(over.target),
                "fixed_interval": f"{step}s",
                "offset": f"+{residue}s",
                "min_doc_count": 1,
            }
        }
        for residue in residues
    }
    return histograms | ({"missing": _missing(over.target)} if isinstance(over.target, Facet) else {})


def _over(counted: Counted, over: Over) -> OverFigure:
    step, residues = residues_of(over.edges, over.interval)
    tables = {residue: _Before(_read(counted, "o", over.target, str(residue))) for residue in residues}
    before = [tables[edge // 1_000_000 % step].count(edge // 1000) for edge in over.edges]
    return OverFigure(tuple(high - low for low, high in pairwise(before)), _rest(counted, "o", over.target))


class _Before:
    """How many events lie before a moment at which a step begins; moments are milliseconds."""

    def __init__(self, histogram: dict[str, Any]) -> None:
        buckets = histogram.get("buckets", ())
        self._begins = [bucket["key"] for bucket in buckets]
        self._sums: list[int] = list(accumulate((bucket["doc_count"] for bucket in buckets), initial=0))

    def count(self, moment: int) -> int:
        return self._sums[bisect_left(self._begins, moment)]


def _terms(target: Target, size: int) -> Clause:
    terms = {"field": field_of(target), "size": size, "shard_size": EXACT_VALUES, "order": _BY_COUNT}
    return {"terms": {"terms": terms}, "missing": _missing(target)}


def _group(counted: Counted, name: str, group: Group) -> GroupFigure:
    terms = _read(counted, name, group.target, "terms")
    buckets: Sequence[dict[str, Any]] = terms.get("buckets", ())
    return GroupFigure(
        top=tuple((bucket["key"], bucket["doc_count"]) for bucket in buckets),
        other=terms.get("sum_other_doc_count", 0),
        rest=_rest(counted, name, group.target),
        error=terms.get("doc_count_error_upper_bound", 0),
    )


def _distinct(counted: Counted, name: str, target: Target) -> DistinctFigure:
    terms = _read(counted, name, target, "terms")
    listed, rest = len(terms.get("buckets", ())), _rest(counted, name, target)
    if terms.get("sum_other_doc_count", 0) == 0:
        return DistinctFigure(listed, True, rest)
    estimate = _read(counted, name, target, "estimate").get("value", 0)
    return DistinctFigure(max(listed, estimate), False, rest)


async def _ranks(count: Count, counted: Counted, name: str, ranks: Ranks) -> RanksFigure:
    first = percentiles.Extremes.read(counted.found.get(name, {}))
    rest = Rest(
        counted.found.get(name, {}).get("doc_count", 0) - first.count,
        counted.total - counted.found.get(name, {}).get("doc_count", 0),
    )
    if first.least is None or first.greatest is None:
        return RanksFigure(0, (), None, None, rest)

    async def under(aggregations: Clause) -> dict[str, Any]:
        found = await count(_placed("p", ranks.facet, aggregations))
        answer: dict[str, Any] = found.found.get("p", {})
        return answer

    values = await percentiles.find(under, ranks.facet.slot, ranks.percents, first.least, first.greatest)
    return RanksFigure(first.count, values, first.least, first.greatest, rest)
