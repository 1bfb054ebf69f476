"""Deleting a tenant."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.confirming import DRY_RUN, is_confirmed
from api.openapi import answer, needs, problems
from api.schemas.deletion import DELETION, PREVIEW, DeletionOut, DeletionPreviewOut
from api.state import State, state_of
from core import deletion, instant
from core.access import Permission
from core.errors import Conflict, NotFound, Unavailable
from core.ports import Tombstone
from core.tenant import TENANT_ID, TenantStatus, from_token

router = APIRouter(prefix="/tenants", tags=["tenants"])
_encode: Final = msgspec.json.Encoder().encode
_BEGUN: Final[dict[str, Any]] = DELETION | {"state": "running", "stage": "asked", "report": None}


@router.delete(
    "/{tenant_id}",
    response_model=DeletionPreviewOut,
    summary="Delete a tenant",
    description="Tells what would be removed. With `dry_run=false` the tenant's tokens and keys reach nothing any "
    "more, and a job removes all that is its own: events, indices, archived files, keys, searches, every record. "
    "Refused (409 `on_hold`) while a legal hold stands. Asked for again, it goes on where it failed.",
    responses={
        **answer(200, PREVIEW),
        202: {"model": DeletionOut, "description": "Deleting", "content": {"application/json": {"example": _BEGUN}}},
        **problems(400, 401, 403, 404, 409, 503),
    },
    openapi_extra={**needs(Permission.PLATFORM), "parameters": [DRY_RUN]},
)
async def delete_tenant(request: Request, tenant_id: str) -> Response:
    state = state_of(request)
    claims = await state.authenticator.require_platform(request)
    confirmed = is_confirmed(request)
    tenant = await state.backends.control.tenant(tenant_id) if TENANT_ID.fullmatch(tenant_id) else None
    if tenant is None:
        raise NotFound("no such tenant")
    deleting = tenant.status is TenantStatus.DELETING
    if not confirmed and deleting:
        raise Conflict("the tenant is being deleted", code="tenant_deleting")
    scope = None if deleting else from_token(claims, tenant)
    if not confirmed:
        assert scope is not None  # noqa: S101 - it is not being deleted
        found = await deletion.preview(state.backends, scope)
        return _json(200, {"dry_run": True, "tenant_id": tenant.id, **found})
    begun = await deletion.ask(state.backends, tenant, scope, claims.subject, state.settings.job_keep)
    with suppress(Unavailable):
        await state.snapshots.refresh()
    return _json(202, _out(begun))


@router.get(
    "/{tenant_id}/deletion",
    response_model=DeletionOut,
    summary="Read a tenant's deletion",
    description="How far it is, why it failed, or its report. It can be read for good, when nothing else is left.",
    responses={**answer(200, DELETION), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.PLATFORM),
)
async def read_deletion(request: Request, tenant_id: str) -> Response:
    state = state_of(request)
    await state.authenticator.require_platform(request)
    return _json(200, _out(await _found(state, tenant_id)))


async def _found(state: State, tenant_id: str) -> Tombstone:
    found = await state.backends.tombstones.get(tenant_id) if TENANT_ID.fullmatch(tenant_id) else None
    if found is None:
        raise NotFound("the tenant was never asked to be deleted")
    return found


def _out(found: Tombstone) -> dict[str, Any]:
    state = "done" if found.report is not None else "failed" if found.error is not None else "running"
    return {
        "tenant_id": found.tenant_id,
        "state": state,
        "stage": found.stage,
        "asked_by": found.asked_by,
        "asked_at": instant.to_text(found.asked_at),
        "error": found.error,
        "report": found.report,
    }


def _json(status: int, body: dict[str, Any]) -> Response:
    return Response(_encode(body), status, media_type="application/json")
