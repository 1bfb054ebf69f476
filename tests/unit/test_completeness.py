"""Completeness on ports in memory: what the counts say, what they name, and how much is asked for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from core import comparison, counting, gaps
from core.comparison import Comparison
from core.completeness import MAX_NAMED, Completeness, Report, State, intervals_of
from core.errors import InvalidQuery, Unavailable, UnboundedQuery
from core.gaps import Gap, Gaps, Span
from core.ports import Account, HitPage, Hole, Rebuilding, Tally
from core.ports.accounts import SECOND
from core.query import EventQuery, Position
from core.stats import Ask, Figures, OverFigure, Rest
from core.tenant import TenantScope, for_system
from tests.unit.ports import TENANT, anything

AT = 1_780_000_000_000_000 // SECOND * SECOND
NOTHING = Tally()
SCOPE = for_system(TENANT, "test")


@dataclass
class World:
    """A tenant's events as both sides have them, by id; the books; every port that completeness asks."""

    stored: dict[str, tuple[int, str]] = field(default_factory=dict)
    """`received_at` and envelope."""
    indexed: dict[str, int] = field(default_factory=dict)
    accounts: list[Account] = field(default_factory=list)
    gone: list[Hole] = field(default_factory=list)
    parked: list[int] = field(default_factory=list)
    mark: int | None = AT + 3600 * SECOND
    behind: Rebuilding = Rebuilding.NO
    slow: bool = False
    countable: int = 1 << 31
    """Events that one count of the store gets through in time."""
    asked: int = 0

    def take(self, envelope: str, *times: int, aside: Tally = NOTHING) -> list[str]:
        """Accept events as one envelope, and store and index them."""
        ids = [f"{envelope}-{n}" for n in range(len(times))]
        for id_, at in zip(ids, times, strict=True):
            self.stored[id_] = at, envelope
            self.indexed[id_] = at
            self.accounts.append(Account(envelope, TENANT, at // SECOND * SECOND, Tally(1)))
        if aside != NOTHING:
            self.accounts.append(Account(envelope, TENANT, times[0] // SECOND * SECOND, aside))
        return ids

    async def naming(self, until: float) -> Gap:
        """What is named of the second after `AT` by then."""
        port, span = anything(self), (AT + SECOND, AT + 2 * SECOND)
        stored = await self.count(SCOPE, start=span[0], end=span[1])
        indexed = sum(span[0] <= at < span[1] for at in self.indexed.values())
        return await Gaps(port, port, port).named(SCOPE, Span(*span, stored, indexed, stored), MAX_NAMED, until)

    async def report(
        self, start: int = AT, end: int = AT + 10 * SECOND, budget: float = 60, every: str = "1s"
    ) -> Report:
        port = anything(self)
        made = Completeness(port, port, port, port, port, port, budget=budget)
        return await made.report(SCOPE, *intervals_of(start, end, every))

    # The store

    async def count(self, scope: TenantScope, *, start: int, end: int) -> int:
        self.asked += 1
        if self.slow or sum(start <= at < end for at, _ in self.stored.values()) > self.countable:
            raise Unavailable("store")
        return sum(start <= at < end for at, _ in self.stored.values())

    async def by_envelope(self, scope: TenantScope, *, start: int, end: int) -> dict[str, int]:
        found = [envelope for at, envelope in self.stored.values() if start <= at < end]
        return {each: found.count(each) for each in found}

    async def ids(self, scope: TenantScope, *, start: int, end: int) -> AsyncIterator[list[Position]]:
        found = sorted((at, id_) for id_, (at, _) in self.stored.items() if start <= at < end)
        for first in range(0, len(found), 7):
            yield [Position(*each) for each in found[first : first + 7]]

    async def ping(self) -> None:
        pass

    # The index

    async def search(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> HitPage:
        assert (query.sort, query.descending) == ("received_at", False)
        bounds = query.received_at
        assert bounds.start is not None
        assert bounds.end is not None
        all_ = sorted((at, id_) for id_, at in self.indexed.items() if bounds.start <= at < bounds.end)
        found = [each for each in all_ if after is None or each > (after.us, after.id)]
        return HitPage([Position(at, id_) for at, id_ in found[:limit]], len(all_), True)

    async def aggregate(self, scope: TenantScope, query: EventQuery, ask: Ask) -> Figures:
        assert ask.over is not None
        edges = ask.over.edges
        counts = [sum(a <= at < b for at in self.indexed.values()) for a, b in pairwise(edges)]
        return Figures(sum(counts), OverFigure(tuple(counts), Rest()), (), (), ())

    # The ledger and the books, what is parked and what waits

    async def complete_through(self, tenant_id: str) -> int | None:
        return self.mark

    async def rebuilding(self, tenant_id: str) -> Rebuilding:
        return self.behind

    async def holes(self, start: int, end: int, limit: int) -> list[Hole]:
        return [hole for hole in self.gone if hole.after < end and hole.before > start]

    async def tally(self, scope: TenantScope, start: int, end: int) -> Tally:
        return sum((each.tally for each in self.accounts if start <= each.second < end), Tally())

    async def by_source(self, scope: TenantScope, start: int, end: int) -> dict[str, Tally]:
        found: dict[str, Tally] = {}
        for each in self.accounts:
            if start <= each.second < end:
                found[each.source] = found.get(each.source, Tally()) + each.tally
        return found

    async def unindexed(self, tenant_id: str, start: int, end: int) -> int:
        return sum(start <= at < end for at in self.parked)

    async def waiting(self, tenant_id: str, start: int, end: int) -> int:
        return 0


@pytest.fixture
def world() -> World:
    """Four envelopes over ten seconds, with a retry, a parked and a quarantined event among them."""
    made = World()
    made.take("p-1", AT, AT + 5, AT + SECOND)
    made.take("p-2", AT + 2 * SECOND, aside=Tally(3, duplicates=1, parked=1, quarantined=1))
    made.take("p-3", *(AT + 4 * SECOND + n for n in range(40)))
    made.take("p-4", AT + 9 * SECOND)
    return made


async def test_counts_that_agree(world: World) -> None:
    report = await world.report()
    assert report.state is State.AGREES
    assert [(each.stored, each.indexed, each.tally.due) for each in report.counts] == [
        (n, n, n) for n in (2, 1, 1, 0, 40, 0, 0, 0, 0, 1)
    ]
    assert sum((each.tally for each in report.counts), Tally()) == Tally(48, 1, 1, 1)
    assert (report.gaps, report.holes, report.next_start) == ([], [], None)


async def test_what_is_not_settled_is_open(world: World) -> None:
    world.mark = AT + 5 * SECOND
    report = await world.report()
    assert [each.state for each in report.counts] == [State.AGREES] * 5 + [State.OPEN] * 5
    assert report.state is State.AGREES
    for world.mark, world.behind in ((None, Rebuilding.NO), (AT + 99 * SECOND, Rebuilding.BEHIND)):
        world.indexed.clear()
        report = await world.report()
        assert ({each.state for each in report.counts}, report.gaps) == ({State.OPEN}, [])


async def test_events_that_are_gone_from_either_side_are_named(world: World) -> None:
    del world.indexed["p-3-7"], world.stored["p-3-9"], world.stored["p-1-2"], world.indexed["p-1-2"]
    report = await world.report()
    differing = [each.start for each in report.counts if each.state is State.DIFFERS]
    assert differing == [AT + SECOND, AT + 4 * SECOND]
    first, second = report.gaps
    assert [(each.id, each.due, each.stored) for each in first.envelopes] == [("p-1", 1, 0)]
    # Each side lacks another: they count the same.
    assert (second.not_indexed, second.not_stored) == (["p-3-7"], ["p-3-9"])
    assert [(each.id, each.due, each.stored) for each in second.envelopes] == [("p-3", 40, 39)]
    del world.indexed["p-3-8"]
    gap = (await world.report(every="1m")).gaps[0]
    assert (gap.not_indexed, gap.not_stored, gap.cut) == (["p-3-7", "p-3-8"], ["p-3-9"], False)
    assert [each.id for each in gap.envelopes] == ["p-1", "p-3"]


async def test_what_should_not_be_there_is_named_too(world: World) -> None:
    world.stored["forged"] = world.stored["p-4-0"]
    world.indexed["left"] = AT + 9 * SECOND
    world.indexed["over"] = AT + 9 * SECOND
    gap = (await world.report()).gaps[0]
    assert (gap.not_indexed, gap.not_stored) == (["forged"], ["left", "over"])
    assert [(each.id, each.due, each.stored) for each in gap.envelopes] == [("p-4", 1, 2)]


async def test_what_the_index_refuses_and_what_was_taken_out_is_accounted_for(world: World) -> None:
    del world.indexed["p-3-7"]
    world.parked.append(AT + 4 * SECOND + 7)
    del world.stored["p-1-2"], world.indexed["p-1-2"]
    world.accounts.append(Account("erasure", TENANT, AT + SECOND, Tally(erased=1)))
    assert (await world.report()).state is State.AGREES
    del world.stored["p-3-0"], world.indexed["p-3-0"]
    world.accounts.append(Account("retention", TENANT, AT + 4 * SECOND, Tally(archived=2)))
    report = await world.report()
    assert [gap.envelopes for gap in report.gaps] == [[]]  # nobody knows whose it is


async def test_an_envelope_that_never_came_leaves_its_time_unproven(world: World) -> None:
    world.gone.append(Hole("p", 5, 6, AT + 2 * SECOND, AT + 4 * SECOND))
    report = await world.report()
    assert [each.start for each in report.counts if each.state is State.UNPROVEN] == [AT + 2 * SECOND, AT + 3 * SECOND]
    assert (report.state, report.holes) == (State.UNPROVEN, world.gone)


async def test_counting_stops_at_its_budget_and_says_where_to_go_on(world: World) -> None:
    report = await world.report(budget=0)
    assert [each.start for each in report.counts] == [AT + n * SECOND for n in range(8)]
    assert report.next_start == AT + 8 * SECOND
    rest = await world.report(start=report.next_start, budget=0)
    assert (len(rest.counts), rest.next_start) == (2, None)


async def test_an_interval_that_cannot_be_counted_is_refused(world: World) -> None:
    world.slow = True
    with pytest.raises(UnboundedQuery):
        await world.report()


async def test_an_interval_of_very_many_is_counted_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "AT_ONCE", 50)
    world.countable = 110
    world.take("p-6", *(AT + 7 * SECOND + n * 10_000 for n in range(600)))
    assert (await world.report(every="1m")).state is State.AGREES
    del world.stored["p-6-77"], world.indexed["p-6-77"]
    report = await world.report(every="1m")
    assert [each.due - each.stored for gap in report.gaps for each in gap.envelopes] == [1]


async def test_all_that_one_busy_moment_lacks_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gaps, comparison):
        monkeypatch.setattr(module, "NARROW", 20)
    for n in range(3):
        world.take(f"p-{6 + n}", *[AT + SECOND + 300_000 * n + 17] * 50)
        del world.indexed[f"p-{6 + n}-{n}"]
    assert [each.not_indexed for each in (await world.report()).gaps] == [["p-6-0", "p-7-1", "p-8-2"]]
    hurried = await world.naming(until=0)
    assert (hurried.not_indexed, hurried.cut) == ([], True)


async def test_a_busy_moment_that_lacks_one_event_on_each_side_is_named_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (gaps, comparison):
        monkeypatch.setattr(module, "NARROW", 20)
    world.take("p-6", *[AT + SECOND + 17] * 50)
    world.take("p-7", *[AT + SECOND + 300_000] * 50)
    del world.indexed["p-6-3"], world.stored["p-7-4"]
    [gap] = (await world.report()).gaps
    assert (gap.not_indexed, gap.not_stored) == (["p-6-3"], ["p-7-4"])
    assert [(each.id, each.due - each.stored) for each in gap.envelopes] == [("p-7", 1)]


async def test_names_are_bounded(world: World) -> None:
    for id_ in world.take("p-5", *(AT + 6 * SECOND + n for n in range(MAX_NAMED + 5))):
        del world.indexed[id_]
    del world.indexed["p-4-0"]
    gaps = (await world.report()).gaps
    assert (len(gaps[0].not_indexed), gaps[0].cut) == (MAX_NAMED, True)
    assert gaps[1] == Gap(AT + 9 * SECOND, AT + 10 * SECOND, cut=True)


async def test_a_gap_in_many_events_is_found_by_halving(world: World) -> None:
    world.take("p-6", *(AT + n * 50 for n in range(20_000)))
    del world.indexed["p-6-12345"]
    gap = (await world.report(every="1m")).gaps[0]
    assert gap.not_indexed == ["p-6-12345"]
    assert world.asked < 30


async def test_a_comparison_tells_all_that_differs_though_the_counts_agree(world: World) -> None:
    world.take("p-7", *[AT + SECOND] * 30)
    for id_ in ("p-7-3", "p-1-0", "p-4-0"):
        del world.indexed[id_]
    for id_ in ("p-7-29", "p-1-1", "p-3-39"):
        del world.stored[id_]
    comparison = Comparison(anything(world), anything(world), SCOPE)
    found = [each async for each in comparison.differences(AT, AT + 10 * SECOND)]
    assert [each.id for one in found for each in one.not_indexed] == ["p-1-0", "p-7-3", "p-4-0"]
    assert [each.id for one in found for each in one.not_stored] == ["p-1-1", "p-7-29", "p-3-39"]
    assert sum(each.compared for each in found) == len(world.stored)
    assert found[-1].reached == Position(AT + 10 * SECOND, "")


@pytest.mark.parametrize("asked", [(5, 5, "auto"), (5, 4, "auto"), (0, 10, "7m"), (0, 10, "x"), (0, 1 << 50, "1s")])
def test_a_range_that_cannot_be_cut_is_refused(asked: tuple[int, int, str]) -> None:
    with pytest.raises(InvalidQuery):
        intervals_of(*asked)


def test_intervals_are_whole() -> None:
    interval, edges = intervals_of(AT + 1, AT + 90 * 60 * SECOND, "1h")
    assert interval.text == "1h"
    assert edges[0] <= AT + 1 < edges[1]
    assert edges[-2] < AT + 90 * 60 * SECOND <= edges[-1]
