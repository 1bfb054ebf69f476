"""Retention and restoring, in memory: what goes, what stays, and the same end wherever a runner is killed."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient

from consumer.jobs.expiry import Expiry
from consumer.jobs.retained import ERASURE
from consumer.jobs.retention import Retention
from consumer.jobs.runner import Later
from core.adapters.store.indexes import ensure_indexes
from core.errors import Conflict, Forbidden
from core.jobs import RESTORE, RETENTION, Job, JobState
from core.placement import Period, Placement
from core.segments import SegmentState
from core.tenant import TenantStatus
from tests.killing import Killed
from tests.retained import BEFORE, DAY, NOW, SECOND, World


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written as ever; to wait for the disk is what takes most of the time here."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await a_world(tmp_path)


async def a_world(folder: Path, index: Any = None) -> World:
    database = AsyncMongoMockClient()["test"]
    await ensure_indexes(database)
    return World(database, folder, index)


async def filled(world: World) -> tuple[list[str], list[str]]:
    """Eight months' events: what is to go, and what is to stay (of April some are held, of May some are young)."""
    going = await world.arrive(*(f"2026-03-{day:02}T0{n}:00:00Z" for day in (1, 2, 31) for n in range(4)))
    going += await world.arrive(*["2026-03-15T00:00:00Z"] * 5)  # of one moment
    going += await world.arrive("2026-04-01T00:00:00Z", "2026-04-07T10:00:00Z", "2026-04-30T23:59:59.999999Z")
    going += await world.arrive("2026-05-09T23:59:59.999999Z", "2026-05-01T00:00:00Z")
    going += await world.arrive("2026-03-20T00:00:00Z", key="7")
    await world.hold("ana")
    staying = await world.arrive("2026-04-01T00:00:01Z", "2026-04-07T11:00:00Z", "2026-06-01T00:00:00Z", user="ana")
    staying += await world.arrive("2026-05-10T00:00:00Z", "2026-05-31T00:00:00Z", "2026-06-15T11:00:00Z")
    return going, staying


async def is_done(world: World, going: list[str], staying: list[str]) -> None:
    """Exactly what was to go is in the archive alone, byte for byte, and nothing lies about."""
    assert sorted(await world.stored()) == world.index.ids() == sorted(staying)
    archived = await world.archived()
    assert sorted(event.id for event in archived) == sorted(going)
    for event in archived:
        row = world.rows[event.id]
        assert (event.body, event.hash, event.content, event.envelope, event.placement) == (
            row.body, row.hash, row.content, row.envelope, row.placement
        )  # fmt: skip
        assert (event.received_at, event.timestamp) == (row.received_at, row.timestamp)
    assert await world.booked() == len(going)
    recorded = await world.recorded()
    assert {each.state for each in recorded} == {SegmentState.REMOVED}
    assert world.files() == sorted(each.name for each in recorded)
    assert sum(each.events for each in recorded) == sum(sum(each.hours.values()) for each in recorded)


async def is_back(world: World) -> None:
    stored = await world.stored()
    assert {event_id: (e.body, e.hash) for event_id, e in stored.items()} == {
        event_id: (row.body, row.hash) for event_id, row in world.rows.items()
    }
    assert world.index.ids() == sorted(world.rows)
    assert await world.booked() == 0


async def test_past_events_go_and_held_and_young_ones_stay(world: World) -> None:
    going, staying = await filled(world)
    result = await world.done()
    await is_done(world, going, staying)
    assert result == {
        "archived": len(going), "bytes": sum(len(world.rows[each].body) for each in going),
        "files": len(world.files()), "held": 2, "dropped_indices": ["202603"],
    }  # fmt: skip
    assert sorted(world.index.placements) == ["202604", "202605", "202606"]
    # A segment ends with its day, or when it is full.
    assert {each.events for each in await world.recorded()} == {1, 2, 3}
    again = await world.done()
    assert again == {"archived": 0, "bytes": 0, "files": 0, "held": 2, "dropped_indices": []}
    await is_done(world, going, staying)


async def test_what_was_archived_comes_back_and_goes_again(world: World) -> None:
    going, staying = await filled(world)
    await world.done()
    files = world.files()
    result = await world.done(RESTORE)
    assert (result["restored"], result["conflicts"], result["failed"]) == (len(going), 0, 0)
    await is_back(world)
    assert await world.done() == {"archived": 0, "bytes": 0, "files": 0, "held": len(going) + 2, "dropped_indices": []}
    await is_back(world)
    again = await world.done(RESTORE)
    assert again["restored"] == len(going)
    world.now += 8 * DAY
    assert (await world.done())["dropped_indices"] == ["202603"]
    await is_done(world, going, staying)
    assert world.files() == files


