"""The event catalogue: which actions a tenant knows, and what their events look like."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.paging import known_alone
from api.schemas.catalogue import CatalogueHeadOut, CatalogueIn, CatalogueOut, CatalogueVersionsOut
from api.schemas.events import EventIn
from api.state import State, state_of
from core import instant
from core.access import Permission
from core.catalogue import EMPTY, Action, Catalogue, Mode, check_actions, described
from core.errors import Conflict, FieldError, InvalidQuery, NotFound
from core.tenant import TenantScope

router = APIRouter(prefix="/catalogue", tags=["catalogue"])
MAX_CATALOGUE_BYTES: Final = 1024 * 1024
_PAGE: Final = 50
_encode: Final = msgspec.json.Encoder().encode
_EXAMPLE: Final[dict[str, Any]] = example_of(CatalogueOut)
_HEAD: Final = {name: value for name, value in _EXAMPLE.items() if name != "actions"}
_IF_MATCH: Final[dict[str, Any]] = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": 'The `ETag` of the version that was read, such as `"3"`: 412 when there is a newer one.',
    "schema": {"type": "string"},
}
_BEFORE: Final[dict[str, Any]] = {
    "name": "before",
    "in": "query",
    "required": False,
    "description": "Versions below this one.",
    "schema": {"type": "integer", "minimum": 1},
}


@router.get(
    "",
    response_model=CatalogueOut,
    summary="Read the event catalogue",
    description="The newest version. A tenant that never made one has version 0, mode `off`, no actions.",
    responses={**answer(200, _EXAMPLE), **problems(401, 403, 503)},
    openapi_extra=needs(Permission.CATALOGUE),
)
async def read_catalogue(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.CATALOGUE)
    return _answer(await _newest(state, access.scope))


@router.put(
    "",
    response_model=CatalogueOut,
    summary="Replace the event catalogue",
    description="Makes the next version, which holds for events sent two seconds later at the latest; the same "
    "catalogue again makes none. A schema describes a whole event as it is sent, in JSON Schema 2020-12; a `$ref` is a "
    "pointer into the same schema. Up to 500 actions, 32 KiB a schema, 1 MiB in all.",
    responses={**answer(200, _EXAMPLE), **problems(400, 401, 403, 408, 409, 412, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(CatalogueIn), "parameters": [_IF_MATCH]},
)
async def replace_catalogue(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    body = await read_body(request, CatalogueIn, MAX_CATALOGUE_BYTES)
    actions = {name: Action(name, each.schema_, each.description) for name, each in body.actions.items()}
    # In a thread: a catalogue of 1 MiB takes a quarter of a second to compile.
    await asyncio.to_thread(check_actions, actions)
    newest = await _newest(state, access.scope)
    _require_match(request, newest)
    made = Catalogue(newest.version + 1, Mode(body.mode), tuple(actions.values()), instant.now_us(), access.scope.actor)
    if (made.mode, made.actions) == (newest.mode, newest.actions):
        return _answer(newest)
    await state.backends.catalogues.put(access.scope, made)
    await state.catalogues.refresh()
    return _answer(made)


@router.get(
    "/versions",
    response_model=CatalogueVersionsOut,
    summary="List the catalogue's versions",
    description="Newest first, 50 a page: who changed it, and when.",
    responses={**answer(200, {"data": [_HEAD], "next_before": None}), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.CATALOGUE), "parameters": [_BEFORE]},
)
async def list_versions(request: Request) -> CatalogueVersionsOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.CATALOGUE)
    known_alone(request, "before")
    found = await state.backends.catalogues.versions(access.scope, before=_before(request), limit=_PAGE + 1)
    heads = [CatalogueHeadOut(**_head(each)) for each in found[:_PAGE]]
    return CatalogueVersionsOut(data=heads, next_before=found[_PAGE - 1].version if len(found) > _PAGE else None)


@router.get(
    "/versions/{version}",
    response_model=CatalogueOut,
    summary="Read one version of the catalogue",
    description="Versions never change and are never removed.",
    responses={**answer(200, _EXAMPLE), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.CATALOGUE),
)
async def read_version(request: Request, version: str) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.CATALOGUE)
    found = None
    if version.isascii() and version.isdigit() and len(version) < 10:
        found = await state.backends.catalogues.get(access.scope, int(version))
    if found is None:
        raise NotFound("no such version")
    return _answer(found)


@router.get(
    "/openapi.json",
    summary="The catalogue as OpenAPI",
    description="OpenAPI 3.1 for the tenant's own developers: `POST /logs` with one form for each action.",
    responses={
        **answer(200, described(EMPTY, {"type": "object"}, None)),
        **problems(401, 403, 503),
    },
    openapi_extra=needs(Permission.CATALOGUE),
)
async def describe_catalogue(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.CATALOGUE)
    catalogue = await _newest(state, access.scope)
    document = described(catalogue, EventIn.model_json_schema(), state.settings.public_url)
    return _json(document, catalogue.version)


async def _newest(state: State, scope: TenantScope) -> Catalogue:
    return await state.backends.catalogues.get(scope) or EMPTY


def _head(catalogue: Catalogue) -> dict[str, Any]:
    made = catalogue.version > 0
    return {
        "version": catalogue.version,
        "mode": catalogue.mode.value,
        "changed_at": instant.to_text(catalogue.changed_at) if made else None,
        "changed_by": catalogue.changed_by if made else None,
    }


def _answer(catalogue: Catalogue) -> Response:
    actions = {
        each.name: {"description": each.description} | ({} if each.schema is None else {"schema": each.schema})
        for each in catalogue.actions
    }
    return _json(_head(catalogue) | {"actions": actions}, catalogue.version)


def _json(body: dict[str, Any], version: int) -> Response:
    return Response(_encode(body), headers={"ETag": f'"{version}"'}, media_type="application/json")


def _require_match(request: Request, newest: Catalogue) -> None:
    asked = request.headers.get("if-match")
    if asked is not None and asked.strip() not in ("*", f'"{newest.version}"'):
        raise Conflict(f"the catalogue has version {newest.version} by now", code="precondition_failed")


def _before(request: Request) -> int | None:
    text = request.query_params.get("before")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        fault = FieldError(("query", "before"), "must be a version", "parameter")
        raise InvalidQuery("before must be a version", errors=[fault])
    return int(text)
