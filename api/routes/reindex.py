"""Rebuilding a tenant's index from the store, and closing its gaps."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.routes.jobs import job_out, new_job
from api.schemas.jobs import JobOut
from api.schemas.reindex import ITEMS, RECONCILED, ReconcileIn, ReconcileOut, ReindexIn, ReindexOut
from api.state import State, state_of
from core import instant
from core.access import Permission
from core.errors import FieldError, Invalid
from core.jobs import RECONCILE, REINDEX, Job
from core.ports import IndexDocument
from core.query.values import moment
from core.tenant import TenantScope

router = APIRouter(prefix="/logs", tags=["logs"])
_MAX_BODY_BYTES: Final = 64 * 1024
_encode: Final = msgspec.json.Encoder().encode
_JOB: Final[dict[str, Any]] = example_of(JobOut) | {
    "kind": REINDEX,
    "spec": {"received_from": 1790812800000000, "received_to": 1793491200000000},
    "result": {"placements": ["202610"], "indexed": 1204, "reduced": 0, "failed": 0},
}
_RECONCILED: Final[dict[str, Any]] = example_of(JobOut) | {
    "kind": RECONCILE,
    "spec": {"received_from": 1790812800000000, "received_to": None, "dry_run": False},
    "done": 812345,
    "total": None,
    "result": RECONCILED,
}


@router.post(
    "/index/bulk",
    response_model=ReindexOut,
    summary="Rebuild the index from the store",
    description="`ids`: up to 1,000 events, those that the index lacks are indexed at once, with a result for each. "
    "A range of `received_at`: a job (202) rebuilds every index that holds a part of it, beside the live one, while "
    "searches and writes go on; one at a time in a tenant. Needed after a change of facets for them to cover the past.",
    responses={
        **answer(200, ITEMS),
        **answer(202, {"job": _JOB}),
        **problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
    },
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(ReindexIn)},
)
async def reindex(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    asked = await read_body(request, ReindexIn, _MAX_BODY_BYTES)
    bounds = _bounds(asked)
    if (asked.ids is None) == (bounds == dict.fromkeys(bounds)):
        raise _fault("ids", "give either ids, or received_from or received_to")
    if asked.ids is not None:
        items = await _at_once(state, access.scope, asked.ids)
        return Response(_encode({"items": items}), media_type="application/json")
    return await _started(state, new_job(state, access, REINDEX, bounds))


@router.post(
    "/index/reconcile",
    status_code=202,
    response_model=ReconcileOut,
    summary="Close the index's gap",
    description="A job compares store and index id by id: what the index lacks is indexed, what the store lacks is "
    "removed from the index. Its result counts both and names the first hundred of each; `left` is what still differs. "
    "Without `dry_run: false` nothing is changed. One at a time in a tenant.",
    responses={
        **answer(202, {"job": _RECONCILED}),
        **problems(400, 401, 403, 408, 413, 415, 422, 429, 503),
    },
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(ReconcileIn)},
)
async def reconcile(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    asked = await read_body(request, ReconcileIn, _MAX_BODY_BYTES)
    return await _started(state, new_job(state, access, RECONCILE, _bounds(asked) | {"dry_run": asked.dry_run}))


async def _started(state: State, job: Job) -> Response:
    await state.backends.jobs.create(job, max_active=1)
    return Response(_encode({"job": job_out(job).model_dump()}), 202, media_type="application/json")


async def _at_once(state: State, scope: TenantScope, ids: list[str]) -> list[dict[str, str]]:
    """One result for each id, in order."""
    stored = await state.backends.store.fetch(scope, ids)
    placed: dict[str, list[IndexDocument]] = defaultdict(list)
    for event in stored.values():
        placed[event.placement].append(IndexDocument(event.id, event.body))
    found: dict[str, dict[str, str]] = {}
    for placement, documents in placed.items():
        outcomes = await state.backends.index.index(scope, placement, documents)
        for document, outcome in zip(documents, outcomes, strict=True):
            if isinstance(outcome, Exception):
                found[document.id] = {"status": "failed", "detail": "the index does not take the event"}
            else:
                found[document.id] = {"status": outcome.value}
    return [{"id": event_id, **found.get(event_id, {"status": "not_found"})} for event_id in ids]


def _bounds(asked: ReindexIn | ReconcileIn) -> dict[str, int | None]:
    """The range of `received_at` that a body names; raises `Invalid` for one that is none."""
    now = instant.now_us()
    bounds = {name: _moment(name, getattr(asked, name), now) for name in ("received_from", "received_to")}
    start, end = bounds["received_from"], bounds["received_to"]
    if start is not None and end is not None and start >= end:
        raise _fault("received_to", "must be after received_from")
    return bounds


def _moment(name: str, text: str | None, now: int) -> int | None:
    if text is None:
        return None
    try:
        return moment(text, now)
    except ValueError as error:
        raise _fault(name, str(error)) from None


def _fault(name: str, message: str) -> Invalid:
    return Invalid(f"{name}: {message}", code="invalid_request", errors=[FieldError(("body", name), message, "value")])
