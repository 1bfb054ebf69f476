"""Saved searches: keeping queries by name, and running them."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import audit
from api.auth import Access
from api.openapi import FIELDS_PARAMETER, answer, body_of, needs, problems
from api.pages import FOUND, paged, parameters_of, projection_of
from api.paging import PAGING, paging_of
from api.routes.searching import read_json
from api.schemas.events import SearchOut
from api.schemas.searches import SEARCH, SavedSearchesOut, SavedSearchIn, SavedSearchOut
from api.state import State, state_of
from core import instant, searches
from core.access import Permission
from core.errors import NotFound
from core.ports import SavedSearch
from core.searches import Searches

router = APIRouter(prefix="/searches", tags=["searches"])
_JSON: Final = "application/json"
_SEARCH_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_encode: Final = msgspec.json.Encoder().encode
_WRITES: Final = (400, 401, 403, 404, 408, 413, 415, 422, 503)


@router.get(
    "",
    response_model=SavedSearchesOut,
    summary="List the saved searches",
    description="All of the tenant, whoever made them, the newest first.",
    responses={**answer(200, {"data": [SEARCH], "next_cursor": None, "total": 1}), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.READ), "parameters": PAGING},
)
async def list_searches(request: Request) -> Response:
    state, access = await _access(request)
    limit, before = paging_of(request, _SEARCH_ID)
    saved = state.backends.searches
    found = await saved.listing(access.scope, before=before, limit=limit + 1)
    body = {
        "data": [_out(search) for search in found[:limit]],
        "next_cursor": found[limit - 1].id if len(found) > limit else None,
        "total": await saved.count(access.scope),
    }
    return Response(_encode(body), media_type=_JSON)


@router.post(
    "",
    status_code=201,
    response_model=SavedSearchOut,
    summary="Save a search",
    description="The query is checked, and kept as it is written: `-24h` means the day before each run.",
    responses={**answer(201, SEARCH), **problems(400, 401, 403, 408, 409, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.READ), "requestBody": body_of(SavedSearchIn)},
)
async def save_search(request: Request) -> Response:
    state, access = await _access(request)
    draft = searches.draft_of(await read_json(request))
    search = await Searches(state.backends.searches).add(access.scope, draft)
    return Response(_encode(_out(search)), 201, {"Location": f"{request.url.path}/{search.id}"}, _JSON)


@router.get(
    "/{search_id}",
    response_model=SavedSearchOut,
    summary="Read a saved search",
    responses={**answer(200, SEARCH), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.READ),
)
async def read_search(request: Request, search_id: str) -> Response:
    state, access = await _access(request)
    return Response(_encode(_out(await _find(state, access, search_id))), media_type=_JSON)


@router.put(
    "/{search_id}",
    response_model=SavedSearchOut,
    summary="Change a saved search",
    description="Replaces its name and query. Its owner may, and the tenant's administrators.",
    responses={**answer(200, SEARCH), **problems(*_WRITES)},
    openapi_extra={**needs(Permission.READ), "requestBody": body_of(SavedSearchIn)},
)
async def change_search(request: Request, search_id: str) -> Response:
    state, access = await _access(request)
    draft = searches.draft_of(await read_json(request))
    changed = await Searches(state.backends.searches).change(access.scope, _known(search_id), draft)
    return Response(_encode(_out(changed)), media_type=_JSON)


@router.delete(
    "/{search_id}",
    status_code=204,
    summary="Delete a saved search",
    description="Its owner may, and the tenant's administrators.",
    responses={204: {"description": "Deleted"}, **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.READ),
)
async def delete_search(request: Request, search_id: str) -> Response:
    state, access = await _access(request)
    await Searches(state.backends.searches).remove(access.scope, _known(search_id))
    return Response(status_code=204)


@router.get(
    "/{search_id}/results",
    response_model=SearchOut,
    summary="Run a saved search",
    description="A page of the events that the search finds now. A cursor is good as long as the query stays the same.",
    responses={**answer(200, FOUND), **problems(400, 401, 403, 404, 429, 503)},
    openapi_extra={**needs(Permission.READ), "parameters": [*PAGING, FIELDS_PARAMETER]},
)
async def run_search(request: Request, search_id: str) -> Response:
    state, access = await _access(request)
    projection = projection_of(request)
    search = await _find(state, access, search_id)
    audit.asked(b'{"search":%b}' % search.query.encode())
    page = searches.page_of(search, parameters_of(request), instant.now_us())
    return await paged(await state.search.page(access.scope, access.tenant, page), projection)


async def _access(request: Request) -> tuple[State, Access]:
    state = state_of(request)
    return state, await state.authenticator.tenant_access(request, Permission.READ)


async def _find(state: State, access: Access, search_id: str) -> SavedSearch:
    return await Searches(state.backends.searches).find(access.scope, _known(search_id))


def _known(search_id: str) -> str:
    """The id, where it can be one."""
    if not _SEARCH_ID.fullmatch(search_id):
        raise NotFound("no such search")
    return search_id


def _out(search: SavedSearch) -> dict[str, Any]:
    return {
        "id": search.id,
        "name": search.name,
        "query": msgspec.Raw(search.query.encode()),
        "owner": search.owner,
        "created_at": instant.to_text(search.created_at),
        "updated_at": instant.to_text(search.updated_at),
    }
