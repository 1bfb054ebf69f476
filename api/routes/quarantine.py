"""The quarantine: events at fault, kept for their tenant to put right, replay or discard."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import Access
from api.models import read_body
from api.openapi import answer, body_of, needs, problems
from api.paging import PAGING
from api.schemas.quarantine import (
    ITEM,
    SHOWN,
    ChangedOut,
    ChosenIn,
    DiscardIn,
    FixIn,
    QuarantineOut,
    ShownOut,
)
from api.state import State, state_of
from core import instant
from core.access import Permission
from core.errors import FieldError, Invalid, InvalidQuery, NotFound, OcelotError, Unavailable
from core.ingest import item_error
from core.ports.quarantine import Form, Match, Quarantined
from core.quarantine.keeping import replay_id
from core.quarantine.mapping import operations_of
from core.query.parameters import limit_of, parameter_fault, single_of

router = APIRouter(prefix="/quarantine", tags=["quarantine"])
_MAX_BODY_BYTES: Final = 256 * 1024
_AT_ONCE: Final = 1000
_RUN_BYTES: Final = 8 * 1024 * 1024
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CURSOR: Final = re.compile(r"(\d{1,18})\.([0-9a-f-]{36})")
_NAMES: Final = frozenset({"code", "field", "limit", "cursor"})
_encode: Final = msgspec.json.Encoder().encode
_DONE: Final = {"id": ITEM["id"], "status": "replayed", "event_id": "01a1fdf2-d2cc-7e1f-94f5-0939230d076e"}
_WRITES: Final = (400, 401, 403, 408, 413, 415, 422, 429, 503)
_FILTERS: Final[list[dict[str, Any]]] = [
    {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
    for name, text in (("code", "Items with this code."), ("field", "Items with a fault of this field."))
]


@router.get(
    "",
    response_model=QuarantineOut,
    summary="List the quarantine",
    description="Events that failed validation and were kept, and those whose key a stored event of other content has.",
    responses={**answer(200, {"data": [ITEM], "next_cursor": None, "total": 1}), **problems(400, 401, 403, 429, 503)},
    openapi_extra={**needs(Permission.READ), "parameters": [*_FILTERS, *PAGING]},
)
async def list_quarantine(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    match, limit, before = _asked(request)
    items = state.backends.quarantine
    found = await items.listing(access.scope, match, before=before, limit=limit + 1)
    last = found[limit - 1].kept if len(found) > limit else None
    body = {
        "data": [_shown(item) for item in found[:limit]],
        "next_cursor": None if last is None else f"{last.at}.{last.id}",
        "total": await items.count(access.scope, match),
    }
    return _answered(body)


@router.get(
    "/{item_id}",
    response_model=ShownOut,
    summary="Read an item of the quarantine",
    description="What is kept of the event, masked, and what it would be refused for now.",
    responses={**answer(200, SHOWN), **problems(401, 403, 404, 429, 503)},
    openapi_extra=needs(Permission.READ),
)
async def read_item(request: Request, item_id: str) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    found = await state.backends.quarantine.get(access.scope, [item_id]) if _ID.fullmatch(item_id) else {}
    if item_id not in found:
        raise NotFound("no such item")
    item = found[item_id]
    [fault] = await state.ingest.replays.faults(access.scope, [item])
    is_object = item.kept.form is not Form.OUTLINE
    whole = {
        "body": msgspec.Raw(item.kept.body) if is_object else None,
        "outline": None if is_object else item.kept.body.decode(),
        "fixed": None if item.fixed is None else msgspec.Raw(item.fixed),
        "fault": None if fault is None else item_error(fault),
    }
    return _answered(_shown(item) | whole)


@router.post(
    "/fix",
    response_model=ChangedOut,
    summary="Put items right by a mapping",
    description="Fields are renamed, moved, dropped or set in each item chosen; each answer says what it would "
    "still be refused for. What was sent stays beside it. Mappings add up; an empty one goes back to what was sent.",
    responses={
        **answer(200, {"items": [{"id": ITEM["id"], "status": "fixed", "error": None}], "left": 1}),
        **problems(*_WRITES),
    },
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(FixIn)},
)
async def fix(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    asked = await read_body(request, FixIn, _MAX_BODY_BYTES)
    operations = operations_of([each.model_dump() for each in asked.mapping])
    done, items = await _chosen(state, access, asked)
    for item in items:
        try:
            made = await state.ingest.replays.fixed(access.tenant, item, operations)
        except OcelotError as refusal:
            done[item.kept.id] = {"status": "refused", "error": item_error(refusal)}
            continue
        fixed = Quarantined(item.tenant_id, item.kept, made)
        [fault] = await state.ingest.replays.faults(access.scope, [fixed])
        kept = asked.dry_run or await state.backends.quarantine.fix(access.scope, item, made)
        told = {"fixed": msgspec.Raw(made)} if asked.dry_run else {}
        still = {} if fault is None else {"error": item_error(fault)}
        done[item.kept.id] = {"status": "fixed" if kept else "changed_meanwhile", **told, **still}
    return await _changed(state, access, asked, done)


@router.post(
    "/replay",
    response_model=ChangedOut,
    summary="Replay items",
    description="Each is sent as its event would be today, through every check; once it is durable it leaves the "
    "quarantine. Under the key that it was sent with, or else one of its own: however often it is replayed, it is "
    "stored once. An event without a time gets that of its first sending.",
    responses={**answer(200, {"items": [_DONE], "left": 0}), **problems(*_WRITES)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(ChosenIn)},
)
async def replay(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    asked = await read_body(request, ChosenIn, _MAX_BODY_BYTES)
    done, items = await _chosen(state, access, asked)
    for some in _runs(items):
        results = await state.ingest.replays.replay(access.scope, access.tenant, some)
        replayed = [item.kept.id for item, error in zip(some, results, strict=True) if error is None]
        await state.backends.quarantine.remove(access.scope, replayed)
        for item, error in zip(some, results, strict=True):
            if error is None:
                done[item.kept.id] = {"status": "replayed", "event_id": replay_id(access.tenant, item.kept)}
            else:
                status = "retry" if isinstance(error, Unavailable) else "refused"
                done[item.kept.id] = {"status": status, "error": item_error(error)}
    return await _changed(state, access, asked, done)


@router.post(
    "/discard",
    response_model=ChangedOut,
    summary="Discard items",
    description="Deletes them for good. Without `dry_run: false` nothing is deleted.",
    responses={
        **answer(200, {"items": [{"id": ITEM["id"], "status": "would_be_discarded"}], "left": 1}),
        **problems(*_WRITES),
    },
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(DiscardIn)},
)
async def discard(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    asked = await read_body(request, DiscardIn, _MAX_BODY_BYTES)
    done, items = await _chosen(state, access, asked)
    chosen = [item.kept.id for item in items]
    if not asked.dry_run:
        await state.backends.quarantine.remove(access.scope, chosen)
    status = "would_be_discarded" if asked.dry_run else "discarded"
    done |= {item_id: {"status": status} for item_id in chosen}
    return await _changed(state, access, asked, done)


async def _chosen(state: State, access: Access, asked: ChosenIn) -> tuple[dict[str, dict[str, Any]], list[Quarantined]]:
    """The items that a body chooses, and by id what is to be said of each: of those that are not there, that."""
    if (asked.ids is None) == (asked.match is None):
        message = "give either ids or match"
        fault = FieldError(("body", "ids"), message, "value")
        raise Invalid(f"ids: {message}", code="invalid_request", errors=[fault])
    if asked.ids is None:
        items = await state.backends.quarantine.listing(access.scope, _match(asked), before=None, limit=_AT_ONCE)
        return {item.kept.id: {} for item in items}, items
    found = await state.backends.quarantine.get(access.scope, [each for each in asked.ids if _ID.fullmatch(each)])
    return {each: {"status": "not_found"} for each in asked.ids}, list(found.values())


async def _changed(state: State, access: Access, asked: ChosenIn, done: dict[str, dict[str, Any]]) -> Response:
    left = None if asked.match is None else await state.backends.quarantine.count(access.scope, _match(asked))
    return _answered({"items": [{"id": item_id, **what} for item_id, what in done.items()], "left": left})


def _match(asked: ChosenIn) -> Match:
    return Match() if asked.match is None else Match(asked.match.code, asked.match.field)


def _runs(items: Sequence[Quarantined]) -> list[list[Quarantined]]:
    """Runs of items whose bodies are of some MiB together."""
    runs: list[list[Quarantined]] = []
    size = _RUN_BYTES
    for item in items:
        size += len(item.body)
        if size > _RUN_BYTES:
            runs.append([])
            size = len(item.body)
        runs[-1].append(item)
    return runs


def _asked(request: Request) -> tuple[Match, int, tuple[int, str] | None]:
    parameters = request.query_params.multi_items()
    for name, _ in parameters:
        if name not in _NAMES:
            raise parameter_fault(name, "is none of code, field, limit, cursor", "unknown_parameter")
    single = single_of(parameters, _NAMES)
    before = None
    if (written := single.get("cursor")) is not None:
        place = _CURSOR.fullmatch(written)
        if place is None:
            fault = FieldError(("query", "cursor"), "is not one of this list's", "bad_cursor")
            raise InvalidQuery("the cursor is not one of this list's", code="bad_cursor", errors=[fault])
        before = int(place[1]), place[2]
    return Match(single.get("code"), single.get("field")), limit_of(single.get("limit")), before


def _shown(item: Quarantined) -> dict[str, Any]:
    kept = item.kept
    return {
        "id": kept.id,
        "quarantined_at": instant.to_text(kept.at),
        "code": kept.code,
        "fields": kept.fields,
        "form": kept.form.value,
        "size": kept.size,
        "sha256": kept.sha256,
        "cut": kept.cut,
        "conflicts_with": kept.conflicts_with,
        "revision": item.revision,
    }


def _answered(body: dict[str, Any]) -> Response:
    return Response(_encode(body), media_type="application/json")
