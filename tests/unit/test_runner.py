"""The runner of jobs: what a handler's end, its errors, a lost lease and a crash make of a job."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from mongomock_motor import AsyncMongoMockClient

from consumer.jobs.runner import MAX_ATTEMPTS, Ended, JobRunner, Work
from core import instant
from core.adapters.store.jobs import MongoJobs
from core.errors import Invalid, Unavailable
from core.ids import uuid7s
from core.jobs import Claim, Job, JobState, Json, Progress
from core.tenant import for_system

TENANT = "aaaaaaaa"
SCOPE = for_system(TENANT, "test")
LEASE = 0.4


@dataclass
class Doing:
    """A handler that does `act`, and remembers what it was given."""

    act: Callable[[Work], Awaitable[Json]]
    given: list[Job] = field(default_factory=list)
    cancelled: int = 0
    cleaned: list[str] = field(default_factory=list)

    async def run(self, work: Work) -> Json:
        self.given.append(work.job)
        try:
            return await self.act(work)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def clean(self, job: Job) -> None:
        self.cleaned.append(job.id)


async def hang(work: Work) -> Json:
    await asyncio.sleep(3600)
    return {}


class Flaky(MongoJobs):
    """The store goes away for beats while `down`."""

    down = False

    async def beat(self, claim: Claim, lease: float, progress: Progress | None = None) -> bool:
        if self.down:
            raise Unavailable("store")
        return await super().beat(claim, lease, progress)


@pytest.fixture
def jobs() -> Flaky:
    return Flaky(AsyncMongoMockClient()["test"])


async def a_job(jobs: MongoJobs, **changes: int) -> str:
    now = instant.now_us()
    job_id = uuid7s(now, 1)[0]
    job = Job(job_id, TENANT, "export", {}, "ana", now, now, now + 10**12, **changes)  # type: ignore[arg-type]
    await jobs.create(job, max_active=9)
    await asyncio.sleep(0.001)
    return job_id


def runner(jobs: MongoJobs, handler: Doing, at_once: int = 2, ended: Ended | None = None) -> JobRunner:
    return JobRunner(jobs, {"export": handler}, keep=60, at_once=at_once, lease=LEASE, ended=ended)


async def until(jobs: MongoJobs, job_id: str, *states: JobState) -> Job:
    while True:
        job = await jobs.get(SCOPE, job_id)
        assert job is not None
        if job.state in states:
            return job
        await asyncio.sleep(0.005)


async def test_a_handlers_result_ends_the_job(jobs: Flaky) -> None:
    async def act(work: Work) -> Json:
        await work.save(Progress(1, 2, {"at": 1}))
        return {"tenant": work.scope.tenant_id}

    job_id = await a_job(jobs)
    await runner(jobs, Doing(act)).poll()
    job = await until(jobs, job_id, JobState.DONE)
    assert (job.result, job.progress.done, job.attempts) == ({"tenant": TENANT}, 1, 1)
    assert job.expires_at < instant.now_us() + 61_000_000


async def test_each_end_is_told_once_it_is_written_down_and_no_other(jobs: Flaky) -> None:
    told: list[tuple[str, Json | None, str | None]] = []
    acts: list[Callable[[Work], Awaitable[Json]]] = []

    async def ended(job: Job, result: Json | None, error: str | None) -> None:
        found = await jobs.get(SCOPE, job.id)
        assert found is not None
        assert not found.state.active
        told.append((job.id, result, error))

    async def done(work: Work) -> Json:
        return {"events": 3}

    async def fails(work: Work) -> Json:
        raise Invalid("no such bucket")

    async def cancelled(work: Work) -> Json:
        await jobs.cancel(SCOPE, work.job.id, instant.now_us())
        await work.save(Progress(1))
        raise AssertionError("the lease is lost")

    async def act(work: Work) -> Json:
        return await acts.pop(0)(work)

    acts += [done, fails, cancelled]
    ends: list[tuple[JobState, list[tuple[Json | None, str | None]]]] = [
        (JobState.DONE, [({"events": 3}, None)]),
        (JobState.FAILED, [(None, "no such bucket")]),
        (JobState.CANCELLED, []),
    ]
    for state, says in ends:
        job_id = await a_job(jobs)
        running = runner(jobs, Doing(act), ended=ended)
        await running.poll()
        await asyncio.gather(*running._running)
        await until(jobs, job_id, state)
        assert [(result, error) for told_of, result, error in told if told_of == job_id] == says


@pytest.mark.parametrize(
    ("error", "says"),
    [(Invalid("no such bucket"), "no such bucket"), (RuntimeError("host db1:27017"), "nobody foresaw")],
)
async def test_an_error_fails_the_job_and_says_only_what_is_safe(jobs: Flaky, error: Exception, says: str) -> None:
    async def act(work: Work) -> Json:
        raise error

    job_id = await a_job(jobs)
    await runner(jobs, Doing(act)).poll()
    job = await until(jobs, job_id, JobState.FAILED)
    assert job.error is not None
    assert says in job.error
    assert "db1" not in job.error


async def test_a_dependency_that_is_down_is_waited_for_and_not_for_ever(jobs: Flaky) -> None:
    async def act(work: Work) -> Json:
        raise Unavailable("archive", "connect to 10.1.2.3 failed")

    handler = Doing(act)
    waiting, last = await a_job(jobs), await a_job(jobs, attempts=MAX_ATTEMPTS - 1)
    await runner(jobs, handler).poll()
    assert (await until(jobs, waiting, JobState.QUEUED)).error is None
    failed = await until(jobs, last, JobState.FAILED)
    assert failed.error is not None
    assert failed.error.startswith("the archive is unavailable")
    assert "10.1" not in failed.error
    assert await jobs.claim(["export"], 1) is None, "it is tried again at once"


async def test_a_job_that_ends_its_runners_is_given_up(jobs: Flaky) -> None:
    handler = Doing(hang)
    job_id = await a_job(jobs, attempts=MAX_ATTEMPTS)
    await runner(jobs, handler).poll()
    await until(jobs, job_id, JobState.FAILED)
    assert handler.given == []


async def test_heartbeats_hold_a_long_job(jobs: Flaky) -> None:
    async def act(work: Work) -> Json:
        await asyncio.sleep(3 * LEASE)
        return {}

    job_id = await a_job(jobs)
    handler = Doing(act)
    both = runner(jobs, handler), runner(jobs, handler)
    while (job := await jobs.get(SCOPE, job_id)) and job.state.active:
        for each in both:
            await each.poll()
        await asyncio.sleep(0.02)
    assert len(handler.given) == 1


async def test_a_store_that_stays_away_stops_the_handler_before_another_takes_the_job(jobs: Flaky) -> None:
    handler = Doing(hang)
    job_id = await a_job(jobs)
    await runner(jobs, handler).poll()
    await until(jobs, job_id, JobState.RUNNING)
    jobs.down = True
    while await jobs.claim(["export"], 60) is None:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert handler.cancelled == 1


async def test_a_cancelled_job_stops_its_handler(jobs: Flaky) -> None:
    handler = Doing(hang)
    job_id = await a_job(jobs)
    await runner(jobs, handler).poll()
    await until(jobs, job_id, JobState.RUNNING)
    while not handler.given:
        await asyncio.sleep(0.005)
    await jobs.cancel(SCOPE, job_id, 0)
    while not handler.cancelled:
        await asyncio.sleep(0.01)
    assert (await until(jobs, job_id, JobState.CANCELLED)).attempts == 1


async def test_what_stops_gives_its_jobs_back_and_the_next_goes_on(jobs: Flaky) -> None:
    async def act(work: Work) -> Json:
        await work.save(Progress(7, None, {"at": 7}))
        return await hang(work)

    job_id = await a_job(jobs)
    first, handler = Doing(act), Doing(hang)
    stopping = runner(jobs, first)
    await stopping.poll()
    while (job := await jobs.get(SCOPE, job_id)) and not job.progress.done:
        await asyncio.sleep(0.005)
    await stopping.stop()
    assert (await until(jobs, job_id, JobState.QUEUED)).attempts == 0
    await asyncio.sleep(0.001)
    following = runner(jobs, handler)
    await following.poll()
    while not handler.given:
        await asyncio.sleep(0.005)
    assert handler.given[0].progress == Progress(7, None, {"at": 7})
    await following.stop()


async def test_no_more_run_than_may(jobs: Flaky) -> None:
    for _ in range(3):
        await a_job(jobs)
    handler = Doing(hang)
    running = runner(jobs, handler, at_once=2)
    for _ in range(3):
        await running.poll()
        await asyncio.sleep(0.01)
    assert len(handler.given) == 2
    await running.stop()


async def test_the_sweep_cleans_and_then_forgets(jobs: Flaky) -> None:
    gone, kept = await a_job(jobs), await a_job(jobs)
    await jobs.cancel(SCOPE, gone, instant.now_us())
    handler = Doing(hang)
    await runner(jobs, handler).sweep()
    assert handler.cleaned == [gone]
    assert await jobs.get(SCOPE, gone) is None
    assert await jobs.get(SCOPE, kept) is not None
