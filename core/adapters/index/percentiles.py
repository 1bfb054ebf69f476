"""Exact percentiles by narrowing: the server's own are estimates, and every server's are other ones.

All 64-bit floats in their order are numbered. A percentile is looked for between two of them: one request counts what
lies in each of `SPLITS` equal parts of the numbers between, and the part that holds its rank is looked into next, until
few enough different values are left to be listed. Three requests find most percentiles, seven find any. Each answer
stands on its own: its rank, its count below and its parts are of the same moment.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any, Final

from core.adapters.index.dsl import Clause
from core.errors import Unavailable

SPLITS: Final = 512
LISTED: Final = 1000
"""Different values that are listed at once."""
_FEW: Final = 50_000
"""Events among which values are listed at once; among more, only once they were narrowed."""
_ROUNDS: Final = 16


@dataclass(frozen=True, slots=True)
class Extremes:
    count: int
    least: float | None
    greatest: float | None

    @classmethod
    def read(cls, found: dict[str, Any]) -> Extremes:
        count = found.get("count", {}).get("value", 0)
        least, greatest = (found.get(name, {}).get("value") for name in ("least", "greatest"))
        return cls(count, least, greatest) if count else cls(0, None, None)


def extremes(slot: str) -> Clause:
    """The aggregations that `Extremes.read` reads."""
    field = {"field": slot}
    return {"count": {"value_count": field}, "least": {"min": field}, "greatest": {"max": field}}


@dataclass(slots=True)
class _Search:
    """One percentile: it lies in `[low, high]`, numbers of floats, among `within` events or so."""

    percent: float
    low: int
    high: int
    within: int | None = None
    rounds: int = 0
    value: float | None = None

    @property
    def lists(self) -> bool:
        return self.rounds >= 2 or self.high - self.low < LISTED or (self.within is not None and self.within <= _FEW)

    @property
    def edges(self) -> list[int]:
        """The beginnings of the parts."""
        width = self.high - self.low + 1
        return sorted({self.low + width * n // SPLITS for n in range(SPLITS)})


Ask = Callable[[Clause], Awaitable[dict[str, Any]]]


async def find(ask: Ask, slot: str, percents: Sequence[float], least: float, greatest: float) -> tuple[float, ...]:
    """The values at `percents`, by nearest rank, of a field with one value an event; `ask` puts the aggregations."""
    searches = [_Search(percent, number_of(least), number_of(greatest)) for percent in percents]
    for _ in range(_ROUNDS):
        # Percentiles that lie in the same part share its counts.
        open_ = {(s.low, s.high, s.lists): s for s in searches if s.value is None}
        if not open_:
            return tuple(s.value for s in searches if s.value is not None)
        names = {key: f"p{n}" for n, key in enumerate(open_)}
        asked: Clause = {"count": {"value_count": {"field": slot}}}
        for key, search in open_.items():
            asked |= _aggregations(names[key], slot, search)
        found = await ask(asked)
        for search in searches:
            if search.value is None:
                _narrow(search, names[search.low, search.high, search.lists], found)
    raise Unavailable("index", "the events change faster than their percentiles are found")


def rank_of(percent: float, count: int) -> int:
    """The place, counting from 1, of a percentile among `count` values; by the percent as it is written."""
    return max(1, math.ceil(Fraction(repr(percent)) * count / 100))


def number_of(value: float) -> int:
    """The place of a float among all: ascends as they do. The inverse of `float_of`."""
    (bits,) = struct.unpack("<q", struct.pack("<d", value + 0.0))
    number: int = bits
    return number if number >= 0 else -(number & 0x7FFF_FFFF_FFFF_FFFF) - 1


def float_of(number: int) -> float:
    bits = number if number >= 0 else -(number + 1) | -0x8000_0000_0000_0000
    (value,) = struct.unpack("<d", struct.pack("<q", bits))
    return float(value)


def _aggregations(name: str, slot: str, search: _Search) -> Clause:
    low, high = float_of(search.low), float_of(search.high)
    edges = [float_of(number) for number in search.edges]
    parts = [{"from": edge, "to": end} for edge, end in pairwise(edges)]
    inside: Clause = {"parts": {"range": {"field": slot, "ranges": [*parts, {"from": edges[-1]}]}}}
    if search.lists:
        inside["values"] = {"terms": {"field": slot, "size": LISTED, "order": {"_key": "asc"}}}
    return {
        f"{name}.below": {"filter": {"range": {slot: {"lt": low}}}},
        f"{name}.in": {"filter": {"range": {slot: {"gte": low, "lte": high}}}, "aggs": inside},
    }


def _narrow(search: _Search, name: str, found: dict[str, Any]) -> None:
    count = found.get("count", {}).get("value", 0)
    below = found.get(f"{name}.below", {}).get("doc_count", 0)
    inside = found.get(f"{name}.in", {})
    rank = rank_of(search.percent, count) - below
    if not 1 <= rank <= inside.get("doc_count", 0):
        # The events have changed since the last round: all over again.
        search.low, search.high, search.within, search.rounds = number_of(-_MAX), number_of(_MAX), None, 0
        return
    listed = inside.get("values")
    if listed is not None and listed["sum_other_doc_count"] == 0:
        buckets = listed["buckets"]
        search.value = float(buckets[_index(rank, [bucket["doc_count"] for bucket in buckets])]["key"])
        return
    edges = search.edges
    counts = [bucket["doc_count"] for bucket in inside["parts"]["buckets"]]
    part = _index(rank, counts)
    search.high = edges[part + 1] - 1 if part + 1 < len(edges) else search.high
    search.low = edges[part]
    search.within, search.rounds = counts[part], search.rounds + 1
    if search.low == search.high:
        search.value = float_of(search.low)


def _index(rank: int, counts: Sequence[int]) -> int:
    """The place of the count that reaches `rank`, counting from 1."""
    return next(place for place, reached in enumerate(accumulate(counts)) if reached >= rank)


_MAX: Final = 1.7976931348623157e308
