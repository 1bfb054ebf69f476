"""Legal holds: events that retention, clean-up and deletion leave where they are."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import Access
from api.filters import search_of
from api.openapi import answer, body_of, needs, problems
from api.paging import PAGING, paging_of
from api.routes.searching import read_json, refuse_parameters
from api.schemas.holds import HOLD, HoldIn, HoldOut, HoldsOut, ReleaseIn
from api.state import State, state_of
from core import instant
from core.access import Permission
from core.errors import Conflict, FieldError, Invalid, NotFound
from core.holds import MAX_REASON, MAX_STANDING, Hold
from core.ids import uuid7s
from core.query import strict_json

router = APIRouter(prefix="/holds", tags=["retention"])
_HOLD_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_encode: Final = msgspec.json.Encoder().encode
_RELEASED: Final[dict[str, Any]] = HOLD | {
    "released_by": HOLD["made_by"],
    "released_at": "2027-03-01T09:00:00.000000Z",
    "release_reason": "settled on 2027-03-01",
}


@router.post(
    "",
    status_code=201,
    response_model=HoldOut,
    summary="Place a legal hold",
    description="From the answer on, no retention, clean-up, erasing or deletion removes an event that `search` finds, "
    "those sent later included. A hold that matches no event now is refused.",
    responses={**answer(201, HOLD), **problems(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(HoldIn)},
)
async def place_hold(request: Request) -> Response:
    state, access = await _access(request)
    refuse_parameters(request)
    asked = _body(await read_json(request), ("search", "reason"))
    reason = _reason(asked)
    page = search_of(asked.get("search"))
    if len(await state.backends.holds.standing(access.scope)) >= MAX_STANDING:
        raise Conflict(f"{MAX_STANDING} holds stand: release some", code="too_many_holds")
    matched, exact = await state.search.matched(access.scope, access.tenant, page)
    if not matched:
        fault = FieldError(("search",), "matches no event", "hold_matches_nothing")
        raise Invalid("the search of the hold matches no event", code="hold_matches_nothing", errors=[fault])
    now = instant.now_us()
    hold = Hold(
        id=uuid7s(now, 1)[0],
        tenant_id=access.tenant.id,
        query=page.query,
        written=_encode(strict_json.plain(asked["search"])),
        reason=reason,
        made_by=access.scope.actor,
        made_at=now,
        matched=matched,
        matched_exact=exact,
    )
    await state.backends.holds.create(access.scope, hold)
    return Response(_encode(_out(hold)), 201, {"Location": f"{request.url.path}/{hold.id}"}, "application/json")


@router.get(
    "",
    response_model=HoldsOut,
    summary="List the legal holds",
    description="The newest first, those that were released too.",
    responses={**answer(200, {"data": [HOLD], "next_cursor": None}), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.MANAGE), "parameters": PAGING},
)
async def list_holds(request: Request) -> Response:
    state, access = await _access(request)
    limit, before = paging_of(request, _HOLD_ID)
    found = await state.backends.holds.listing(access.scope, before=before, limit=limit + 1)
    more = found[limit - 1].id if len(found) > limit else None
    body = {"data": [_out(hold) for hold in found[:limit]], "next_cursor": more}
    return Response(_encode(body), media_type="application/json")


@router.get(
    "/{hold_id}",
    response_model=HoldOut,
    summary="Read a legal hold",
    responses={**answer(200, HOLD), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.MANAGE),
)
async def read_hold(request: Request, hold_id: str) -> Response:
    state, access = await _access(request)
    return Response(_encode(_out(await _find(state, access, hold_id))), media_type="application/json")


@router.post(
    "/{hold_id}/release",
    response_model=HoldOut,
    summary="Release a legal hold",
    description="Its events may be removed again, as any others; its record stays. 409 when it was released before.",
    responses={**answer(200, _RELEASED), **problems(400, 401, 403, 404, 408, 409, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(ReleaseIn)},
)
async def release_hold(request: Request, hold_id: str) -> Response:
    state, access = await _access(request)
    reason = _reason(_body(await read_json(request), ("reason",)))
    await _find(state, access, hold_id)
    released = await state.backends.holds.release(
        access.scope, hold_id, by=access.scope.actor, at=instant.now_us(), reason=reason
    )
    if not released:
        raise Conflict("the hold was released before", code="hold_released")
    return Response(_encode(_out(await _find(state, access, hold_id))), media_type="application/json")


async def _access(request: Request) -> tuple[State, Access]:
    state = state_of(request)
    return state, await state.authenticator.tenant_access(request, Permission.MANAGE)


async def _find(state: State, access: Access, hold_id: str) -> Hold:
    hold = await state.backends.holds.get(access.scope, hold_id) if _HOLD_ID.fullmatch(hold_id) else None
    if hold is None:
        raise NotFound("no such hold")
    return hold


def _body(written: bytes, members: tuple[str, ...]) -> dict[str, Any]:
    asked = strict_json.read(written)
    if not isinstance(asked, dict):
        raise _fault((), "the body must be an object")
    for name in asked:
        if name not in members:
            raise _fault((name,), f"is none of {', '.join(members)}")
    return asked


def _reason(asked: dict[str, Any]) -> str:
    reason = asked.get("reason")
    if not isinstance(reason, str) or isinstance(reason, strict_json.Number) or not reason.strip():
        raise _fault(("reason",), "must say why")
    if len(reason) > MAX_REASON:
        raise _fault(("reason",), f"may have {MAX_REASON} characters")
    return reason.strip()


def _fault(place: tuple[str, ...], message: str) -> Invalid:
    text = f"{'.'.join(place)} {message}".strip()
    return Invalid(text, code="invalid_request", errors=[FieldError(place, message, "value_error")])


def _out(hold: Hold) -> dict[str, Any]:
    return {
        "id": hold.id,
        "search": msgspec.Raw(hold.written),
        "reason": hold.reason,
        "made_by": hold.made_by,
        "made_at": instant.to_text(hold.made_at),
        "matched": hold.matched,
        "matched_relation": "exact" if hold.matched_exact else "at_least",
        "released_by": hold.released_by,
        "released_at": None if hold.released_at is None else instant.to_text(hold.released_at),
        "release_reason": hold.release_reason,
    }
