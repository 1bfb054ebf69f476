"""Who counts: the index, or the store where the index is down or behind and the store can."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core.errors import InvalidQuery, Overloaded, Unavailable
from core.facets import NONE, Declared, FacetType, declare
from core.query import EventQuery
from core.rows import row_of
from core.search import LOOKS_OF_A_TENANT, Search
from core.statistics import STORE_BOUND, Counter, Statistics
from core.stats import Ask, Figures, OverFigure, Rest
from core.stats_request import parse_stats
from core.tenant import for_system
from core.timeline import interval_of
from tests.unit.ports import AT, TENANT, Failing, Ledger, anything, record

FACETS = declare(NONE, [Declared("n", "metadata.n", FacetType.NUMBER), Declared("due", "metadata.due", FacetType.DATE)])
DAY = 86_400_000_000


class Rows(Failing):
    """A store of a few events."""

    def __init__(self, count: int) -> None:
        super().__init__()
        made = [row_of(record(n), "e") for n in range(count)]
        self.rows = [{**row.named, "timestamp": row.timestamp, "received_at": row.received_at} for row in made]
        self.asked: list[tuple[EventQuery, list[str], int]] = []
        self.gate: asyncio.Event | None = None

    async def columns(self, scope: Any, query: EventQuery, fields: list[str], *, bound: int) -> Any:
        self._try()
        self.asked.append((query, fields, bound))
        if self.gate is not None:
            await self.gate.wait()
        return None if len(self.rows) > bound else self.rows


class Index(Failing):
    """An index whose figures say that they are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[EventQuery, Ask]] = []
        self.reaches: tuple[int, int] | None = (AT, AT + 3 * DAY)

    async def extent(self, scope: Any, query: EventQuery, target: Any) -> tuple[int, int] | None:
        self._try()
        return self.reaches

    async def aggregate(self, scope: Any, query: EventQuery, ask: Ask) -> Figures:
        self._try()
        self.asked.append((query, ask))
        return Figures(99, OverFigure((99,), Rest(4, 95)) if ask.over else None, (), (), ())


class World:
    def __init__(self, count: int = 5) -> None:
        self.store, self.index, self.ledger = Rows(count), Index(), Ledger()
        search = Search(anything(self.store), anything(self.index), anything(self.ledger), total_bound=1)
        self.counter = Counter(anything(self.store), anything(self.index), search)

    async def count(self, *parameters: tuple[str, str]) -> Statistics:
        return await self.counter.count(for_system(TENANT, "test"), parse_stats(parameters, FACETS, AT))


async def test_the_index_counts_while_it_answers() -> None:
    world = World()
    counted = await world.count(("by", "action"))
    assert (counted.answered_by, counted.figures.total, world.store.asked) == ("index", 99, [])
    [(query, ask)] = world.index.asked
    # All figures are of the range that the timeline covers.
    assert (query.timestamp.start, query.timestamp.end) == (AT, AT + 3 * DAY)
    assert ask.over is not None
    assert ask.over.edges[0] <= AT < AT + 3 * DAY <= ask.over.edges[-1]


async def test_without_the_index_the_store_counts_named_fields() -> None:
    world = World()
    world.index.fail = Unavailable("index")
    counted = await world.count(("by", "action"), ("top", "2"), ("distinct", "action"), ("interval", "1s"))
    assert (counted.answered_by, counted.figures.total) == ("store", 5)
    assert [group.top for group in counted.figures.groups] == [(("a0", 1), ("a1", 1))]
    assert (counted.figures.groups[0].other, counted.figures.distinct[0].count) == (3, 5)
    assert counted.figures.over is not None
    assert counted.figures.over.counts == (5,)
    assert [(fields, bound) for _, fields, bound in world.store.asked] == [
        (["action", "received_at", "timestamp"], STORE_BOUND)
    ]
    counted = await world.count(("interval", "none"))
    assert (counted.figures.total, counted.figures.over, counted.span) == (5, None, None)