async def test_a_part_is_restored_and_the_rest_stays_away(world: World) -> None:
    going, staying = await filled(world)
    await world.done()
    start, end = (world.rows[going[0]].received_at, world.rows[going[2]].received_at)
    assert (await world.done(RESTORE, received_from=start, received_to=end))["restored"] == 2
    assert sorted(await world.stored()) == world.index.ids() == sorted([*staying, *going[:2]])
    assert (await world.done(RESTORE, received_from=0, received_to=1))["restored"] == 0
    world.now += 8 * DAY
    await world.done()
    await is_done(world, going, staying)


async def test_a_released_hold_lets_the_rest_go_and_its_index_with_it(world: World) -> None:
    going, _ = await filled(world)
    await world.done()
    [hold] = await world.holds.standing(world.scope)
    await world.holds.release(world.scope, hold.id, by="a", at=1, reason="r")
    freed = [row.id for row in world.rows.values() if row.placement == "202604" and row.id not in going]
    assert (await world.done())["dropped_indices"] == ["202604"]
    await is_done(world, [*going, *freed], [each for each in world.rows if each not in (*going, *freed)])


async def test_with_a_hold_on_everything_nothing_goes(world: World) -> None:
    await filled(world)
    await world.hold(None)
    assert (await world.done())["held"] is None
    await is_back(world)
    assert world.files() == []


async def test_a_hold_that_is_placed_meanwhile_counts_at_once(world: World) -> None:
    """Between archiving and removing: of a placement that would be dropped whole, and of one that would not."""
    going, staying = await filled(world)
    eve = await world.arrive("2026-03-02T00:30:00Z", "2026-05-02T00:00:00Z", user="eve")
    placed = []
    add = world.segments.add

    async def adding(*arguments: Any) -> None:
        await add(*arguments)
        if not placed:
            placed.append(await world.hold("eve"))

    world.segments.add = adding  # type: ignore[method-assign]
    await world.done()
    assert sorted(await world.stored()) == world.index.ids() == sorted([*staying, *eve])
    assert set(going) <= {event.id for event in await world.archived()}


async def test_a_hold_that_is_placed_while_an_index_is_dropped_counts(world: World) -> None:
    _, staying = await filled(world)
    [eve] = await world.arrive("2026-03-02T00:30:00Z", user="eve")
    drop = world.index.drop_placement

    async def dropping(*arguments: Any) -> None:
        await drop(*arguments)
        if arguments[1] == "202603":
            await world.hold("eve")

    world.index.drop_placement = dropping
    await world.done()
    assert sorted(await world.stored()) == world.index.ids() == sorted([*staying, eve])


async def test_what_comes_while_an_index_is_dropped_is_found(world: World) -> None:
    _, staying = await filled(world)
    drop, late = world.index.drop_placement, []

    async def dropping(*arguments: Any) -> None:
        late.extend(await world.arrive("2026-03-03T00:00:00Z"))
        await drop(*arguments)

    world.index.drop_placement = dropping
    await world.done()
    assert late
    assert sorted(await world.stored()) == world.index.ids() == sorted([*staying, *late])
    world.index.drop_placement = drop
    await world.done()
    assert sorted(await world.stored()) == world.index.ids() == sorted(staying)


async def test_an_event_sent_again_with_the_same_key_is_another(world: World) -> None:
    """Its key was free again once the first was archived; neither removing nor restoring the first touches it."""
    [old] = await world.arrive("2026-03-01T00:00:00Z", key="1")
    await world.done()
    first = world.rows[old]
    assert await world.arrive("2026-06-02T00:00:00Z", key="1") == [old]
    result = await world.done(RESTORE)
    assert (result["restored"], result["conflicts"]) == (0, 1)
    world.now += 8 * DAY
    await world.done()
    assert (await world.stored())[old].body == world.rows[old].body != first.body
    assert world.index.ids() == [old]
    assert world.index.placements["202606"] == {old: world.rows[old].body}


async def a_few(world: World) -> tuple[list[str], list[str]]:
    """As `filled`, of as much as it takes for every kind of step."""
    going = await world.arrive(*(f"2026-03-0{day}T0{n}:00:00Z" for day in (1, 2) for n in range(2)))
    going += await world.arrive("2026-04-07T10:00:00Z", key="7")
    await world.hold("ana")
    staying = await world.arrive("2026-04-07T09:00:00Z", "2026-04-07T11:00:00Z", user="ana")
    return going, staying + await world.arrive("2026-05-10T00:00:00Z")


