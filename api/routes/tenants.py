"""Tenants, for the platform's operators: making them, listing them, changing what is set for them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api import audit
from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.packing import UNPACKED
from api.paging import PAGING, paging_of
from api.schemas.access import KeyOut
from api.schemas.masking import MaskingRuleIn
from api.schemas.tenants import (
    TENANT,
    NewTenantOut,
    PlacementOut,
    QuotasIn,
    TenantIn,
    TenantOut,
    TenantPatchIn,
    TenantSettingsIn,
    TenantsOut,
)
from api.state import State, state_of
from core import accounts, credentials, instant, tenancy
from core.access import Permission, Role
from core.errors import Conflict, FieldError, Invalid, NotFound, Unavailable
from core.masking.own import check_rules
from core.placement import Placement
from core.tenant import TENANT_ID, Tenant, TenantStatus
from core.tenant_settings import MaskingRule, Quotas

router = APIRouter(prefix="/tenants", tags=["tenants"])
_MAX_BODY_BYTES: Final = 128 * 1024
_WRITES: Final = (400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 503)
_IF_MATCH: Final[dict[str, Any]] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'The `ETag` of what was read, such as `"3"`: 412 when the tenant was changed since.',
    "schema": {"type": "string"},
}


@router.get(
    "",
    response_model=TenantsOut,
    summary="List the tenants",
    description="By their ids, those that are being deleted included.",
    responses={**answer(200, {"data": [TENANT], "next_cursor": None, "total": 1}), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.PLATFORM), "parameters": PAGING},
)
async def list_tenants(request: Request) -> TenantsOut:
    state = await _state(request)
    limit, after = paging_of(request, TENANT_ID)
    tenants = await state.backends.control.tenants()
    rest = [tenant for tenant in tenants if after is None or tenant.id > after]
    next_cursor = rest[limit - 1].id if len(rest) > limit else None
    return TenantsOut(data=[_out(tenant) for tenant in rest[:limit]], next_cursor=next_cursor, total=len(tenants))


@router.post(
    "",
    status_code=201,
    response_model=NewTenantOut,
    summary="Create a tenant",
    description="Only its name is needed. Answers with a first API key of the role admin; its secret is shown once.",
    responses={**answer(201, example_of(NewTenantOut)), **problems(400, 401, 403, 408, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.PLATFORM), "requestBody": body_of(TenantIn)},
)
async def create_tenant(request: Request, response: Response) -> NewTenantOut:
    response.headers.update(UNPACKED)
    state = await _state(request)
    by = f"platform:{(await state.authenticator.claims(request)).subject}"
    asked = await read_body(request, TenantIn, _MAX_BODY_BYTES)
    made = _with_settings(accounts.new_tenant(asked.name), asked)
    # No event of it is placed yet, so nothing has to wait for midnight.
    made = replace(made, placements=(Placement(period=asked.index_period),))
    await state.backends.control.create_tenant(made)
    key, secret = await credentials.create_key(state.backends.keys, made, "first", (Role.ADMIN.value,), created_by=by)
    roles = [Role(role) for role in key.roles]
    first = KeyOut(client_id=key.id, client_secret=secret, roles=roles)
    return NewTenantOut(**_out(made).model_dump(), key=first)


@router.get(
    "/{tenant_id}",
    response_model=TenantOut,
    summary="Read a tenant",
    responses={**answer(200, TENANT), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.PLATFORM),
)
async def read_tenant(request: Request, response: Response, tenant_id: str) -> TenantOut:
    state = await _state(request)
    return _answered(response, await _found(state, tenant_id))


@router.put(
    "/{tenant_id}",
    response_model=TenantOut,
    summary="Replace what is set for a tenant",
    description="All of it: what is left out gets its default. Every process goes by it within 5 seconds.",
    responses={**answer(200, TENANT), **problems(*_WRITES)},
    openapi_extra={
        **needs(Permission.PLATFORM), "requestBody": body_of(TenantSettingsIn), "parameters": [_IF_MATCH],
    },
)  # fmt: skip
async def replace_tenant(request: Request, response: Response, tenant_id: str) -> TenantOut:
    state = await _state(request)
    asked = await read_body(request, TenantSettingsIn, _MAX_BODY_BYTES)
    return _answered(response, await _changed(state, request, tenant_id, lambda _: asked))


@router.patch(
    "/{tenant_id}",
    response_model=TenantOut,
    summary="Change what is set for a tenant",
    description="A JSON merge patch: only what it names changes, and null gives a setting its default. Every process "
    "goes by it within 5 seconds. A suspended tenant's tokens and keys reach nothing, and what it sent stays.",
    responses={**answer(200, TENANT), **problems(*_WRITES)},
    openapi_extra={**needs(Permission.PLATFORM), "requestBody": body_of(TenantPatchIn), "parameters": [_IF_MATCH]},
)
async def patch_tenant(request: Request, response: Response, tenant_id: str) -> TenantOut:
    state = await _state(request)
    asked = await read_body(request, TenantPatchIn, _MAX_BODY_BYTES)
    patch = asked.model_dump(exclude_unset=True)
    if fault := next((name for name in ("name", "status") if patch.get(name, "") is None), None):
        message = "has no default"
        raise Invalid(
            f"{fault}: {message}", code="invalid_request", errors=[FieldError(("body", fault), message, "null")]
        )

    def merged(tenant: Tenant) -> TenantSettingsIn:
        return TenantSettingsIn.model_validate(_merged(_settings(tenant), patch))

    return _answered(response, await _changed(state, request, tenant_id, merged))


async def _state(request: Request) -> State:
    state = state_of(request)
    await state.authenticator.require_platform(request)
    return state


async def _found(state: State, tenant_id: str) -> Tenant:
    """From the record itself: the snapshot may be older than the caller's own change."""
    tenant = await state.backends.control.tenant(tenant_id) if TENANT_ID.fullmatch(tenant_id) else None
    if tenant is None:
        raise NotFound("no such tenant")
    return tenant


