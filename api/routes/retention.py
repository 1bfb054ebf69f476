"""Cleaning up on demand, what is in the archive, and bringing it back."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import Access
from api.models import read_body
from api.openapi import answer, body_of, needs, problems
from api.paging import PAGING, paging_of
from api.routes.jobs import job_out, new_job
from api.routes.searching import refuse_parameters
from api.schemas.retention import EXPECTED, RESTORING, SEGMENT, STARTED, ArchiveOut, CleanupOut, RestoreIn, RestoreOut
from api.state import State, state_of
from core import instant
from core.access import Permission
from core.errors import FieldError, Invalid, InvalidQuery, NotFound, Unset
from core.holds import Hold
from core.jobs import RESTORE, RETENTION
from core.query import EventQuery, Page, Range
from core.query.parameters import parameter_fault, single_of
from core.query.values import moment
from core.segments import Segment

router = APIRouter(tags=["retention"])
_SEGMENT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DAY: Final = 86_400_000_000
_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "before", "in": "query", "required": True, "schema": {"type": "string"}, "example": "-90d",
        "description": "`received_at` before this, and not after now: RFC 3339, or relative to now, such as `-90d`.",
    },
    {
        "name": "dry_run", "in": "query", "required": False, "schema": {"type": "boolean", "default": True},
        "description": "Only `false` removes anything.",
    },
]  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode


@router.delete(
    "/logs/cleanup",
    response_model=CleanupOut,
    summary="Archive and remove old events",
    description="A job (202) archives every event that was received before then, reads back what it has written, and "
    "removes them from store and index; events that a legal hold covers stay. Without `dry_run=false` nothing is done, "
    "and the answer (200) says how many events there are, and how many each hold keeps. One at a time in a tenant.",
    responses={**answer(200, EXPECTED), **answer(202, STARTED), **problems(400, 401, 403, 429, 503)},
    openapi_extra={**needs(Permission.MANAGE), "parameters": _PARAMETERS},
)
async def clean_up(request: Request) -> Response:
    state, access = await _access(request, Permission.MANAGE)
    before, dry_run = _cleanup(request)
    if dry_run:
        return Response(_encode(await _expected(state, access, before)), media_type="application/json")
    _needs_archive(state)
    job = new_job(state, access, RETENTION, {"before": before})
    await state.backends.jobs.create(job, max_active=1)
    body = {"dry_run": False, "before": instant.to_text(before), "job": job_out(job).model_dump()}
    return Response(_encode(body), 202, media_type="application/json")


@router.post(
    "/logs/restore",
    status_code=202,
    response_model=RestoreOut,
    summary="Restore archived events",
    description="A job brings the archived events of a range of `received_at` back into store and index, in their "
    "exact bytes, each checked against its hash. They stay in the archive, and leave store and index again after "
    "`keep_days`. One at a time in a tenant; 404 when nothing of the range is archived.",
    responses={**answer(202, RESTORING), **problems(400, 401, 403, 404, 408, 413, 415, 422, 429, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(RestoreIn)},
)
async def restore(request: Request) -> Response:
    state, access = await _access(request, Permission.MANAGE)
    refuse_parameters(request)
    asked = await read_body(request, RestoreIn)
    now = instant.now_us()
    start, end = _moment("received_from", asked.received_from, now), _moment("received_to", asked.received_to, now)
    if start >= end:
        raise _fault("received_to", "must be after received_from")
    _needs_archive(state)
    if not await state.backends.segments.within(access.scope, start, end):
        raise NotFound("nothing that was received then is archived", code="nothing_archived")
    spec = {"received_from": start, "received_to": end, "until": now + asked.keep_days * _DAY}
    job = new_job(state, access, RESTORE, spec)
    await state.backends.jobs.create(job, max_active=1)
    return Response(_encode({"job": job_out(job).model_dump()}), 202, media_type="application/json")


@router.get(
    "/archive",
    response_model=ArchiveOut,
    summary="List what is archived",
    description="The files of the archive, those with the oldest events first: what is in each, and its SHA-256.",
    responses={**answer(200, {"data": [SEGMENT], "next_cursor": None}), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.READ), "parameters": PAGING},
)
async def list_archive(request: Request) -> Response:
    state, access = await _access(request, Permission.READ)
    limit, cursor = paging_of(request, _SEGMENT_ID)
    after = None
    if cursor is not None:
        last = await state.backends.segments.get(access.scope, cursor)
        if last is None:
            fault = FieldError(("query", "cursor"), "is not one of this list's", "bad_cursor")
            raise InvalidQuery("the cursor is not one of this list's", code="bad_cursor", errors=[fault])
        after = last.first
    found = await state.backends.segments.listing(access.scope, after=after, limit=limit + 1)
    more = found[limit - 1].id if len(found) > limit else None
    body = {"data": [_out(segment) for segment in found[:limit]], "next_cursor": more}
    return Response(_encode(body), media_type="application/json")


async def _access(request: Request, permission: Permission) -> tuple[State, Access]:
    state = state_of(request)
    return state, await state.authenticator.tenant_access(request, permission)


def _needs_archive(state: State) -> None:
    if state.settings.archive_url is None:
        raise Unset("archive", "ARCHIVE_URL")


def _cleanup(request: Request) -> tuple[int, bool]:
    """`before` in microseconds, and whether nothing is to be done."""
    given = request.query_params.multi_items()
    for name, _ in given:
        if name not in ("before", "dry_run"):
            raise parameter_fault(name, "is neither before nor dry_run")
    single = single_of(given, frozenset({"before", "dry_run"}))
    if "before" not in single:
        raise parameter_fault("before", "is required")
    now = instant.now_us()
    try:
        before = moment(single["before"], now)
    except ValueError as error:
        raise parameter_fault("before", str(error)) from None
    if before > now:
        raise parameter_fault("before", "must not be after now")
    dry_run = single.get("dry_run", "true")
    if dry_run not in ("true", "false"):
        raise parameter_fault("dry_run", "must be true or false")
    return before, dry_run == "true"


async def _expected(state: State, access: Access, before: int) -> dict[str, Any]:
    """What a clean-up would meet now."""
    past = EventQuery(received_at=Range(None, before), sort="received_at")
    bound = state.settings.total_bound
    page = await state.backends.store.find(access.scope, past, after=None, limit=1, total_bound=bound)
    holds = await state.backends.holds.standing(access.scope)
    return {
        "dry_run": True,
        "before": instant.to_text(before),
        "events": page.total,
        "events_relation": _relation(page.total_exact),
        "holds": [await _kept(state, access, past, hold) for hold in holds],
    }


async def _kept(state: State, access: Access, past: EventQuery, hold: Hold) -> dict[str, Any]:
    """How many past events a hold keeps."""
    query = past.restricted_to(hold.query)
    page = Page(query, 1, None, b"", instant.now_us(), lambda now: query)
    found = await state.search.page(access.scope, access.tenant, page)
    counted = {"events": found.total, "events_relation": _relation(found.total_exact)}
    return {"id": hold.id, "reason": hold.reason, **counted}


def _relation(exact: bool) -> str:
    return "exact" if exact else "at_least"


def _moment(name: str, text: str, now: int) -> int:
    try:
        return moment(text, now)
    except ValueError as error:
        raise _fault(name, str(error)) from None


def _fault(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", code="invalid_request", errors=[FieldError(("body", name), message, "value")])


def _out(segment: Segment) -> dict[str, Any]:
    until = segment.restored_until
    return {
        "id": segment.id,
        "received_from": instant.to_text(segment.first.us),
        "received_to": instant.to_text(segment.last.us),
        "events": segment.events,
        "bytes": segment.bytes,
        "file": segment.name,
        "file_bytes": segment.size,
        "sha256": segment.sha256,
        "archived_at": instant.to_text(segment.archived_at),
        "state": segment.state.value,
        "restored_until": None if until is None else instant.to_text(until),
    }
