"""`Segments` on every backend."""

from __future__ import annotations

import pytest

from core.adapters.store.client import Database
from core.adapters.store.segments import MongoSegments
from core.ids import uuid7s
from core.query import Position
from core.segments import Segment, SegmentState, name_of
from core.tenant import TenantScope
from tests.contracts.stores import START, a_scope

MINUTE = 60_000_000


@pytest.fixture
def segments(database: Database) -> MongoSegments:
    return MongoSegments(database)


def a_segment(scope: TenantScope, at: int, event_id: str = "a") -> Segment:
    segment_id = uuid7s(START, 1)[0]
    return Segment(
        id=segment_id,
        tenant_id=scope.tenant_id,
        placement="202605",
        name=name_of(scope.tenant_id, at, segment_id),
        first=Position(at, event_id),
        last=Position(at + MINUTE, "z"),
        events=7,
        bytes=1 << 40,
        size=3,
        sha256="ab" * 32,
        archived_at=START,
        left=2,
        hours={at // 3_600_000_000: 7},
    )


async def test_a_segment_comes_back_as_it_was_added(segments: MongoSegments) -> None:
    scope = a_scope()
    one = a_segment(scope, START)
    for _ in range(2):
        await segments.add(scope, one)
    assert await segments.get(scope, one.id) == one
    assert await segments.get(a_scope(), one.id) is None
    assert one.name.startswith(f"archive/{scope.tenant_id}/2026/05/2")
    assert one.name == f"{one.folder}/events.parquet"


async def test_they_are_listed_in_order_page_by_page_and_by_state(segments: MongoSegments) -> None:
    scope = a_scope()
    made = [a_segment(scope, START, "a"), a_segment(scope, START, "b"), *(a_segment(scope, START + n) for n in (1, 5))]
    for n in (2, 0, 3, 1):
        await segments.add(scope, made[n])
    other = a_scope()
    await segments.add(other, a_segment(other, START))
    assert await segments.listing(scope, after=None, limit=9) == made
    for n in range(4):
        assert await segments.listing(scope, after=made[n].first, limit=2) == made[n + 1 : n + 3]
    await segments.mark(scope, made[1].id, SegmentState.REMOVED)
    await segments.mark(scope, made[3].id, SegmentState.RESTORED, restored_until=START + 9)
    await segments.mark(a_scope(), made[0].id, SegmentState.REMOVED)
    states = {
        SegmentState.ARCHIVED: [made[0].id, made[2].id],
        SegmentState.REMOVED: [made[1].id],
        SegmentState.RESTORED: [made[3].id],
    }
    assert set(states) == set(SegmentState)
    for state, ids in states.items():
        assert [each.id for each in await segments.listing(scope, state=state, after=None, limit=9)] == ids
    assert (await segments.listing(scope, after=made[2].first, limit=9))[0].restored_until == START + 9


async def test_what_may_hold_events_of_a_range_is_found(segments: MongoSegments) -> None:
    scope = a_scope()
    made = [a_segment(scope, START + n * 10 * MINUTE) for n in range(3)]
    for each in made:
        await segments.add(scope, each)
    found = {
        (0, START): [],
        (0, START + 1): made[:1],
        (START + MINUTE, START + 20 * MINUTE): made[:2],
        (START + MINUTE + 1, START + 20 * MINUTE + 1): made[1:],
        (START + 21 * MINUTE + 1, 1 << 60): [],
    }
    for (start, end), expected in found.items():
        assert await segments.within(scope, start, end) == expected
    assert await segments.within(a_scope(), 0, 1 << 60) == []


async def test_those_whose_time_has_come_are_due(segments: MongoSegments) -> None:
    mine, theirs = a_scope(), a_scope()
    for scope, until in ((mine, START), (mine, START + 1), (theirs, START + 5)):
        one = a_segment(scope, START)
        await segments.add(scope, one)
        await segments.mark(scope, one.id, SegmentState.RESTORED, restored_until=until)
    found = [[each for each in await segments.due(now) if each in (mine.tenant_id, theirs.tenant_id)] for now in
             (START, START + 2, START + 6)]  # fmt: skip
    assert found == [[], [mine.tenant_id], sorted([mine.tenant_id, theirs.tenant_id])]


async def test_one_is_replaced_by_another_or_by_nothing(segments: MongoSegments) -> None:
    scope = a_scope()
    old, new = a_segment(scope, START), a_segment(scope, START + 1)
    await segments.add(scope, old)
    for _ in range(2):
        await segments.replace(scope, old, new)
    assert await segments.listing(scope, after=None, limit=9) == [new]
    await segments.replace(scope, new, None)
    assert await segments.listing(scope, after=None, limit=9) == []


async def test_a_tenants_record_is_forgotten_alone(segments: MongoSegments) -> None:
    mine, theirs = a_scope(), a_scope()
    for scope in (mine, theirs):
        await segments.add(scope, a_segment(scope, START))
    await segments.forget(mine)
    assert await segments.listing(mine, after=None, limit=9) == []
    assert len(await segments.listing(theirs, after=None, limit=9)) == 1
