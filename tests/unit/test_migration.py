"""The order of migrations, who may make them and when, on records in memory."""

from __future__ import annotations

import asyncio

import pytest

from core.errors import Conflict, Unavailable
from core.migration import ALIVE, LAYOUT, LEASE, Applied, Migrator, Phase, Process, Step

NOW = 1_800_000_000_000_000


class Records:
    """`MigrationRecords` in memory."""

    def __init__(self) -> None:
        self.made: dict[str, Applied] = {}
        self.lock: tuple[str, int] | None = None
        self.alive: dict[str, tuple[Process, int]] = {}
        self.fresh = False
        self.restoring = False

    async def applied(self) -> dict[str, Applied]:
        return dict(self.made)

    async def is_restoring(self) -> bool:
        return self.restoring

    async def mark(self, step_id: str, applied: Applied) -> None:
        self.made.setdefault(step_id, applied)

    async def take(self, owner: str, now: int, until: int) -> bool:
        if self.lock is not None and self.lock[0] != owner and self.lock[1] >= now:
            return False
        self.lock = (owner, until)
        return True

    async def release(self, owner: str) -> None:
        if self.lock is not None and self.lock[0] == owner:
            self.lock = None

    async def announce(self, process: Process, at: int) -> None:
        self.alive[process.id] = (process, at)

    async def processes(self, since: int) -> list[Process]:
        return [process for process, at in self.alive.values() if at >= since]

    async def is_fresh(self) -> bool:
        return self.fresh


class World:
    """Two expanding steps, one that the thing itself tells of, one contracting step; what ran, in order."""

    def __init__(self) -> None:
        self.records = Records()
        self.ran: list[str] = []
        self.now = NOW
        self.there = False
        self.fails: str | None = None

    def step(self, name: str, phase: Phase = Phase.EXPAND, layout: int = 1) -> Step:
        async def run() -> None:
            await asyncio.sleep(0)
            if self.fails == name:
                raise Unavailable("store")
            self.ran.append(name)

        return Step(name, phase, name, run, layout=layout)

    def migrator(self, owner: str = "me") -> Migrator:
        async def put() -> None:
            self.ran.append("thing")
            self.there = True

        async def is_there() -> bool:
            return self.there

        steps = [
            self.step("a"),
            self.step("b"),
            Step("thing", Phase.EXPAND, "thing", put, is_there),
            self.step("drop", Phase.CONTRACT, LAYOUT),
        ]
        return Migrator(self.records, steps, owner, lambda: self.now)


async def test_expanding_makes_each_step_once_and_takes_nothing_away() -> None:
    world = World()
    assert not await world.migrator().is_ready()
    assert [step.id for step in await world.migrator().expand()] == ["a", "b", "thing"]
    assert await world.migrator().is_ready()
    assert await world.migrator().expand() == []
    assert world.ran == ["a", "b", "thing"]
    assert [(s.step.id, s.is_done) for s in await world.migrator().status()] == [
        ("a", True), ("b", True), ("thing", True), ("drop", False),
    ]  # fmt: skip
    world.there = False  # the thing is lost, whatever was recorded
    assert [step.id for step in await world.migrator().expand()] == ["thing"]


async def test_a_migration_that_breaks_off_goes_on_where_it_was_and_keeps_nobody_out() -> None:
    world = World()
    world.fails = "b"
    with pytest.raises(Unavailable):
        await world.migrator().expand()
    assert world.records.lock is None
    world.fails = None
    assert [step.id for step in await world.migrator("other").expand()] == ["b", "thing"]
    assert world.ran == ["a", "b", "thing"]


async def test_only_one_migrates_and_a_killed_one_keeps_others_waiting_for_its_lease_alone() -> None:
    world = World()
    assert await world.records.take("killed", world.now, world.now + LEASE)
    with pytest.raises(Unavailable, match="another process is migrating"):
        await world.migrator().expand()
    assert world.ran == []
    world.now += LEASE + 1
    assert len(await world.migrator().expand()) == 3


async def test_of_two_at_once_one_makes_the_steps() -> None:
    world = World()
    ends = await asyncio.gather(*(world.migrator(o).expand() for o in ("one", "two")), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Unavailable", "list"]
    assert world.ran == ["a", "b", "thing"]


async def test_contracting_waits_until_no_older_process_is_alive() -> None:
    world = World()
    with pytest.raises(Conflict, match="not every expanding step"):
        await world.migrator().contract()
    await world.migrator().expand()
    await world.records.announce(Process("old", LAYOUT - 1), world.now)
    await world.records.announce(Process("new", LAYOUT), world.now)
    with pytest.raises(Conflict, match="an older process is"):
        await world.migrator().contract()
    await world.records.announce(Process("older", 1), world.now)
    with pytest.raises(Conflict, match="2 processes of an older version are"):
        await world.migrator().contract()
    assert "drop" not in world.ran
    world.now += ALIVE + 1
    assert [step.id for step in await world.migrator().contract()] == ["drop"]
    assert await world.migrator().contract() == []


async def test_a_fresh_store_has_nothing_to_contract() -> None:
    world = World()
    world.records.fresh = True
    await world.migrator().expand()
    assert all(state.is_done for state in await world.migrator().status())
    assert "drop" not in world.ran


async def test_a_version_that_was_migrated_past_says_so() -> None:
    world = World()
    await world.migrator().expand()
    await world.records.mark("of-a-later-version", Applied(NOW, LAYOUT + 1))
    with pytest.raises(Conflict, match="past this version"):
        await world.migrator().is_ready()


async def test_a_later_versions_expanding_steps_do_not_disturb_this_one() -> None:
    world = World()
    await world.migrator().expand()
    await world.records.mark("of-a-later-version", Applied(NOW, 1))
    assert await world.migrator().is_ready()
    assert await world.migrator().expand() == []


async def test_nothing_starts_on_a_store_that_is_being_restored() -> None:
    world = World()
    await world.migrator().expand()
    world.records.restoring = True
    with pytest.raises(Unavailable, match="being restored"):
        await world.migrator().is_ready()
    assert await world.migrator().expand() == []  # what a restore ends with
