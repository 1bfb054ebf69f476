"""Viewer links: tokens that read the events of one filter and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import bodies
from api.auth import Access
from api.openapi import answer, body_of, example_of, needs, problems
from api.packing import UNPACKED
from api.paging import known_alone
from api.schemas.viewers import NewViewerLinkOut, ViewerLinkIn, ViewerLinksOut
from api.state import state_of
from core import instant
from core.access import Permission
from core.errors import FieldError, Invalid, InvalidQuery, NotFound
from core.query import EventQuery, parse_document
from core.query.strict_json import Number, plain, read
from core.viewers import MAX_LIFETIME, ViewerLink, check_filter, new_link_id

router = APIRouter(prefix="/viewer-links", tags=["viewer links"])
_MAX_BODY_BYTES: Final = 16 * 1024
_DEFAULT_LIFETIME: Final = 900
_MAX_LABEL: Final = 200
_PAGE: Final = 50
_LINK_ID: Final = re.compile(r"[0-9a-f]{32}")
_encode: Final = msgspec.json.Encoder().encode
_EXAMPLE: Final[dict[str, Any]] = example_of(NewViewerLinkOut)
_RECORD: Final = {name: value for name, value in _EXAMPLE.items() if name != "token"}
_BEFORE: Final[dict[str, Any]] = {
    "name": "before", "in": "query", "required": False, "description": "Links with ids below this one.",
    "schema": {"type": "string"},
}  # fmt: skip


@router.post(
    "",
    status_code=201,
    response_model=NewViewerLinkOut,
    summary="Make a viewer link",
    description="A token for embedding: it searches, reads and counts the events that `filter` finds, and no others, "
    "until it expires, is revoked, or the key that made it is. It reaches no other route.",
    responses={**answer(201, _EXAMPLE), **problems(400, 401, 403, 408, 413, 415, 503)},
    openapi_extra={**needs(Permission.READ), "requestBody": body_of(ViewerLinkIn)},
)
async def make_link(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    link = _link(access, await _body(request), instant.now_us())
    await state.backends.viewers.create(access.scope, link)
    body = _shown(link) | {"token": state.issuer.issue_viewer(link, access.claims.secret)}
    return Response(_encode(body), 201, UNPACKED, "application/json")


@router.get(
    "",
    response_model=ViewerLinksOut,
    summary="List viewer links",
    description="Newest first, 50 a page: who made each, with which filter. An admin sees all, a reader its own.",
    responses={**answer(200, {"data": [_RECORD], "next_before": None}), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.READ), "parameters": [_BEFORE]},
)
async def list_links(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    known_alone(request, "before")
    before = request.query_params.get("before")
    if before is not None and not _LINK_ID.fullmatch(before):
        fault = FieldError(("query", "before"), "must be a link's id", "parameter")
        raise InvalidQuery("before must be a link's id", errors=[fault])
    made_by = None if Permission.MANAGE in access.scope.permissions else access.scope.actor
    found = await state.backends.viewers.listing(access.scope, made_by=made_by, before=before, limit=_PAGE + 1)
    next_before = found[_PAGE - 1].id if len(found) > _PAGE else None
    body = {"data": [_shown(link) for link in found[:_PAGE]], "next_before": next_before}
    return Response(_encode(body), media_type="application/json")


@router.delete(
    "/{link_id}",
    status_code=204,
    summary="Revoke a viewer link",
    description="Its token ends within two seconds. An admin revokes any, a reader its own; again changes nothing.",
    responses={204: {"description": "Revoked"}, **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.READ),
)
async def revoke_link(request: Request, link_id: str) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    link = await state.backends.viewers.get(access.scope, link_id) if _LINK_ID.fullmatch(link_id) else None
    if link is None or (Permission.MANAGE not in access.scope.permissions and link.made_by != access.scope.actor):
        raise NotFound("no such viewer link")
    now = instant.now_us()
    await state.backends.control.revoke(link.id, now, expires_at=link.expires_at)
    await state.backends.viewers.revoked(access.scope, link.id, now)
    return Response(status_code=204)


async def _body(request: Request) -> dict[str, Any]:
    """The body, read as strictly as a query is."""
    if bodies.media_type(request) not in ("", "application/json"):
        raise Invalid("Content-Type must be application/json", code="unsupported_media_type")
    asked = read(await bodies.read(request, _MAX_BODY_BYTES))
    if not isinstance(asked, dict):
        raise _fault("body", "must be an object")
    for name in asked:
        if name not in ("filter", "expires_in", "label"):
            raise _fault(name, "is none of filter, expires_in, label", "unknown_parameter")
    return asked


def _link(access: Access, asked: dict[str, Any], now: int) -> ViewerLink:
    if "filter" not in asked:
        raise _fault("filter", "is required", "missing")
    # Times relative to now are those of this moment from here on.
    query = _filter(asked["filter"], now)
    check_filter(query)
    label = asked.get("label", "")
    if not isinstance(label, str) or isinstance(label, Number) or len(label) > _MAX_LABEL:
        raise _fault("label", f"must be a string of up to {_MAX_LABEL} characters")
    return ViewerLink(
        id=new_link_id(now),
        tenant_id=access.tenant.id,
        label=label,
        filter=query,
        written=_encode(plain(asked["filter"])),
        made_by=access.scope.actor,
        made_at=now,
        expires_at=now + _lifetime(asked.get("expires_in")) * 1_000_000,
    )


def _filter(written: Any, now: int) -> EventQuery:
    """The query of a filter's tree; its faults are named by their place in the body."""
    try:
        return parse_document({"query": written}, now).query
    except InvalidQuery as error:
        faults = [replace(fault, loc=("body", "filter", *fault.loc[1:])) for fault in error.errors]
        message = "filter" + error.message.removeprefix("query") if faults else error.message
        raise InvalidQuery(message, code=error.code, errors=faults) from None


def _lifetime(written: Any) -> int:
    if written is None:
        return _DEFAULT_LIFETIME
    # Digits beyond these nine would be read, and never bounded.
    if isinstance(written, Number) and written.isdigit() and len(written) <= 9 and 1 <= int(written) <= MAX_LIFETIME:
        return int(written)
    raise _fault("expires_in", f"must be a number of 1 to {MAX_LIFETIME} seconds")


def _shown(link: ViewerLink) -> dict[str, Any]:
    return {
        "id": link.id,
        "label": link.label,
        "filter": msgspec.Raw(link.written),
        "made_by": link.made_by,
        "made_at": instant.to_text(link.made_at),
        "expires_at": instant.to_text(link.expires_at),
        "revoked_at": None if link.revoked_at is None else instant.to_text(link.revoked_at),
    }


def _fault(name: str, message: str, kind: str = "parameter") -> InvalidQuery:
    return InvalidQuery(f"{name} {message}", errors=[FieldError(("body", name), message, kind)])
