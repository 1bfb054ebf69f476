"""Searching by a tree, and the stories of a trace and of a request."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from api import bodies
from api.openapi import FIELDS_PARAMETER, SEARCH_PARAMETERS, answer, body_of, needs, problems
from api.pages import FOUND, paged, parameters_of, projection_of
from api.schemas.events import SearchOut
from api.schemas.searches import SearchIn
from api.state import state_of
from core import instant, query
from core.access import Permission
from core.errors import FieldError, Invalid, InvalidQuery, NotFound

router = APIRouter(prefix="/logs", tags=["logs"])
MAX_BODY_BYTES: Final = 64 * 1024
_JSON: Final = "application/json"
_STORY: Final[dict[str, Any]] = {
    **needs(Permission.VIEW),
    "parameters": [p for p in SEARCH_PARAMETERS if p["name"] in ("from", "to", "limit", "cursor", "fields")],
}
_STORY_ANSWERS: Final = {**answer(200, FOUND), **problems(400, 401, 403, 404, 429, 503)}


@router.post(
    "/search",
    response_model=SearchOut,
    summary="Search events by a tree",
    description="What `GET /logs` does, for queries that a URL cannot carry: `and`, `or` and `not` over conditions, "
    "times and full text. The answer is the same; so are cursors, which go into the body.",
    responses={**answer(200, FOUND), **problems(400, 401, 403, 408, 413, 415, 429, 503)},
    openapi_extra={**needs(Permission.VIEW), "requestBody": body_of(SearchIn), "parameters": [FIELDS_PARAMETER]},
)
async def search_by_tree(request: Request) -> Response:
    access = await state_of(request).authenticator.tenant_access(request, Permission.VIEW)
    refuse_parameters(request)
    projection = projection_of(request)
    page = query.parse_body(await read_json(request), instant.now_us())
    return await paged(await state_of(request).search.page(access.scope, access.tenant, page), projection)


@router.get(
    "/trace/{trace_id:path}",
    response_model=SearchOut,
    summary="Read the story of a trace",
    description="Every event with this `trace_id`, from whichever source, the oldest first.",
    responses=_STORY_ANSWERS,
    openapi_extra=_STORY,
)
async def read_trace(request: Request, trace_id: str) -> Response:
    return await _story(request, "trace_id", trace_id)


@router.get(
    "/request/{request_id:path}",
    response_model=SearchOut,
    summary="Read the story of a request",
    description="Every event with this `request_id`, from whichever source, the oldest first.",
    responses=_STORY_ANSWERS,
    openapi_extra=_STORY,
)
async def read_request(request: Request, request_id: str) -> Response:
    return await _story(request, "request_id", request_id)


async def read_json(request: Request) -> bytes:
    """A query's body, within its bound."""
    if bodies.media_type(request) not in ("", _JSON):
        raise Invalid("Content-Type must be application/json", code="unsupported_media_type")
    return await bodies.read(request, MAX_BODY_BYTES)


def refuse_parameters(request: Request) -> None:
    """Raise when the URL asks for something: passed over in silence, a filter would have found too much."""
    for name, _ in parameters_of(request):
        fault = FieldError(("query", name), "belongs into the body", "unknown_parameter")
        raise InvalidQuery(f"{name} belongs into the body", errors=[fault])


async def _story(request: Request, field: str, value: str) -> Response:
    access = await state_of(request).authenticator.tenant_access(request, Permission.VIEW)
    if not value:
        raise NotFound("no such story")
    projection = projection_of(request)
    page = query.parse_story(field, value, parameters_of(request), instant.now_us())
    return await paged(await state_of(request).search.page(access.scope, access.tenant, page), projection)
