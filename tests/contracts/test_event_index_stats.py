"""What every `EventIndex` counts, on osmem and on OpenSearch, each figure compared with one computed in Python."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import stats
from core.adapters.index import mapping
from core.adapters.index.opensearch import open_index
from core.facets import NONE, Declared, Facet, FacetType, declare
from core.placement import read_alias, write_alias
from core.ports import IndexOutcome
from core.query import Condition, EventQuery, Match, Range, Value
from core.stats import Ask, Group, Over, Ranks, Target
from core.tenant import for_system, new_tenant_id
from core.timeline import LADDER, Interval, edges_of, interval_of, residues_of, zone_of
from tests import brute_stats
from tests.conftest import LIVE_OPENSEARCH
from tests.contracts.index_events import NOW, PLACEMENT, stamped
from tests.contracts.index_servers import Bench, index_url

__all__ = ["index_url"]

HOUR = 3_600_000_000
KINDS = {
    "amount": ("metadata.order.amount", FacetType.NUMBER),
    "customer": ("metadata.customer", FacetType.KEYWORD),
    "due": ("metadata.due", FacetType.DATE),
    "peer": ("metadata.peer", FacetType.IP),
}
EARLIER = declare(NONE, [Declared("old", "metadata.k", FacetType.NUMBER)])
FACETS = declare(EARLIER, [Declared(name, *kind) for name, kind in KINDS.items()])
AMOUNTS: list[Any] = [
    0, -0.0, 1, 1.5, -3, 1e300, -1e300, 5e-324, "12.5", "x", None, 1, 10**30, [7, 8], True, 1e-9, 2**53, 2**53 + 1,
]  # fmt: skip
CUSTOMERS: list[Any] = ["a", "b", ["a", "b", "a"], 1, 1.0, "", "é", "B", True, None, [], "x" * 2000, {"z": 1}]
DUES: list[Any] = ["2026-03-29T00:59:59.999999Z", "2026-03-29T03:00:00+02:00", "2026-10-25T02:30:00+01:00", "soon", 7]
PEERS: list[Any] = [
    "10.0.0.1",
    "::ffff:10.0.0.1",
    "9.9.9.9",
    ["2001:db8::1", "9.9.9.9"],
    "nowhere",
    None,
    "2001:DB8::1",
]
USERS = ["ana", "ben", "Ana", "日本", "a\ud7ff", "a\ue000", "a\U0010ffff", "", None]
ADDRESSES = ["10.0.0.1", "::ffff:10.0.0.1", "9.9.9.9", "2001:db8::1", None, "192.168.0.1"]
STATES = [({"a": 1}, {"a": 2}), ({"a": 1, "b": 2}, {"a": 2, "b": 3}), ({"a": 1}, {"a": 1}), (None, {"a": 1})]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo"]


@dataclass
class Corpus:
    """A tenant's events, some indexed before its facets were declared, some of them in an index without the slots."""

    bench: Bench
    events: list[brute_stats.Event]

    def __repr__(self) -> str:
        return f"Corpus({len(self.events)})"

    async def agrees(self, query: EventQuery, ask: Ask) -> stats.Figures:
        found = await self.bench.index.aggregate(self.bench.scope, query, ask)
        expected = brute_stats.figures(query, ask, self.events)
        assert found == expected, (query, ask)
        return found


def _metadata(n: int) -> dict[str, Any]:
    return {
        "order": [{"amount": AMOUNTS[n % len(AMOUNTS)]}, {"amount": n % 11}],
        "customer": CUSTOMERS[n % len(CUSTOMERS)],
        "due": DUES[n % len(DUES)],
        "peer": PEERS[n % len(PEERS)],
        "k": n,
    }


