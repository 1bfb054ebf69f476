"""A tenant's own masking rules: reading, replacing and trying them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response

from api import audit, bodies
from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.schemas.masking import MaskingIn, MaskingOut, MaskingRuleIn, PreviewIn, PreviewOut
from api.state import State, state_of
from core import tenancy
from core.access import Permission
from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.event import MAX_EVENT_BYTES
from core.event_faults import no_json, too_deep, wrong_type
from core.masking.own import LIMITS, check_rules
from core.tenant import Tenant
from core.tenant_settings import MaskAction, MaskBy, MaskingRule

router = APIRouter(prefix="/masking", tags=["masking"])
_MAX_RULES_BYTES: Final = 64 * 1024
_encode: Final = msgspec.json.Encoder().encode
_IF_MATCH: Final[dict[str, Any]] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'The `ETag` of what was read, such as `"3"`: 412 when the tenant was changed since.',
    "schema": {"type": "string"},
}


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    by: MaskBy
    match: str
    action: MaskAction


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """`PreviewIn` with the event as the bytes that were sent."""

    event: msgspec.Raw
    rules: list[_Rule] | None = None


_decode: Final = msgspec.json.Decoder(_Asked).decode


@router.get(
    "",
    response_model=MaskingOut,
    summary="The masking rules",
    description="The tenant's own, on top of the built-in ones.",
    responses={**answer(200, example_of(MaskingOut)), **problems(401, 403, 503)},
    openapi_extra=needs(Permission.MANAGE),
)
async def read_masking(request: Request, response: Response) -> MaskingOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    return _answered(response, await _record(state, access.tenant.id))


@router.put(
    "",
    response_model=MaskingOut,
    summary="Replace the masking rules",
    description="Replaces them all. Events that are accepted 5 seconds later, by whatever process, are masked by them; "
    "what is stored stays as it is.",
    responses={**answer(200, example_of(MaskingOut)), **problems(400, 401, 403, 408, 409, 412, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(MaskingIn), "parameters": [_IF_MATCH]},
)
async def replace_masking(request: Request, response: Response) -> MaskingOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    asked = await read_body(request, MaskingIn, _MAX_RULES_BYTES)
    rules = tuple(MaskingRule(rule.by, rule.match, rule.action) for rule in asked.rules)
    check_rules(rules)
    known = request.headers.get("if-match", "*").strip()

    def make(old: Tenant) -> Tenant:
        if known not in ("*", _etag(old)):
            raise Conflict(f"the tenant has revision {old.revision} by now", code="precondition_failed")
        return replace(old, masking=rules)

    changed = await tenancy.change(state.backends.control, access.tenant.id, make, audit.changing)
    with suppress(Unavailable):
        await state.snapshots.refresh()
    return _answered(response, changed)


@router.post(
    "/preview",
    response_model=PreviewOut,
    summary="Try masking rules on an event",
    description="The event as it would be stored, by the rules in the body or by those that are set, and how many "
    "places each rule changed. Nothing is stored or changed.",
    responses={**answer(200, example_of(PreviewOut)), **problems(400, 401, 403, 408, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(PreviewIn)},
)
async def preview_masking(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    asked = await _asked(request)
    if asked.rules is None:
        rules = (await _record(state, access.tenant.id)).masking
    else:
        rules = tuple(MaskingRule(rule.by, rule.match, rule.action) for rule in asked.rules)
    found = await state.ingest.preview(access.tenant, rules, bytes(asked.event))
    body = {
        "event": msgspec.Raw(found.line),
        "by_default": found.by_default,
        "changes": [found.changes.get(n, 0) for n in range(len(rules))],
    }
    return Response(_encode(body), media_type="application/json")


async def _asked(request: Request) -> _Asked:
    if bodies.media_type(request) not in ("", "application/json"):
        raise Invalid("Content-Type must be application/json", code="unsupported_media_type")
    body = await bodies.read(request, MAX_EVENT_BYTES + _MAX_RULES_BYTES)
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        fault = wrong_type(str(error))
        errors = [replace(each, loc=("body", *each.loc)) for each in fault.errors]
        raise Invalid(fault.message, code="invalid_request", errors=errors) from None
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise no_json(body, error) from None


async def _record(state: State, tenant_id: str) -> Tenant:
    """The record itself: the snapshot may be older than the caller's own change."""
    tenant = await state.backends.control.tenant(tenant_id)
    if tenant is None:
        raise NotFound("no such tenant")
    return tenant


def _etag(tenant: Tenant) -> str:
    return f'"{tenant.revision}"'


def _answered(response: Response, tenant: Tenant) -> MaskingOut:
    response.headers["ETag"] = _etag(tenant)
    rules = [MaskingRuleIn(by=rule.by, match=rule.match, action=rule.action) for rule in tenant.masking]
    return MaskingOut(rules=rules, limits=LIMITS)
