"""Which disappearance of an index is a loss, and what is done about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consumer.jobs.watch import IndexWatch
from core.errors import Overloaded
from core.jobs import RETENTION, Job, JobState
from core.placement import span_of
from core.ports import Generation
from core.tenant import Tenant, TenantScope, TenantStatus

NOW = span_of("202611")[0] + 86_400_000_000 * 20


class World:
    """Every port that the watch has: what is there is set, what was done is kept."""

    def __init__(self) -> None:
        self.all = [Tenant("aaaaaaaa", "A", b"s" * 32, span_of("202610")[0] + 5)]
        self.live: dict[str, tuple[int, str]] = {"202610": (1, "x"), "202611": (1, "y")}
        self.stored = {"202610": 5, "202611": 5}
        self.jobs: list[Job] = []
        self.marked: list[bool] = []
        self.busy = False
        self.retention: list[Job] = []

    async def tenants(self) -> list[Tenant]:
        return self.all

    async def generations(self, scope: TenantScope) -> list[Generation]:
        return [Generation(p, number, True, identity=identity) for p, (number, identity) in self.live.items()]

    async def count(self, scope: TenantScope, *, start: int, end: int) -> int:
        return sum(count for p, count in self.stored.items() if span_of(p) == (start, end))

    async def set_rebuilding(self, tenant_id: str, running: bool) -> None:
        self.marked.append(running)

    async def listing(self, scope: TenantScope, kind: str, *, before: str | None, limit: int) -> list[Job]:
        return [job for job in self.retention if (job.tenant_id, job.kind) == (scope.tenant_id, kind)]

    async def create(self, job: Job, *, max_active: int) -> None:
        if self.busy:
            raise Overloaded("one is under way")
        self.jobs.append(job)


def watch(world: Any) -> IndexWatch:
    return IndexWatch(world, world, world, world, world, keep=60, clock=lambda: NOW)


def retention(*, before: int) -> Job:
    spec = {"before": before}
    return Job("j", "aaaaaaaa", RETENTION, spec, "system:retention", created_at=NOW, updated_at=NOW, expires_at=NOW)


async def looks(world: World, watch: IndexWatch, times: int = 1) -> None:
    for _ in range(times):
        await watch.run()


@pytest.fixture
def world() -> World:
    return World()


async def test_what_stays_is_left_alone(world: World) -> None:
    await looks(world, watch(world), 3)
    assert (world.jobs, world.marked) == ([], [])


@pytest.mark.parametrize("now", [None, (1, "another")])
async def test_one_that_is_gone_or_was_made_anew_is_rebuilt_once(world: World, now: tuple[int, str] | None) -> None:
    watching = watch(world)
    await looks(world, watching)
    del world.live["202610"]
    if now is not None:
        world.live["202610"] = now
    await looks(world, watching, 3)
    [job] = world.jobs
    start, end = span_of("202610")
    assert (job.tenant_id, job.kind, job.spec) == ("aaaaaaaa", "reindex", {"received_from": start, "received_to": end})
    assert world.marked == [True]


async def test_what_ocelot_itself_replaces_or_removes_is_no_loss(world: World) -> None:
    watching = watch(world)
    await looks(world, watching)
    world.live["202610"] = (2, "z")  # a rebuild
    del world.live["202611"], world.stored["202611"]  # retention
    await looks(world, watching, 3)
    assert world.jobs == []


@pytest.mark.parametrize("all_went", [True, False])
async def test_what_retention_is_taking_out_is_no_loss_until_it_ends(world: World, all_went: bool) -> None:
    """It drops the index of a month first, and then takes the month's events out of the store."""
    watching = watch(world)
    await looks(world, watching)
    del world.live["202610"]
    waiting = retention(before=span_of("202610")[1])
    for state in (JobState.QUEUED, JobState.RUNNING):
        world.retention = [replace(waiting, state=state)]
        await looks(world, watching, 2)
    assert (world.jobs, world.marked) == ([], [])
    world.retention = [replace(waiting, state=JobState.DONE if all_went else JobState.FAILED)]
    if all_went:
        del world.stored["202610"]
    await looks(world, watching, 3)
    assert len(world.jobs) == (0 if all_went else 1)


@pytest.mark.parametrize("before", [span_of("202610")[0], span_of("202610")[1] - 1])
async def test_what_retention_cannot_have_dropped_is_lost_however_long_that_takes(world: World, before: int) -> None:
    watching = watch(world)
    await looks(world, watching)
    del world.live["202610"]
    world.retention = [retention(before=before)]
    await looks(world, watching, 2)
    assert len(world.jobs) == 1


@pytest.mark.parametrize("first", [True, False], ids=["missing at first", "seen before"])
async def test_a_loss_beside_what_retention_takes_out_is_told_and_that_is_not_forgotten(
    world: World, first: bool
) -> None:
    watching = watch(world)
    if not first:
        await looks(world, watching)
    del world.live["202610"]
    if first:
        await looks(world, watching)
    world.retention = [retention(before=span_of("202610")[1])]
    world.live["202611"] = (1, "y" if first else "another")
    await looks(world, watching, 2)
    assert [job.spec["received_from"] for job in world.jobs] == ([] if first else [span_of("202611")[0]])
    world.retention = []  # it was cancelled
    await looks(world, watching, 2)
    assert [job.spec["received_from"] for job in world.jobs][-1:] == [span_of("202610")[0]]
    assert len(world.jobs) == (1 if first else 2)


async def test_one_that_is_lost_while_a_job_runs_is_asked_for_again(world: World) -> None:
    watching = watch(world)
    await looks(world, watching)
    del world.live["202610"]
    world.busy = True
    await looks(world, watching, 2)
    assert world.jobs == []
    world.busy = False
    await looks(world, watching, 2)
    assert len(world.jobs) == 1


async def test_what_was_deleted_before_the_first_look_is_told_by_the_second(world: World) -> None:
    del world.live["202610"]
    watching = watch(world)
    await looks(world, watching)
    assert world.jobs == []  # the first event of a month may just be on its way
    await looks(world, watching)
    assert len(world.jobs) == 1


async def test_what_comes_between_the_first_two_looks_is_no_loss(world: World) -> None:
    late = world.live.pop("202611")
    watching = watch(world)
    await looks(world, watching)
    world.live["202611"] = late
    await looks(world, watching, 2)
    assert world.jobs == []


async def test_a_tenant_that_is_being_deleted_is_not_looked_at(world: World) -> None:
    watching = watch(world)
    await looks(world, watching)
    tenant = world.all[0]
    world.all = [Tenant(tenant.id, "A", tenant.secret, tenant.created_at, TenantStatus.DELETING)]
    world.live.clear()
    await looks(world, watching, 3)
    assert world.jobs == []