def _event(n: int, tenant_id: str, dice: random.Random) -> Any:
    item: dict[str, Any] = {"action": f"a{n % 7}", "metadata": _metadata(n), "severity": ["INFO", "ERROR"][n % 3 == 0]}
    item |= {"user_id": USERS[n % len(USERS)], "ip_address": ADDRESSES[n % len(ADDRESSES)]}
    if n % 3:
        item["tags"] = [["x"], ["x", "y", "x"], [], ["z", "", "y"]][n % 4]
    if n % 5 == 0:
        item["before_state"], item["after_state"] = STATES[n // 5 % len(STATES)]
    item = {key: value for key, value in item.items() if value is not None}
    # Around both changes of the clock, to the microsecond at the hour.
    change = [1_774_746_000_000_000, 1_792_890_000_000_000 + 0, NOW][n % 3]
    us = change + dice.choice([0, -1, 1, HOUR, -HOUR, dice.randrange(-50 * HOUR, 50 * HOUR)])
    return stamped(item, tenant_id, n, us=us, received_at=NOW + n)


@pytest_asyncio.fixture(scope="module")
async def corpus(index_url: str) -> AsyncIterator[Corpus]:
    declared: dict[str, Sequence[Facet]] = {"now": ()}

    async def facets_of(tenant_id: str) -> Sequence[Facet]:
        return declared["now"]

    index = open_index(index_url, shards=1, replicas=0, facets_of=facets_of)
    scope = for_system(new_tenant_id(), "test")
    bench = Bench(index, index_url, scope, index_url == LIVE_OPENSEARCH)
    await _index_of_an_older_version(bench)
    dice = random.Random(7)
    events: list[brute_stats.Event] = []
    for first, facets in ((0, ()), (100, EARLIER.all), (160, FACETS.all)):
        declared["now"] = facets
        documents = [_event(n, scope.tenant_id, dice) for n in range(first, first + (60 if first == 100 else 100))]
        for placement, some in ((PLACEMENT, documents[::2]), ("202612", documents[1::2])):
            assert set(await bench.put(some, placement)) == {IndexOutcome.INDEXED}
        events += [(document.body, frozenset(facet.serial for facet in facets)) for document in documents]
    yield Corpus(bench, events)
    await index.drop(scope)
    await index.aclose()


async def _index_of_an_older_version(bench: Bench) -> None:
    mappings = mapping.mappings()
    for name in mapping.facet_properties():
        del mappings["properties"][name]
    tenant_id = bench.scope.tenant_id
    alias = write_alias(tenant_id, PLACEMENT)
    aliases = {alias: {"is_write_index": True}, read_alias(tenant_id): {}}
    body = {"settings": mapping.settings(1, 0), "mappings": mappings, "aliases": aliases}
    async with httpx.AsyncClient(base_url=bench.url) as http:
        assert (await http.put(f"/{alias}-g1", json=body)).status_code == 200


def facet(name: str) -> Facet:
    found = FACETS.named(name)
    assert found is not None
    return found


def over(target: Target, start: int, end: int, interval: str, zone: str = "UTC") -> Over:
    each = interval_of(interval)
    return Over(target, each, tuple(edges_of(start, end, each, zone_of(zone), 100_000)))


TARGETS: list[Target] = [
    "action", "severity", "outcome", "user_id", "tags", "ip_address", "changed_paths", "source",
    facet("amount"), facet("customer"), facet("peer"),
]  # fmt: skip
EVERYTHING = EventQuery()
QUERIES = [
    EVERYTHING,
    EventQuery(text="a1"),
    EventQuery(conditions=(Condition("user_id", (Value("ana"), Value("b", Match.PREFIX))),)),
    EventQuery(conditions=(Condition("metadata.order.amount", (Value("1"),)),)),
    EventQuery(conditions=(Condition("tags", (Value("", Match.EXISTS),), negated=True),)),
    EventQuery(timestamp=Range(NOW - HOUR, NOW + 1)),
    EventQuery(received_at=Range(NOW + 150)),
    EventQuery(conditions=(Condition("action", (Value("none"),)),)),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: getattr(target, "name", target))
async def test_groups_and_how_many_there_are(corpus: Corpus, target: Target) -> None:
    for top in (1, 2, 5, 1000):
        found = await corpus.agrees(EVERYTHING, Ask(groups=(Group(target, top),), distinct=(target,)))
        assert len(found.groups[0].top) <= top
    for query in QUERIES:
        await corpus.agrees(query, Ask(groups=(Group(target, 3),), distinct=(target,)))


async def test_a_slot_that_is_used_again_shows_nothing_of_the_facet_before(corpus: Corpus) -> None:
    old, amount = EARLIER.all[0], facet("amount")
    assert old.slot == amount.slot
    found = await corpus.agrees(EVERYTHING, Ask(groups=(Group(amount, 1000), Group(old, 1000))))
    assert found.groups[0].rest.not_indexed == 160
    assert found.groups[1].rest.not_indexed == 200
    assert {value for value, _ in found.groups[1].top} == set(range(100, 160))


async def test_every_percentile_is_the_value_at_its_rank(corpus: Corpus) -> None:
    percents = (0.1, 1.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 100.0)
    for query in QUERIES:
        await corpus.agrees(query, Ask(ranks=(Ranks(facet("amount"), percents),)))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("interval", ["15m", "1h", "3h", "12h", "1d", "1w", "1M", "1q", "1y"])
async def test_counts_over_time(corpus: Corpus, zone: str, interval: str) -> None:
    start, end = 1_774_746_000_000_000 - 51 * HOUR, NOW + 51 * HOUR
    if interval == "15m":
        start = NOW - 51 * HOUR
    query = EventQuery(timestamp=Range(start, end))
    found = await corpus.agrees(query, Ask(over=over("timestamp", start, end, interval, zone)))
    assert found.over is not None
    assert sum(found.over.counts) == found.total > 50


async def test_counts_by_the_second_and_by_other_times(corpus: Corpus) -> None:
    start, end = NOW - 5_000_000, NOW + 1_000_000
    await corpus.agrees(EventQuery(timestamp=Range(start, end)), Ask(over=over("timestamp", start, end, "1s")))
    received = over("received_at", NOW, NOW + 300, "1s")
    assert (await corpus.agrees(EVERYTHING, Ask(over=received))).over is not None
    extent = await corpus.bench.index.extent(corpus.bench.scope, EVERYTHING, facet("due"))
    assert extent is not None
    found = await corpus.agrees(EVERYTHING, Ask(over=over(facet("due"), *extent, "1d", "Europe/Berlin")))
    assert found.over is not None
    assert sum(found.over.counts) + found.over.rest.missing + found.over.rest.not_indexed == found.total


@pytest.mark.parametrize("target", ["timestamp", "received_at", facet("due")], ids=["timestamp", "received", "facet"])
async def test_the_extent_holds_every_event_and_little_more(corpus: Corpus, target: Target) -> None:
    for query in QUERIES:
        found = await corpus.bench.index.extent(corpus.bench.scope, query, target)
        expected = brute_stats.extent(query, target, corpus.events)
        if expected is None or found is None:
            assert found == expected
            continue
        first, last = expected
        assert first - 1000 < found[0] <= first
        assert last < found[1] <= last + 1000


async def test_a_tenant_without_events_has_figures_of_nothing(index_url: str) -> None:
    index = open_index(index_url, replicas=0)
    scope = for_system(new_tenant_id(), "test")
    ask = Ask(
        over=over("timestamp", NOW, NOW + HOUR, "15m"),
        groups=(Group("action", 3), Group(facet("customer"), 3)),
        distinct=("action",),
        ranks=(Ranks(facet("amount"), (50.0,)),),
    )
    assert await index.aggregate(scope, EVERYTHING, ask) == brute_stats.figures(EVERYTHING, ask, [])
    assert await index.extent(scope, EVERYTHING, "timestamp") is None
    await index.aclose()


_NUMBERS = st.lists(
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float), min_size=1, max_size=3
)