@pytest.mark.parametrize(
    "parameters",
    [
        [("q", "x")], [("metadata.a", "b")], [("message", "x")], [("changed_paths", "/a")], [("by", "changed_paths")],
        [("by", "facet.n")], [("percentiles", "facet.n")], [("distinct", "facet.n"), ("interval", "none")],
    ],
)  # fmt: skip
async def test_what_only_the_index_can_count_is_unavailable_without_it(parameters: list[tuple[str, str]]) -> None:
    world = World()
    world.index.fail = Unavailable("index")
    with pytest.raises(Unavailable) as caught:
        await world.count(*parameters)
    assert (caught.value.dependency, world.store.asked) == ("index", [])


async def test_more_than_is_counted_here_is_unavailable_without_the_index() -> None:
    world = World()
    world.index.fail = Unavailable("index")
    world.store.rows = world.store.rows * (STORE_BOUND // 5 + 1)
    with pytest.raises(Unavailable) as caught:
        await world.count(("by", "action"))
    assert caught.value.dependency == "index"
    world.store.fail = Unavailable("store")
    with pytest.raises(Unavailable) as caught:
        await world.count(("by", "action"))
    assert caught.value.dependency == "index"


async def test_counts_from_the_store_are_bounded_for_each_tenant() -> None:
    world = World()
    world.ledger.rebuilds.add(TENANT)
    world.index.fail, world.store.gate = Unavailable("index"), asyncio.Event()
    counts = [asyncio.create_task(world.count(("by", "action"))) for _ in range(LOOKS_OF_A_TENANT)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(world.store.asked) == LOOKS_OF_A_TENANT
    with pytest.raises(Overloaded):
        await world.count()
    # While the index is only behind, it answers for whom there is no turn.
    world.index.fail = None
    assert (await world.count()).answered_by == "index"
    world.store.gate.set()
    assert {counted.answered_by for counted in await asyncio.gather(*counts)} == {"store"}


async def test_a_timeline_over_a_facet_without_values_tells_why_there_are_none() -> None:
    world = World()
    world.index.reaches = None
    counted = await world.count(("over", "facet.due"))
    assert (counted.span, counted.ask.over) == (None, None)
    assert counted.figures.over is not None
    assert counted.figures.over.rest == Rest(4, 95)


async def test_while_the_index_is_rebuilt_the_store_counts_what_it_can() -> None:
    world = World()
    world.ledger.rebuilds.add(TENANT)
    counted = await world.count(("by", "action"))
    assert (counted.answered_by, counted.watermark.rebuilding) == ("store", True)
    counted = await world.count(("by", "facet.n"))
    assert (counted.answered_by, counted.watermark.rebuilding) == ("index", True)
    world.store.fail = Unavailable("store")
    assert (await world.count(("by", "action"))).answered_by == "index"
    # One that is rebuilt beside the live index takes nothing from it.
    world = World()
    world.ledger.beside.add(TENANT)
    counted = await world.count(("by", "action"))
    assert (counted.answered_by, counted.watermark.rebuilding) == ("index", True)


async def test_a_fault_of_the_store_is_not_hidden_behind_the_index() -> None:
    world = World()
    world.index.fail = Unavailable("store")
    with pytest.raises(Unavailable) as caught:
        await world.count()
    assert caught.value.dependency == "store"


async def test_no_event_and_no_range_make_no_interval() -> None:
    world = World()
    world.index.reaches = None
    counted = await world.count()
    assert (counted.span, world.index.asked[0][1].over) == (None, None)
    counted = await World(0).count(("from", "-1h"), ("to", "-2h"))
    assert counted.span is None


async def test_a_range_beyond_all_events_is_cut_to_where_they_can_lie() -> None:
    world = World()
    counted = await world.count(("from", "1900-01-01T00:00:00Z"), ("to", "9999-12-31T23:59:59Z"), ("interval", "1y"))
    assert counted.span is not None
    assert counted.span.start == 0
    assert counted.ask.over is not None
    assert counted.ask.over.interval == interval_of("1y")
    assert len(counted.ask.over.edges) < 100


@pytest.mark.parametrize("interval", ["1s", "1m", "1h"])
async def test_too_many_intervals_are_refused_before_anyone_counts(interval: str) -> None:
    world = World()
    for fail in (None, Unavailable("index")):
        with pytest.raises(InvalidQuery) as caught:
            await world.count(("interval", interval), ("from", "2020-01-01T00:00:00Z"), ("to", "2021-01-01T00:00:00Z"))
        assert (caught.value.code, world.index.asked) == ("too_many_buckets", [])
        world.index.fail = fail
