"""`Jobs` on every backend."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from core.adapters.store.client import Database
from core.adapters.store.jobs import MongoJobs
from core.errors import Conflict, Overloaded
from core.ids import uuid7s
from core.jobs import Claim, Job, JobState, Progress
from core.tenant import TenantScope
from tests.contracts.stores import START, a_scope

SECOND = 1_000_000
ODD: dict[str, Any] = {"$set": {"a.b": None}, "n": 1 << 70, "": [1.5, "é\u0000"]}


class Clock:
    def __init__(self) -> None:
        self.us = START

    def __call__(self) -> int:
        return self.us

    def forward(self, seconds: float) -> None:
        self.us += int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(database: Database, clock: Clock) -> MongoJobs:
    return MongoJobs(database, clock)


def a_job(scope: TenantScope, at: int, kind: str = "export", **changes: Any) -> Job:
    job = Job(uuid7s(at, 1)[0], scope.tenant_id, kind, {"format": "csv"}, "key:ana", at, at, at + 100 * SECOND)
    return replace(job, **changes)


async def added(jobs: MongoJobs, clock: Clock, scope: TenantScope, **changes: Any) -> Job:
    job = a_job(scope, clock(), **changes)
    await jobs.create(job, max_active=10)
    clock.forward(0.01)
    return job


async def claimed(jobs: MongoJobs, kinds: tuple[str, ...] = ("export",), lease: float = 60) -> Claim:
    claim = await jobs.claim(kinds, lease)
    assert claim is not None
    return claim


async def test_a_job_is_read_as_it_was_made_and_by_its_own_tenant_alone(jobs: MongoJobs, clock: Clock) -> None:
    mine, theirs = a_scope(), a_scope()
    job = await added(jobs, clock, mine, spec=ODD, progress=Progress(3, 1 << 40, ODD), result=ODD)
    assert await jobs.get(mine, job.id) == job
    assert await jobs.get(theirs, job.id) is None
    assert await jobs.cancel(theirs, job.id, 5) is None
    assert await jobs.retry(theirs, job.id, 5) is None
    assert await jobs.get(mine, job.id) == job
    assert await jobs.listing(theirs, "export", before=None, limit=5) == []


async def test_the_list_is_newest_first_in_pages_and_of_one_kind(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    made = [await added(jobs, clock, scope) for _ in range(7)]
    await added(jobs, clock, scope, kind="rebuild")
    found: list[Job] = []
    while page := await jobs.listing(scope, "export", before=found[-1].id if found else None, limit=3):
        found += page
    assert found == made[::-1]


async def test_the_bound_counts_active_jobs_of_one_tenant_and_kind(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    for _ in range(2):
        await added(jobs, clock, scope)
    await claimed(jobs)
    with pytest.raises(Overloaded):
        await jobs.create(a_job(scope, clock()), max_active=2)
    await jobs.create(a_job(scope, clock(), kind="rebuild"), max_active=2)
    await jobs.create(a_job(a_scope(), clock()), max_active=2)
    assert await jobs.finish(await claimed(jobs), {}, 1)
    await jobs.create(a_job(scope, clock()), max_active=2)


async def test_claims_go_oldest_first_and_each_job_to_one(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    made = [await added(jobs, clock, scope) for _ in range(6)]
    first = await claimed(jobs)
    assert first.job == replace(made[0], state=JobState.RUNNING, attempts=1, updated_at=clock())
    others = await asyncio.gather(*(jobs.claim(("export",), 60) for _ in range(20)))
    taken = [claim.job.id for claim in others if claim is not None]
    assert len(taken) == len(set(taken))
    while (more := await jobs.claim(("export",), 60)) is not None:
        taken.append(more.job.id)
    assert sorted(taken) == [job.id for job in made[1:]]
    assert await jobs.claim(("rebuild",), 60) is None


async def test_what_was_kept_as_ended_is_not_claimed(jobs: MongoJobs, clock: Clock) -> None:
    for state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED):
        await added(jobs, clock, a_scope(), state=state)
    assert await jobs.claim(("export",), 60) is None


async def test_a_lapsed_lease_gives_the_job_with_its_progress_to_the_next(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    job = await added(jobs, clock, scope)
    lost = await claimed(jobs, lease=60)
    clock.forward(50)
    assert await jobs.beat(lost, 60, Progress(5, 9, ODD))
    clock.forward(50)
    assert await jobs.claim(("export",), 60) is None
    clock.forward(11)
    held = await claimed(jobs)
    assert (held.job.id, held.job.attempts, held.job.progress) == (job.id, 2, Progress(5, 9, ODD))
    assert not await jobs.beat(lost, 60, Progress(0))
    assert not await jobs.finish(lost, {"of": "the loser"}, 1)
    assert not await jobs.fail(lost, "of the loser", 1)
    assert not await jobs.release(lost, 0)
    assert await jobs.get(scope, job.id) == held.job
    assert await jobs.beat(held, 60)
    assert (await jobs.get(scope, job.id) or job).progress == Progress(5, 9, ODD)


async def test_a_finished_job_is_over(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    job = await added(jobs, clock, scope)
    claim = await claimed(jobs)
    assert await jobs.finish(claim, ODD, 77)
    found = await jobs.get(scope, job.id)
    assert found == replace(claim.job, state=JobState.DONE, result=ODD, expires_at=77)
    assert not await jobs.beat(claim, 60)
    clock.forward(1000)
    assert await jobs.claim(("export",), 60) is None
    with pytest.raises(Conflict):
        await jobs.retry(scope, job.id, 5)
    assert await jobs.cancel(scope, job.id, 3) == replace(found, expires_at=3)


async def test_a_failed_job_says_why_and_runs_again_from_its_progress(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    job = await added(jobs, clock, scope)
    claim = await claimed(jobs)
    await jobs.beat(claim, 60, Progress(4, None, {"at": 4}))
    assert await jobs.fail(claim, "the disk is full", 88)
    failed = await jobs.get(scope, job.id)
    assert failed is not None
    assert (failed.state, failed.error, failed.expires_at) == (JobState.FAILED, "the disk is full", 88)
    assert await jobs.claim(("export",), 60) is None
    again = await jobs.retry(scope, job.id, 99)
    assert again == replace(failed, state=JobState.QUEUED, error=None, attempts=0, expires_at=99, updated_at=clock())
    clock.forward(0.01)
    assert (await claimed(jobs)).job.progress == Progress(4, None, {"at": 4})
    with pytest.raises(Conflict):
        await jobs.retry(scope, job.id, 5)


async def test_a_released_job_waits_and_counts_or_not(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    await added(jobs, clock, scope)
    assert await jobs.release(await claimed(jobs), 30)
    clock.forward(29)
    assert await jobs.claim(("export",), 60) is None
    clock.forward(2)
    claim = await claimed(jobs)
    assert claim.job.attempts == 2
    assert await jobs.release(claim, 0, counted=False)
    clock.forward(0.01)
    assert (await claimed(jobs)).job.attempts == 2


async def test_a_cancelled_job_is_neither_claimed_nor_kept_alive(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    waiting, running = await added(jobs, clock, scope), await added(jobs, clock, scope)
    await jobs.cancel(scope, waiting.id, 5)
    claim = await claimed(jobs)
    assert claim.job.id == running.id
    cancelled = await jobs.cancel(scope, running.id, 5)
    assert cancelled == replace(claim.job, state=JobState.CANCELLED, expires_at=5, updated_at=clock())
    assert not await jobs.beat(claim, 60, Progress(9))
    assert not await jobs.finish(claim, {}, 1)
    clock.forward(1000)
    assert await jobs.claim(("export",), 60) is None
    with pytest.raises(Conflict):
        await jobs.retry(scope, running.id, 5)


async def test_what_has_ended_and_expired_is_listed_and_removed(jobs: MongoJobs, clock: Clock) -> None:
    scope = a_scope()
    done, waiting = await added(jobs, clock, scope), await added(jobs, clock, scope, expires_at=1)
    await jobs.finish(await claimed(jobs), {}, 50)
    assert await jobs.expired(49, 10) == []
    assert [job.id for job in await jobs.expired(50, 10)] == [done.id]
    for job in (done, done, waiting):
        await jobs.remove(job)
    assert await jobs.get(scope, done.id) is None
    assert await jobs.get(scope, waiting.id) is not None