async def test_percentiles_among_more_values_than_are_listed(index_url: str) -> None:
    """Enough different values that no round before the third may list them, over the whole range of floats."""
    facets = declare(NONE, [Declared("v", "metadata.v", FacetType.NUMBER)])

    async def facets_of(tenant_id: str) -> Sequence[Facet]:
        return facets.all

    index = open_index(index_url, replicas=0, facets_of=facets_of)
    scope, dice = for_system(new_tenant_id(), "test"), random.Random(3)
    numbers = [dice.lognormvariate(3, 2) for _ in range(2500)] + [0.0] * 700 + [-dice.random() for _ in range(300)]
    documents = [
        stamped({"action": "a", "metadata": {"v": number}}, scope.tenant_id, n) for n, number in enumerate(numbers)
    ]
    await index.index(scope, PLACEMENT, documents)
    await index.refresh(scope)
    serials = frozenset(each.serial for each in facets.all)
    ask = Ask(ranks=(Ranks(facets.all[0], (0.01, 5.0, 8.5, 20.0, 50.0, 95.0, 99.9, 100.0)),), distinct=(facets.all[0],))
    found = await index.aggregate(scope, EVERYTHING, ask)
    assert found == brute_stats.figures(EVERYTHING, ask, [(d.body, serials) for d in documents])
    await index.drop(scope)
    await index.aclose()


