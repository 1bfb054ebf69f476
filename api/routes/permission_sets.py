"""A tenant's own sets of permissions, which keys and tokens may have beside roles."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter, ValidationError

from api import audit
from api.auth import Access
from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.schemas.keys import PermissionSetIn, PermissionSetOut, PermissionSetsOut, SetName
from api.state import State, state_of
from core import grants, tenancy
from core.access import Permission, completed
from core.errors import Conflict, FieldError, Invalid, NotFound, Unavailable
from core.tenant import Tenant

router = APIRouter(prefix="/permission-sets", tags=["keys"])
MAX_SETS: Final = 50
_SHOWN: Final = 5
_EXAMPLE: Final[dict[str, Any]] = example_of(PermissionSetOut)
_set_name: Final = TypeAdapter(SetName).validate_python


@router.get(
    "",
    response_model=PermissionSetsOut,
    summary="List the permission sets",
    description="All of the tenant, by name.",
    responses={**answer(200, {"data": [_EXAMPLE]}), **problems(401, 403, 503)},
    openapi_extra=needs(Permission.MANAGE),
)
async def list_sets(request: Request) -> PermissionSetsOut:
    state, access = await _managing(request)
    tenant = await _read(state, access)
    return PermissionSetsOut(data=[_out(tenant, name) for name in sorted(tenant.permission_sets)])


@router.put(
    "/{name}",
    response_model=PermissionSetOut,
    summary="Make or change a permission set",
    description="Within five seconds it holds for every key and token that has the set. It may allow no more than the "
    "caller has, and one that does may be changed by nobody who has less.",
    responses={**answer(200, _EXAMPLE), **problems(400, 401, 403, 408, 409, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(PermissionSetIn)},
)
async def put_set(request: Request, name: str) -> PermissionSetOut:
    state, access = await _managing(request)
    asked = await read_body(request, PermissionSetIn)
    _check_name(name)
    permissions = completed(frozenset(asked.permissions))
    grants.require(access.scope, permissions)

    def put(tenant: Tenant) -> Tenant:
        grants.require(access.scope, tenant.permission_sets.get(name, ()))
        if name not in tenant.permission_sets and len(tenant.permission_sets) >= MAX_SETS:
            raise Conflict(f"a tenant may have {MAX_SETS} permission sets", code="too_many_sets")
        return replace(tenant, permission_sets={**tenant.permission_sets, name: permissions})

    return _out(await _change(state, access, put), name)


@router.delete(
    "/{name}",
    status_code=204,
    response_class=Response,
    summary="Delete a permission set",
    description="Refused while a key that is not revoked has it.",
    responses={204: {"description": "Deleted"}, **problems(401, 403, 404, 409, 503)},
    openapi_extra=needs(Permission.MANAGE),
)
async def delete_set(request: Request, name: str) -> Response:
    state, access = await _managing(request)
    holders = await state.backends.keys.holders(access.scope, name, _SHOWN)
    if holders:
        raise Conflict(f"keys have this set: {', '.join(holders)}", code="set_in_use")

    def remove(tenant: Tenant) -> Tenant:
        if name not in tenant.permission_sets:
            raise NotFound("no such permission set")
        left = {each: held for each, held in tenant.permission_sets.items() if each != name}
        return replace(tenant, permission_sets=left)

    await _change(state, access, remove)
    return Response(status_code=204)


async def _managing(request: Request) -> tuple[State, Access]:
    state = state_of(request)
    return state, await state.authenticator.tenant_access(request, Permission.MANAGE)


async def _read(state: State, access: Access) -> Tenant:
    """The tenant as it is now: the snapshot may be seconds old."""
    tenant = await state.backends.control.tenant(access.tenant.id)
    if tenant is None:
        raise NotFound("no such tenant")
    return tenant


async def _change(state: State, access: Access, change: Callable[[Tenant], Tenant]) -> Tenant:
    changed = await tenancy.change(state.backends.control, access.tenant.id, change, audit.changing)
    # This process goes by it at once, the others within their two seconds.
    with suppress(Unavailable):
        await state.snapshots.refresh()
    return changed


def _check_name(name: str) -> None:
    try:
        _set_name(name)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        fault = FieldError(("path", "name"), message, "name")
        raise Invalid(f"name {message}", code="invalid_request", errors=[fault]) from None


def _out(tenant: Tenant, name: str) -> PermissionSetOut:
    return PermissionSetOut(name=name, permissions=sorted(tenant.permission_sets[name]))
