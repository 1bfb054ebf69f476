"""Jobs: work that outlives a request, kept so that it survives whoever does it.

Times are microseconds of the wall clock; leases and delays are seconds. Processes' clocks should agree within a second
or two: a lease is a minute.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from core.access import Permission
from core.tenant import TenantScope

EXPORT: Final = "export"
REINDEX: Final = "reindex"
TENANT_DELETION: Final = "tenant_deletion"
ERASURE: Final = "erasure"
RECONCILE: Final = "reconcile"
RETENTION: Final = "retention"
RESTORE: Final = "restore"
NEEDS: Final[dict[str, Permission]] = {
    EXPORT: Permission.READ,
    REINDEX: Permission.MANAGE,
    RECONCILE: Permission.MANAGE,
    RETENTION: Permission.MANAGE,
    RESTORE: Permission.MANAGE,
    TENANT_DELETION: Permission.PLATFORM,
    ERASURE: Permission.MANAGE,
}
"""Each kind of job, and what a caller must hold to start one, run it again or cancel it."""

Json = dict[str, Any]


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        return self in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. `total` is None while nobody knows; `checkpoint` is where its handler goes on from."""

    done: int = 0
    total: int | None = None
    checkpoint: Json | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One job as it stands. `spec`, `checkpoint` and `result` are JSON objects whose meaning is the handler's."""

    id: str
    tenant_id: str
    kind: str
    spec: Json
    asked_by: str
    created_at: int
    updated_at: int
    expires_at: int
    """When the job and what it made are removed; until it has ended it stays whatever this says."""
    state: JobState = JobState.QUEUED
    progress: Progress = field(default_factory=Progress)
    result: Json | None = None
    error: str | None = None
    """Why it failed, fit for its tenant's eyes."""
    attempts: int = 0
    """How often a runner took it up, since it was asked for or asked to run again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is this runner's alone while the lease named by `token` holds."""

    job: Job
    token: str


class Jobs(Protocol):
    """Durable jobs, each run by one runner at a time."""

    async def create(self, job: Job, *, max_active: int) -> None:
        """Durable on return. Raises `Overloaded` when its tenant has `max_active` of its kind queued or running.

        Two created at the same moment may both find room.
        """

    async def get(self, scope: TenantScope, job_id: str) -> Job | None: ...

    async def listing(self, scope: TenantScope, kind: str, *, before: str | None, limit: int) -> list[Job]:
        """The tenant's jobs of this kind, newest (greatest id) first, those with ids below `before`."""

    async def claim(self, kinds: Collection[str], lease: float) -> Claim | None:
        """The job that has waited longest, now leased; one whose lease lapsed waits again, its progress kept."""

    async def beat(self, claim: Claim, lease: float, progress: Progress | None = None) -> bool:
        """Hold the lease for `lease` seconds more and save the progress, durable on return.

        False, and nothing saved: the lease was lost, or the job cancelled. The runner must stop.
        """

    async def finish(self, claim: Claim, result: Json, expires_at: int) -> bool:
        """RUNNING to DONE; False as in `beat`."""

    async def fail(self, claim: Claim, error: str, expires_at: int) -> bool:
        """RUNNING to FAILED; False as in `beat`. The progress stays."""

    async def release(self, claim: Claim, delay: float, *, counted: bool = True) -> bool:
        """RUNNING to QUEUED, to be claimed after `delay` seconds; not `counted`: as if never attempted."""

    async def cancel(self, scope: TenantScope, job_id: str, expires_at: int) -> Job | None:
        """QUEUED or RUNNING to CANCELLED; an ended job keeps its state. Either expires at `expires_at`.

        The job as it stands then; None when there is none.
        """

    async def retry(self, scope: TenantScope, job_id: str, expires_at: int) -> Job | None:
        """FAILED to QUEUED with its progress and no attempts; None when there is none.

        Raises `Conflict` (code `job_not_failed`) for any other state.
        """

    async def expired(self, now: int, limit: int) -> list[Job]:
        """Ended jobs with `expires_at <= now`."""

    async def remove(self, job: Job) -> None:
        """Forget an ended job. Removing again is harmless."""
