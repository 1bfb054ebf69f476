"""Sending and reading events."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import bodies
from api.auth import Access, use_of
from api.conditional import conditional
from api.openapi import (
    FIELDS_PARAMETER,
    MAX_WAIT,
    SEARCH_PARAMETERS,
    WAIT_PARAMETER,
    answer,
    body_of,
    example_of,
    needs,
    problems,
)
from api.pages import FOUND, paged, parameters_of, projection_of
from api.problems import MEDIA_TYPE, TITLES
from api.schemas.events import Accepted, BulkEventIn, BulkOut, EventIn, EventOut, SearchOut
from api.state import State, state_of
from core import instant, query, telemetry
from core.access import Permission
from core.bulk import Bulk
from core.errors import FieldError, Invalid, InvalidEvent, InvalidQuery, NotFound, OcelotError, Unavailable
from core.event_faults import no_utf8
from core.ingest import ItemResult
from core.limits import BulkUse
from core.ports import Stored

router = APIRouter(prefix="/logs", tags=["logs"])
_JSON: Final = "application/json"
_EVENT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_encode: Final = msgspec.json.Encoder().encode
_EVENT: Final = example_of(EventOut)
_RESULTS: Final[dict[str, Any]] = {
    "accepted": 1,
    "refused": 1,
    "retry": 0,
    "items": [
        {"index": 0, "status": "accepted", "id": _EVENT["id"]},
        {
            "index": 1,
            "status": "refused",
            "error": {
                "code": "invalid_event",
                "message": "Object missing required field `action`",
                "errors": [
                    {"loc": ["action"], "msg": "Object missing required field `action`", "type": "missing"},
                ],
            },
        },
    ],
}
_KEY_HEADER: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A retry with the same key and content is stored once.",
    "schema": {"type": "string", "maxLength": 255},
}


@router.post(
    "",
    status_code=202,
    response_model=Accepted,
    summary="Send one event",
    description="Answers when the event is durable in the queue; it is stored and searchable within a second or two.",
    responses={**answer(202, {"id": _EVENT["id"]}), **problems(400, 401, 403, 408, 413, 415, 422, 429, 503)},
    openapi_extra={**needs(Permission.WRITE), "requestBody": body_of(EventIn), "parameters": [_KEY_HEADER]},
)
async def send_event(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.WRITE)
    use = use_of(request)
    size = bodies.declared_size(request, state.settings.max_body_bytes)
    with state.admission.admit(access.tenant.id, size):
        _require_json(request)
        body = await bodies.unpacked(request, state.settings.max_body_bytes)
        key = _key(request)
        taken = use.take(1, len(body))
        try:
            result = await _taken(state, access, body, key)
        except Exception as error:
            use.give_back(taken, 1, len(body))
            if isinstance(error, OcelotError):
                telemetry.EVENTS.labels("retry" if isinstance(error, Unavailable) else "refused").inc()
            raise
    telemetry.EVENTS.labels(result.status).inc()
    told: dict[str, Any] = {"id": result.id}
    if result.error is not None:
        told |= {"status": result.status, "error": result.error}
    if result.warning is not None:
        told["warning"] = result.warning
    return Response(_encode(told), 202, media_type=_JSON)


async def _taken(state: State, access: Access, body: bytes, key: str | None) -> ItemResult:
    """Taken as an event, or into the quarantine of a tenant that has chosen so; raises what is wrong."""
    try:
        if not bodies.is_utf8(body):
            raise no_utf8(body)
        return await state.ingest.one(access.scope, access.tenant, body, key)
    except InvalidEvent as fault:
        return await state.ingest.refused(access.tenant, body, key, fault)


@router.post(
    "/bulk",
    status_code=202,
    response_model=BulkOut,
    summary="Send many events",
    description="Up to 10,000 events or 16 MiB unpacked: a JSON array, an object with `events`, or NDJSON; gzip and "
    "zstd by `Content-Encoding`. Each event is taken or refused on its own merits. 202: at least one was accepted; "
    "422: all were refused; 503: none could be queued. Send those with the status `retry` again.",
    responses={**answer(202, _RESULTS), **problems(400, 401, 403, 408, 413, 415, 422, 429, 503)},
    openapi_extra={**needs(Permission.WRITE), "requestBody": body_of(BulkEventIn, many=True)},
)
async def send_events(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.WRITE)
    use = use_of(request)
    use.check()  # a body that there is no room for is not read
    size = bodies.declared_size(request, state.settings.max_body_bytes)
    with state.admission.admit(access.tenant.id, size) as known:
        form = bodies.form_of(request)
        body = await bodies.unpacked(request, state.settings.max_body_bytes)
        known(len(body))  # one that came packed was held as the largest
        bulk = Bulk(body, form, bodies.is_utf8(body))
        used = BulkUse(use, len(body))
        try:
            results = await state.ingest.many(access.scope, access.tenant, bulk, used.take)
        except Exception:
            used.give_all_back()
            raise
        _give_back(used, bulk, results)
    return _bulk_answer(results)


@router.get(
    "",
    response_model=SearchOut,
    summary="Search events",
    description="Filters on every named field: repeat one for or, begin a value with `!` for not, end it with `*` for "
    "a prefix. `metadata.<path>`, `before_state.<path>` and `after_state.<path>` filter by free-form values.",
    responses={**answer(200, FOUND), **problems(400, 401, 403, 429, 503)},
    openapi_extra={**needs(Permission.VIEW), "parameters": SEARCH_PARAMETERS},
)
async def search_events(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.VIEW)
    projection = projection_of(request)
    page = query.parse(parameters_of(request), instant.now_us())
    return await paged(await state.search.page(access.scope, access.tenant, page), projection)


@router.get(
    "/{event_id}",
    response_model=EventOut,
    summary="Read one event",
    description="The event's exact stored bytes, or with `fields` some of them; `ETag` is the answer's SHA-256.",
    responses={
        **answer(200, _EVENT),
        304: {"description": "Not modified"},
        **problems(400, 401, 403, 404, 503),
    },
    openapi_extra={**needs(Permission.VIEW), "parameters": [WAIT_PARAMETER, FIELDS_PARAMETER]},
)
async def read_event(request: Request, event_id: str) -> Response:
    stored = await stored_event(request, event_id)
    projection = projection_of(request)
    if projection is None:
        return conditional(request, stored.body, stored.hash)
    return conditional(request, projection.of(stored.body))


async def stored_event(request: Request, event_id: str) -> Stored:
    """The event that the request names, for a caller who may read it; raises `NotFound`."""
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.VIEW)
    if not _EVENT_ID.fullmatch(event_id):
        raise NotFound("no such event")
    stored = await state.search.event(access.scope, event_id, _wait(request))
    if stored is None:
        raise NotFound("no such event")
    return stored


def _key(request: Request) -> str | None:
    """The `Idempotency-Key` read as UTF-8, so that it is the same key as in a bulk; the framework reads Latin-1."""
    written = request.headers.get("idempotency-key")
    if written is None or written.isascii():
        return written
    try:
        return written.encode("latin-1").decode()
    except UnicodeDecodeError:
        fault = FieldError(("idempotency_key",), "is not UTF-8", "encoding")
        raise InvalidEvent("idempotency_key: is not UTF-8", errors=[fault]) from None


def _require_json(request: Request) -> None:
    if bodies.media_type(request) not in ("", _JSON):
        raise Invalid("Content-Type must be application/json", code="unsupported_media_type")


def _give_back(used: BulkUse, bulk: Bulk, results: list[ItemResult]) -> None:
    """Return the use of the events that were not accepted."""
    left_out = [result.index for result in results if result.status in ("refused", "retry")]
    if len(left_out) == len(results):
        used.give_all_back()
    elif left_out:
        items = bulk.items()
        used.give_back(len(left_out), sum(len(items[place]) for place in left_out))


def _bulk_answer(results: list[ItemResult]) -> Response:
    counts = {"accepted": 0, "refused": 0, "retry": 0} | Counter([result.status for result in results])
    for name, count in counts.items():
        if count:
            telemetry.EVENTS.labels(name).inc(count)
    quarantined = counts.pop("quarantined", 0)
    body: dict[str, Any] = counts | ({"quarantined": quarantined} if quarantined else {}) | {"items": results}
    if counts["accepted"] or quarantined:
        return Response(_encode(body), 202, media_type=_JSON)
    status, code = (503, "dependency_unavailable") if counts["retry"] else (422, "all_refused")
    detail = "none could be queued; try again" if counts["retry"] else "every event was refused"
    body |= {
        "type": f"urn:ocelot:problem:{code}",
        "title": TITLES[status],
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": telemetry.request_id.get(),
    }
    headers = {"Retry-After": "2"} if counts["retry"] else {}
    return Response(_encode(body), status, headers, MEDIA_TYPE)


def _wait(request: Request) -> float:
    text = request.query_params.get("wait", "0")
    try:
        wait = float(text)
        if not 0 <= wait <= MAX_WAIT:
            raise ValueError
    except ValueError:
        message = f"must be 0 to {MAX_WAIT:.0f} seconds"
        fault = FieldError(("query", "wait"), message, "parameter")
        raise InvalidQuery(f"wait {message}", errors=[fault]) from None
    return wait
