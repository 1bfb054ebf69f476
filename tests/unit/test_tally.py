"""Counting from the store's fields, and percentiles by narrowing: each against a plainer way."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core import tally
from core.adapters.index import percentiles
from core.adapters.index.percentiles import float_of, number_of, rank_of
from core.envelope import Record
from core.facets import Facet, FacetType
from core.query import EventQuery
from core.rows import row_of
from core.stats import Ask, Group, Over
from core.timeline import edges_of, interval_of, zone_of
from tests import brute_stats, queries
from tests.unit.ports import TENANT

floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: value + 0.0)
FACET = Facet("v", "metadata.v", FacetType.NUMBER, "num_00", 1)


def body_of(fields: dict[str, Any], n: int) -> bytes:
    times = {"received_at": fields["timestamp"], "salt": "s", "severity": "INFO"}
    event = {"id": f"00000000-0000-7000-8000-{n:012}", "tenant_id": TENANT, **times, "action": "a", **fields}
    return json.dumps(event).encode()


@given(st.lists(queries.events(), max_size=12), st.integers(1, 4))
def test_the_stores_rows_are_counted_as_a_look_through_the_bodies_counts(
    events: list[dict[str, Any]], top: int
) -> None:
    bodies = [body_of(fields, n) for n, fields in enumerate(events)]
    rows = []
    for body in bodies:
        row = row_of(Record(TENANT, "202611", body), "e")
        rows.append({**row.named, "timestamp": row.timestamp, "received_at": row.received_at})
    targets = ["action", "user_id", "tags", "ip_address", "outcome"]
    interval, end = interval_of("1y"), 1_790_000_000_000_000
    over = Over("timestamp", interval, tuple(edges_of(0, end, interval, zone_of("Asia/Kathmandu"), 100)))
    ask = Ask(over, tuple(Group(target, top) for target in targets), tuple(targets))
    found = tally.figures_of(rows, ask)
    expected = brute_stats.figures(EventQuery(), ask, [(body, frozenset()) for body in bodies])
    assert found.total == expected.total
    assert found.over == expected.over
    assert found.distinct == expected.distinct
    for group, ours, theirs in zip(ask.groups, found.groups, expected.groups, strict=True):
        assert (ours.other, ours.rest, ours.error) == (theirs.other, theirs.rest, 0), group
        assert ours.top == theirs.top, group


@given(floats, floats)
def test_numbers_of_floats_ascend_as_they_do(one: float, other: float) -> None:
    assert (number_of(one) < number_of(other)) == (one < other)
    assert float_of(number_of(one)) == one


def test_neighbouring_numbers_are_neighbouring_floats() -> None:
    for value in (0.0, 1.0, -1.0, 5e-324, 1e300, -1e-300):
        assert float_of(number_of(value) + 1) == math.nextafter(value, math.inf)
        below = float_of(number_of(value) - 1)
        assert below == math.nextafter(value, -math.inf) or (value == 0.0 and math.copysign(1, below) == -1)


def test_a_rank_is_that_of_the_percent_as_it_is_written() -> None:
    """As floats, 99.9 % of 1,000 is a little more than 999."""
    assert rank_of(99.9, 1000) == 999
    assert (rank_of(0.01, 5), rank_of(100.0, 5), rank_of(50.0, 5), rank_of(50.0, 4)) == (1, 5, 3, 2)


class Numbers:
    """A server with one event for each number, which may change after each answer."""

    def __init__(self, numbers: list[float], later: list[float] | None = None) -> None:
        self.numbers = numbers
        self.later = later
        self.rounds = 0

    async def ask(self, aggregations: dict[str, Any]) -> dict[str, Any]:
        self.rounds += 1
        answer = {name: self._one(each, self.numbers) for name, each in aggregations.items()}
        if self.later is not None:
            self.numbers, self.later = self.later, None
        return answer

    def _one(self, asked: dict[str, Any], numbers: list[float]) -> dict[str, Any]:
        if "value_count" in asked:
            return {"value": len(numbers)}
        if "filter" in asked:
            bounds = asked["filter"]["range"]["num_00"]
            inside = [n for n in numbers if bounds.get("gte", -math.inf) <= n <= bounds.get("lte", math.inf)]
            inside = [n for n in inside if n < bounds.get("lt", math.inf)]
            subs = {name: self._one(each, inside) for name, each in asked.get("aggs", {}).items()}
            return {"doc_count": len(inside), **subs}
        if "range" in asked:
            ranges = [(r["from"], r.get("to", math.inf)) for r in asked["range"]["ranges"]]
            counts = [sum(low <= n < high for n in numbers) for low, high in ranges]
            return {"buckets": [{"doc_count": count} for count in counts]}
        size, values = asked["terms"]["size"], sorted(set(numbers))
        buckets = [{"key": value, "doc_count": numbers.count(value)} for value in values[:size]]
        return {"buckets": buckets, "sum_other_doc_count": len(numbers) - sum(b["doc_count"] for b in buckets)}


@given(st.lists(floats, min_size=1, max_size=30), st.lists(st.floats(0.01, 100), min_size=1, max_size=4))
async def test_every_percentile_is_found_even_where_nothing_can_be_listed(
    numbers: list[float], percents: list[float]
) -> None:
    listed, percentiles.LISTED = percentiles.LISTED, 1  # type: ignore[misc]
    try:
        server = Numbers(numbers)
        found = await percentiles.find(server.ask, "num_00", percents, min(numbers), max(numbers))
    finally:
        percentiles.LISTED = listed  # type: ignore[misc]
    assert list(found) == [sorted(numbers)[rank_of(percent, len(numbers)) - 1] for percent in percents]
    assert server.rounds <= 9


async def test_events_that_come_in_between_are_counted_in() -> None:
    before, after = [float(n) for n in range(2000)], [float(n) for n in range(-50_000, 2000)]
    server = Numbers(before, after)
    percentiles_few, percentiles._FEW = percentiles._FEW, 0  # type: ignore[misc]
    try:
        [found] = await percentiles.find(server.ask, "num_00", [50.0], 0.0, 1999.0)
    finally:
        percentiles._FEW = percentiles_few  # type: ignore[misc]
    assert found == sorted(after)[rank_of(50.0, len(after)) - 1]
