"""Jobs: how far one is, and running a failed one again."""

from __future__ import annotations

import re
from typing import Any, Final

from fastapi import APIRouter, Request

from api.auth import Access
from api.openapi import answer, example_of, needs, problems
from api.schemas.jobs import JobOut
from api.state import State, state_of
from core import instant
from core.access import Permission
from core.errors import NotFound
from core.ids import uuid7s
from core.jobs import NEEDS, Job, Progress
from core.tenant import TenantScope

router = APIRouter(prefix="/jobs", tags=["jobs"])
_JOB_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_EXAMPLE: Final[dict[str, Any]] = example_of(JobOut)
_AGAIN: Final = _EXAMPLE | {"state": "queued", "attempts": 0, "result": None}


@router.get(
    "/{job_id}",
    response_model=JobOut,
    summary="Read a job",
    description="How far the job is, what it made, or why it failed. Poll it once a second or less often.",
    responses={**answer(200, _EXAMPLE), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.READ),
)
async def read_job(request: Request, job_id: str) -> JobOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    return job_out(await find_job(state, access.scope, job_id))


@router.post(
    "/{job_id}/retry",
    status_code=202,
    response_model=JobOut,
    summary="Run a failed job again",
    description="The job goes on from its saved progress. Needs what starting it needs; 409 unless it has failed.",
    responses={**answer(202, _AGAIN), **problems(401, 403, 404, 409, 503)},
    openapi_extra=needs(Permission.READ),
)
async def retry_job(request: Request, job_id: str) -> JobOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    job = await find_job(state, access.scope, job_id)
    access.scope.require(NEEDS[job.kind])
    again = await state.backends.jobs.retry(access.scope, job_id, expiry(state))
    if again is None:
        raise NotFound("no such job")
    return job_out(again)


def new_job(state: State, access: Access, kind: str, spec: dict[str, Any], progress: Progress | None = None) -> Job:
    """A job that the caller asks for now, not kept yet."""
    now = instant.now_us()
    return Job(
        id=uuid7s(now, 1)[0],
        tenant_id=access.tenant.id,
        kind=kind,
        spec=spec,
        asked_by=access.scope.actor,
        created_at=now,
        updated_at=now,
        expires_at=expiry(state),
        progress=progress or Progress(),
    )


async def find_job(state: State, scope: TenantScope, job_id: str, kind: str | None = None) -> Job:
    """The tenant's job; raises `NotFound`, also for one of another kind."""
    job = await state.backends.jobs.get(scope, job_id) if _JOB_ID.fullmatch(job_id) else None
    if job is None or kind not in (None, job.kind):
        raise NotFound("no such job")
    return job


def expiry(state: State) -> int:
    """When a job that ends now expires, in microseconds."""
    return instant.now_us() + int(state.settings.job_keep * 1_000_000)


def job_out(job: Job) -> JobOut:
    """The job as its tenant sees it; its checkpoint is the handler's own."""
    return JobOut(
        id=job.id,
        kind=job.kind,
        state=job.state.value,
        spec=job.spec,
        done=job.progress.done,
        total=job.progress.total,
        result=job.result,
        error=job.error,
        attempts=job.attempts,
        asked_by=job.asked_by,
        created_at=instant.to_text(job.created_at),
        updated_at=instant.to_text(job.updated_at),
        expires_at=instant.to_text(job.expires_at),
    )