async def _changed(state: State, request: Request, tenant_id: str, settings: Any) -> Tenant:
    """The tenant with what `settings` makes of it, effective in this process at once."""
    asked = request.headers.get("if-match", "*").strip()

    def make(old: Tenant) -> Tenant:
        if asked not in ("*", _etag(old)):
            raise Conflict(f"the tenant has revision {old.revision} by now", code="precondition_failed")
        new: TenantIn = settings(old)
        return replace(_with_settings(old, new), placements=tenancy.with_period(old.placements, new.index_period))

    await _found(state, tenant_id)
    changed = await tenancy.change(state.backends.control, tenant_id, make, audit.changing)
    with suppress(Unavailable):
        await state.snapshots.refresh()
    return changed


def _with_settings(tenant: Tenant, asked: TenantIn) -> Tenant:
    """The tenant with these settings; raises `Invalid` for masking rules that are none."""
    masking = tuple(MaskingRule(rule.by, rule.match, rule.action) for rule in asked.masking)
    if masking != tenant.masking:
        check_rules(masking, ("body", "masking"))
    return replace(
        tenant,
        name=asked.name,
        status=TenantStatus(asked.status),
        retention_days=asked.retention_days,
        quotas=Quotas(**asked.quotas.model_dump()),
        masking=masking,
        access_audit=asked.access_audit,
        quarantine=asked.quarantine,
    )


def _settings(tenant: Tenant) -> dict[str, Any]:
    return {
        "name": tenant.name,
        "status": tenant.status.value,
        "retention_days": tenant.retention_days,
        "quotas": asdict(tenant.quotas),
        "masking": [asdict(rule) for rule in tenant.masking],
        "index_period": tenant.placements[-1].period,
        "access_audit": tenant.access_audit,
        "quarantine": tenant.quarantine,
    }


def _merged(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396: a member that is null goes, an object goes into an object, anything else takes the member's place."""
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = _merged(merged.get(name, {}), value)
        else:
            merged[name] = value
    return merged


def _etag(tenant: Tenant) -> str:
    return f'"{tenant.revision}"'


def _answered(response: Response, tenant: Tenant) -> TenantOut:
    response.headers["ETag"] = _etag(tenant)
    return _out(tenant)


def _out(tenant: Tenant) -> TenantOut:
    settings = _settings(tenant)
    return TenantOut(
        **settings
        | {
            "tenant_id": tenant.id,
            "quotas": QuotasIn(**settings["quotas"]),
            "masking": [MaskingRuleIn(**rule) for rule in settings["masking"]],
            "placements": [
                PlacementOut(since=instant.to_text(placement.since), period=placement.period)
                for placement in tenant.placements
            ],
            "created_at": instant.to_text(tenant.created_at),
            "revision": tenant.revision,
        }
    )