async def test_an_event_sent_again_stays_in_the_index_of_the_first(world: World) -> None:
    before = NOW - DAY // 2
    [old, *_] = await world.arrive("2026-06-03T00:00:00Z", key="1")
    await world.done(before=before)
    await world.arrive(NOW, key="1")
    await world.done(RESTORE)
    world.now += 8 * DAY
    await world.done(before=before)
    assert list(await world.stored()) == world.index.ids() == [old]


@pytest.mark.parametrize("stride", [pytest.param(8, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [RETENTION, RESTORE])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_killed_at_any_step_and_run_again_it_ends_the_same(
    tmp_path: Path, kind: str, before: bool, stride: int
) -> None:
    results, kills = set(), 0
    if kind == RESTORE:
        stride = -(-stride // 2)
    for kill_at in itertools.count(1 if before else min(stride, 5), stride):
        world = await a_world(tmp_path / str(kill_at))
        going, staying = await a_few(world)
        if kind == RESTORE:
            await world.done()
        world.steps, world.kill_at, world.kill_before = 0, kill_at, before
        await world.ask(kind)
        try:
            result = await world.run(await world.claim(), killed=True)
        except Killed:
            kills += 1
            for event in await world.archived():  # whatever is recorded can be read
                assert event.body == world.rows[event.id].body
            result = await world.run(await world.claim())
        if kind == RETENTION:
            await is_done(world, going, staying)
            assert sorted(world.index.placements) == ["202604", "202605"], kill_at
        else:
            await is_back(world)
        results.add(repr({name: value for name, value in result.items() if name not in ("dropped_indices", "until")}))
        if world.steps < kill_at:
            break
    assert kills >= 4
    assert len(results) == 1, results


async def test_killed_again_and_again_it_ends_the_same(world: World) -> None:
    going, staying = await a_few(world)
    await world.ask()
    for kill_at in itertools.count(9, 7):
        world.steps, world.kill_at, world.kill_before = 0, kill_at, kill_at % 2 == 0
        try:
            await world.run(await world.claim(), killed=True)
        except Killed:
            continue
        break
    assert kill_at > 9
    await is_done(world, going, staying)


async def test_a_file_that_is_not_as_it_was_written_keeps_its_events(world: World) -> None:
    going, _ = await filled(world)
    add = world.segments.add

    async def adding(scope: Any, segment: Any) -> None:
        await add(scope, segment)
        (world.folder / segment.name).write_bytes(b"rot")

    world.segments.add = adding  # type: ignore[method-assign]
    await world.ask()
    with pytest.raises(Conflict, match="not as it was written"):
        await world.run(await world.claim())
    assert set(going) <= set(await world.stored())


async def test_an_event_that_is_not_as_its_hash_says_stays(world: World) -> None:
    [good, bad] = await world.arrive("2026-03-01T00:00:00Z", "2026-03-01T01:00:00Z")
    await world.store._events.update_one({"_id": bad}, {"$set": {"hash": b"h" * 32}})
    assert (await world.done())["held"] == 1
    assert [event.id for event in await world.archived()] == [good]
    assert list(await world.stored()) == world.index.ids() == [bad]


async def test_a_change_of_placement_leaves_no_event_behind(world: World) -> None:
    since = NOW - 90 * DAY
    world.tenant = replace(world.tenant, placements=(Placement(), Placement(since, Period.DAY)))
    going = await world.arrive(*(since + n * DAY // 2 for n in range(-5, 6)))
    result = await world.done()
    await is_done(world, going, [])
    assert result["dropped_indices"] == sorted({world.rows[each].placement for each in going})


async def test_it_waits_for_a_rebuild_and_for_an_older_job(world: World) -> None:
    going, staying = await filled(world)
    first, second = await world.ask(), await world.ask(RESTORE)
    held = await world.claim()
    assert held.job.id == first.id
    later = await world.jobs.claim([RESTORE], 60)
    assert later is not None
    assert later.job.id == second.id
    with pytest.raises(Later, match=first.id):
        await world.run(later)
    await world.ledger.set_rebuilding(world.tenant.id, True)
    with pytest.raises(Later, match="rebuilt"):
        await world.run(held)
    assert set(going) <= set(await world.stored())
    await world.ledger.set_rebuilding(world.tenant.id, False)
    await world.run(await world.claim())
    await is_done(world, going, staying)


async def test_it_waits_for_an_erasure_that_runs_and_not_for_one_that_waits(world: World) -> None:
    going, staying = await filled(world)
    await world.ask(ERASURE, before=0)
    await world.ask()
    erasing = await world.jobs.claim([ERASURE], 10_000)
    assert erasing is not None
    with pytest.raises(Later, match="erases"):
        await world.run(await world.claim())
    assert set(going) <= set(await world.stored())
    await world.jobs.release(erasing, 10_000)
    await world.run(await world.claim())
    await is_done(world, going, staying)


async def test_a_rebuild_that_begins_meanwhile_has_it_removed_again(world: World) -> None:
    """What the rebuild read before it was removed may be indexed after."""
    going, staying = await filled(world)
    remove = world.index.remove
    ghosts: list[str] = []

    async def removing(scope: Any, placement: str, ids: list[str]) -> int:
        count: int = await remove(scope, placement, ids)
        if not ghosts:
            ghosts.extend(ids)
            await world.ledger.set_rebuilding(world.tenant.id, True)
            world.index.placements[placement] |= {each: world.rows[each].body for each in ids}
        return count

    world.index.remove = removing
    await world.ask()
    with pytest.raises(Later):
        await world.run(await world.claim())
    await world.ledger.set_rebuilding(world.tenant.id, False)
    assert set(ghosts) <= set(world.index.ids())
    await world.run(await world.claim())
    await is_done(world, going, staying)


async def test_of_a_tenant_that_is_deleted_nothing_is_moved(world: World) -> None:
    await filled(world)
    world.tenant = replace(world.tenant, status=TenantStatus.DELETING)
    await world.ask()
    with pytest.raises(Forbidden):
        await world.run(await world.claim())
    await is_back(world)


async def test_what_a_failed_job_was_writing_is_removed_with_it(world: World) -> None:
    await a_few(world)
    job = await world.ask()
    keep = world.archive.keep

    async def keeping(name: str, data: bytes) -> None:
        await keep(name, data)
        if len(world.files()) == 2:
            raise Killed

    world.archive.keep = keeping
    with pytest.raises(Killed):
        await world.run(await world.claim())
    recorded = sorted(each.name for each in await world.recorded())
    assert len(world.files()) == len(recorded) + 1
    failed = await world.jobs.get(world.scope, job.id)
    assert failed is not None
    ports: Any = type("P", (), {"segments": world.segments, "files": files_of(world)})()
    for _ in range(2):
        await Retention(ports).clean(failed)
    assert world.files() == recorded


def files_of(world: World) -> Any:
    from core.archiving.files import SegmentFiles

    return SegmentFiles(world.archive, 3)


# The look -----------------------------------------------------------------------------------------------------------


class Tenants:
    def __init__(self, *worlds: World) -> None:
        self.worlds = worlds

    async def tenants(self) -> list[Any]:
        return [world.tenant for world in self.worlds]


def looker(world: World) -> Expiry:
    control: Any = Tenants(world)
    return Expiry(control, world.store, world.segments, world.jobs, keep=3600, clock=lambda: world.now)


async def asked(world: World) -> list[Job]:
    return await world.jobs.listing(world.scope, RETENTION, before=None, limit=99)


async def test_a_look_asks_once_for_what_is_past(world: World) -> None:
    world.tenant = replace(world.tenant, retention_days=30)
    await world.arrive(NOW - 30 * DAY)
    await looker(world).run()
    assert await asked(world) == []  # not past as a whole day
    await world.arrive(NOW - 31 * DAY)
    for _ in range(3):
        await looker(world).run()
    [job] = await asked(world)
    assert job.spec == {"before": (NOW - 30 * DAY) // DAY * DAY}
    claim = await world.claim()
    await world.jobs.fail(claim, "no archive", world.now + DAY)
    await looker(world).run()
    [job] = await asked(world)
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    claim = await world.claim()
    await world.jobs.finish(claim, await world.run(claim), world.now + DAY)
    await looker(world).run()
    assert len(await asked(world)) == 1
    world.now += 2 * DAY
    await looker(world).run()
    assert len(await asked(world)) == 2


async def test_a_look_asks_when_the_time_of_restored_events_has_come(world: World) -> None:
    await filled(world)
    await world.done(before=BEFORE)
    await world.done(RESTORE, until=world.now + DAY)
    world.tenant = replace(world.tenant, retention_days=36_000)
    before = len(await asked(world))
    await looker(world).run()
    assert len(await asked(world)) == before
    world.now += DAY + SECOND
    for _ in range(2):
        await looker(world).run()
    assert len(await asked(world)) == before + 1


async def test_a_look_passes_a_tenant_that_is_deleted(world: World) -> None:
    await world.arrive(NOW - 300 * DAY)
    world.tenant = replace(world.tenant, status=TenantStatus.DELETING)
    await looker(world).run()
    assert await asked(world) == []
