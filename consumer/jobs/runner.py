"""Running jobs: taken up under a lease, kept alive by a heartbeat, gone on with by the next runner after a crash."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from core import instant, telemetry
from core.errors import OcelotError, Unavailable
from core.jobs import Claim, Job, Jobs, Json, Progress
from core.tenant import TenantScope, for_system

log = logging.getLogger(__name__)
LEASE_SECONDS: Final = 60.0
MAX_ATTEMPTS: Final = 30
"""With `_delay` half an hour of a dependency that is down, or thirty runners killed by one job."""
_SWEEP: Final = 100
_BEATS: Final = 4
"""Heartbeats a lease: three may fail before it lapses."""


class LeaseLost(Exception):
    """The job is another runner's by now, or cancelled: stop, and leave everything as it is."""


class Later(Exception):
    """Raised by a handler whose turn has not come: the job waits, and that counts as no attempt."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds


class Work:
    """What a handler is given: the job as it was claimed, its tenant's scope, and where to save how far it is."""

    def __init__(self, jobs: Jobs, claim: Claim, lease: float) -> None:
        self.job = claim.job
        self.scope: TenantScope = for_system(claim.job.tenant_id, f"job:{claim.job.kind}")
        self._jobs = jobs
        self._claim = claim
        self._lease = lease

    async def save(self, progress: Progress) -> None:
        """Durable on return: a runner that takes the job up again is given it. Raises `LeaseLost`.

        One small write to the store: call it every second or few, not for each event.
        """
        if not await self._jobs.beat(self._claim, self._lease, progress):
            raise LeaseLost


class Ended(Protocol):
    """Told of each job that is done or has failed, after it is written down; it raises nothing for itself."""

    async def __call__(self, job: Job, result: Json | None, error: str | None) -> None: ...


class Handler(Protocol):
    """What a kind of job does."""

    async def run(self, work: Work) -> Json:
        """Work from `work.job.progress.checkpoint` on; the result. Cancelled when the lease is lost or on shutdown.

        `Later` and `Unavailable` mean later again, the second counted as an attempt; any other `OcelotError` fails the
        job, its message shown to the tenant.
        """

    async def clean(self, job: Job) -> None:
        """Remove what an ended job made or left half made. May be called again."""


class JobRunner:
    """Claims jobs of the kinds in `handlers` and runs up to `at_once` of them, each in a task of its own.

    `keep` is for how many seconds an ended job is kept. Call `poll` every second or two, `sweep` every minute.
    """

    def __init__(
        self,
        jobs: Jobs,
        handlers: Mapping[str, Handler],
        *,
        keep: float,
        at_once: int = 2,
        lease: float = LEASE_SECONDS,
        clock: Callable[[], int] = instant.now_us,
        ended: Ended | None = None,
    ) -> None:
        self._jobs = jobs
        self._ended = ended
        self._handlers = handlers
        self._keep = int(keep * 1_000_000)
        self._at_once = at_once
        self._lease = lease
        self._clock = clock
        self._running: set[asyncio.Task[None]] = set()

    async def poll(self) -> None:
        """Take up what waits, as far as there is room."""
        while self._handlers and len(self._running) < self._at_once:
            claim = await self._jobs.claim(self._handlers, self._lease)
            if claim is None:
                return
            task = asyncio.create_task(self._guarded(claim))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def sweep(self) -> None:
        """Remove what has expired, the job last: until then the next sweep tries again."""
        for job in await self._jobs.expired(self._clock(), _SWEEP):
            if handler := self._handlers.get(job.kind):
                await handler.clean(job)
                await self._jobs.remove(job)

    async def stop(self) -> None:
        """Give back what is under way; another runner, or this one's successor, goes on from the saved progress."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _guarded(self, claim: Claim) -> None:
        try:
            await self._run(claim)
        except Unavailable as error:
            # Neither its end nor its delay could be written down: the lease lapses, and it is taken up again.
            log.warning("job %s: %s", claim.job.id, error.message)

    async def _run(self, claim: Claim) -> None:
        job = claim.job
        log.info("job %s (%s) of tenant %s: attempt %d", job.id, job.kind, job.tenant_id, job.attempts)
        try:
            if job.attempts > MAX_ATTEMPTS:
                await self._fail(claim, f"given up after {MAX_ATTEMPTS} attempts")
                return
            result = await self._while_leased(claim)
            if await self._jobs.finish(claim, result, self._clock() + self._keep):
                telemetry.JOBS.labels(job.kind, "done").inc()
                if self._ended is not None:
                    await self._ended(job, result, None)
        except asyncio.CancelledError:
            await self._jobs.release(claim, 0, counted=False)
            raise
        except LeaseLost:
            log.info("job %s is cancelled, or another runner's", job.id)
            telemetry.JOBS.labels(job.kind, "lost").inc()
        except Later as wait:
            log.info("job %s waits: %s", job.id, wait)
            await self._jobs.release(claim, wait.seconds, counted=False)
        except Unavailable as error:
            telemetry.ERRORS.labels(error.dependency).inc()
            await self._later(claim, error)
        except OcelotError as error:
            await self._fail(claim, error.message)
        except Exception:
            log.exception("job %s failed", job.id)
            await self._fail(claim, "something that nobody foresaw; the service's log tells more")

    async def _while_leased(self, claim: Claim) -> Json:
        """The handler's result; the handler is cancelled when the lease is lost, as by a store that stays away."""
        handler = asyncio.create_task(self._handlers[claim.job.kind].run(Work(self._jobs, claim, self._lease)))
        beating = asyncio.create_task(self._beat(claim))
        try:
            await asyncio.wait({handler, beating}, return_when=asyncio.FIRST_COMPLETED)
            if not handler.done():
                raise LeaseLost
            return handler.result()
        finally:
            for task in (handler, beating):
                task.cancel()
            await asyncio.gather(handler, beating, return_exceptions=True)

    async def _beat(self, claim: Claim) -> None:
        """Ends when the lease is lost, or may be."""
        loop = asyncio.get_running_loop()
        held_until = loop.time() + self._lease
        while (left := held_until - loop.time()) > 0:
            await asyncio.sleep(min(left, self._lease / _BEATS))
            asked = loop.time()
            try:
                if not await self._jobs.beat(claim, self._lease):
                    return
                held_until = asked + self._lease
            except Unavailable as error:
                log.warning("job %s: no heartbeat: %s", claim.job.id, error.message)

    async def _later(self, claim: Claim, error: Unavailable) -> None:
        if claim.job.attempts >= MAX_ATTEMPTS:
            await self._fail(claim, f"{error.public} ({claim.job.attempts} attempts)")
            return
        log.warning("job %s waits: %s", claim.job.id, error.message)
        await self._jobs.release(claim, min(60.0, 2.0**claim.job.attempts))

    async def _fail(self, claim: Claim, error: str) -> None:
        telemetry.JOBS.labels(claim.job.kind, "failed").inc()
        if await self._jobs.fail(claim, error, self._clock() + self._keep) and self._ended is not None:
            await self._ended(claim.job, None, error)
