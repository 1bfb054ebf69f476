"""Erasing one person's events."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.confirming import DRY_RUN, is_confirmed
from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.routes.jobs import job_out, new_job
from api.schemas.erasures import PREVIEW, REPORT, ErasureIn, ErasurePreviewOut
from api.schemas.jobs import JobOut
from api.state import state_of
from core import erasure, instant
from core.access import Permission
from core.errors import Conflict
from core.jobs import ERASURE

router = APIRouter(prefix="/erasures", tags=["retention"])
_MAX_BODY_BYTES: Final = 64 * 1024
_encode: Final = msgspec.json.Encoder().encode
_JOB: Final[dict[str, Any]] = example_of(JobOut) | {
    "kind": ERASURE,
    "spec": {"before": 1795261200000000},
    "result": REPORT,
}


@router.post(
    "",
    response_model=ErasurePreviewOut,
    summary="Erase one person's events",
    description="All that were accepted until now and have this `user_id`: tells how many. With `dry_run=false` a job "
    "(202) removes them from the log, the index, the archive, exports and what was set aside, and reports it. Refused "
    "(409 `on_hold`) while a legal hold covers one. One at a time in a tenant. Events of the service's own "
    "(`ocelot.*`) stay.",
    responses={
        **answer(200, PREVIEW),
        202: {"model": JobOut, "description": "Erasing", "content": {"application/json": {"example": _JOB}}},
        **problems(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
    },
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(ErasureIn), "parameters": [DRY_RUN]},
)
async def erase(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    confirmed = is_confirmed(request)
    asked = await read_body(request, ErasureIn, _MAX_BODY_BYTES)
    now = instant.now_us()
    found = await erasure.preview(state.backends, access.scope, asked.user_id, now)
    if not confirmed:
        return _json(200, {"dry_run": True, **found})
    if found["held_by"] is not None:
        raise Conflict(f"the legal hold {found['held_by']} covers an event of the person", code="on_hold")
    job = new_job(state, access, ERASURE, *erasure.begun(asked.user_id, now))
    await state.backends.jobs.create(job, max_active=1)
    return _json(202, job_out(job).model_dump())


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(_encode(body), status, media_type="application/json")