async def test_many_different_values_are_counted_exactly_or_said_to_be_estimated(
    index_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over three indices, with a bound that their values pass: no figure is off by more than it says."""
    from core.adapters.index import aggregation

    index = open_index(index_url, replicas=0)
    scope, dice = for_system(new_tenant_id(), "test"), random.Random(5)
    documents = [
        stamped({"action": f"a{int(dice.paretovariate(0.7))}"}, scope.tenant_id, n, received_at=NOW) for n in range(900)
    ]
    for n, placement in enumerate(("202610", "202611", "202612")):
        await index.index(scope, placement, documents[n::3])
    await index.refresh(scope)
    ask = Ask(groups=(Group("action", 5),), distinct=("action",))
    exact = brute_stats.figures(EVERYTHING, ask, [(d.body, frozenset()) for d in documents])
    assert await index.aggregate(scope, EVERYTHING, ask) == exact
    monkeypatch.setattr(aggregation, "EXACT_VALUES", 20)
    found = await index.aggregate(scope, EVERYTHING, ask)
    assert found.total == 900
    assert not found.distinct[0].exact
    assert abs(found.distinct[0].count - exact.distinct[0].count) <= 0.01 * exact.distinct[0].count + 1
    everything = dict(
        brute_stats.figures(EVERYTHING, Ask(groups=(Group("action", 900),)), _bare(documents)).groups[0].top
    )
    for value, count in found.groups[0].top:
        assert abs(everything[value] - count) <= found.groups[0].error
    await index.drop(scope)
    await index.aclose()


def _bare(documents: Sequence[Any]) -> list[brute_stats.Event]:
    return [(document.body, frozenset()) for document in documents]


_targets = st.sampled_from(TARGETS)
_ranges = st.builds(Range, st.none() | st.sampled_from([NOW - 9 * HOUR, NOW]), st.none() | st.just(NOW + 9 * HOUR))
_queries = st.builds(
    lambda query, bounds: EventQuery(
        text=query.text, conditions=query.conditions, timestamp=bounds, received_at=query.received_at
    ),
    st.sampled_from(QUERIES),
    _ranges,
)


@st.composite
def _timelines(draw: st.DrawFn) -> tuple[Range, Over]:
    interval: Interval = draw(st.sampled_from(LADDER))
    start = NOW + draw(st.integers(-400 * HOUR, 400 * HOUR))
    end = start + draw(st.integers(1, 40 * interval.least_seconds * 1_000_000))
    zone = zone_of(draw(st.sampled_from(ZONES)))
    timeline = Over("timestamp", interval, tuple(edges_of(start, end, interval, zone, 1500)))
    assert len(residues_of(timeline.edges, interval)[1]) <= 4
    return Range(start, end), timeline


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=_queries,
    groups=st.lists(st.builds(Group, _targets, st.integers(1, 8)), max_size=3).map(tuple),
    distinct=st.lists(_targets, max_size=2).map(tuple),
    percents=st.lists(st.floats(0.01, 100), max_size=3).map(tuple),
    timeline=st.none() | _timelines(),
)
async def test_any_figures_of_any_query(
    corpus: Corpus,
    query: EventQuery,
    groups: tuple[Group, ...],
    distinct: tuple[Target, ...],
    percents: tuple[float, ...],
    timeline: tuple[Range, Over] | None,
) -> None:
    ranks = (Ranks(facet("amount"), percents),) if percents else ()
    ask = Ask(groups=groups, distinct=distinct, ranks=ranks)
    if timeline is not None:
        ask = Ask(timeline[1], groups, distinct, ranks)
        query = EventQuery(text=query.text, conditions=query.conditions, timestamp=timeline[0])
    await corpus.agrees(query, ask)


def test_the_figures_compare_by_all_they_hold() -> None:
    """A comparison that passed over a field would let it be wrong."""
    figures = brute_stats.figures(EVERYTHING, Ask(distinct=("action",)), [])
    assert figures != dataclasses.replace(figures, total=1)
    rest = stats.Rest(0, 1)
    assert figures != dataclasses.replace(figures, distinct=(dataclasses.replace(figures.distinct[0], rest=rest),))
