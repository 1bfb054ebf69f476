"""`GET /logs/export`: a whole answer as one streamed file."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.auth import Access
from api.exports import StreamedFile, encoded, released_on_error
from api.openapi import SEARCH_PARAMETERS, example_of, needs, problems
from api.schemas.events import EventOut
from api.state import State, state_of
from core import cursor, instant, query
from core.access import Permission
from core.errors import FieldError, InvalidQuery
from core.export.formats import FORMATS, Format
from core.export.naming import file_name
from core.ports import Drained
from core.query import EventQuery, Page, Position

router = APIRouter(prefix="/logs", tags=["exports"])
CURSOR: Final = "X-Ocelot-Cursor"
BEFORE: Final = "X-Ocelot-Received-Before"
_OWN: Final = ("format", "after")
_REFUSED: Final = dict.fromkeys(("sort", "limit"), "an export is whole and oldest first") | {
    "fields": "an export holds whole events"
}
_EVENT_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LINE: Final = msgspec.json.encode(example_of(EventOut)).decode() + "\n"
_EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "ndjson": {"schema": {"type": "string"}, "example": _LINE},
    "json": {"schema": {"type": "array"}, "example": [example_of(EventOut)]},
    "csv": {
        "schema": {"type": "string"},
        "example": "id,tenant_id,timestamp,received_at,action\r\n"
        "0193b2c5-7f1e-7000-8000-0123456789ab,acme0001,2026-11-21T11:40:00.000000Z,2026-11-21T11:40:01.000000Z,user.login\r\n",
    },
    "parquet": {"schema": {"type": "string", "format": "binary"}},
}


def _parameter(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


PARAMETERS: Final = [
    _parameter("format", "What the file is.", {"type": "string", "enum": [*FORMATS], "default": "ndjson"}),
    _parameter("cursor", f"`{CURSOR}` of an export that broke off; the filters must be the same.", {"type": "string"}),
    _parameter("after", "The id of the last whole event that arrived: the file goes on after it.", {"type": "string"}),
    *(p for p in SEARCH_PARAMETERS if p["name"] != "cursor" and p["name"] not in _REFUSED),
]  # fmt: skip
_HEADERS: Final = {
    CURSOR: {"description": "For going on after a broken transfer, with `after`.", "schema": {"type": "string"}},
    BEFORE: {"description": "The export holds all that was received before this.", "schema": {"type": "string"}},
    "Content-Disposition": {"description": "The file's name: tenant and range.", "schema": {"type": "string"}},
}
_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file, in chunks. It is whole only if the transfer ends well.",
        "headers": _HEADERS,
        "content": {made.media_type: _EXAMPLES[made.name] for made in FORMATS.values()},
    }
}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What an export reads: a complete query, from where on, and the cursor that goes on with it."""

    query: EventQuery
    after: Position | None
    cursor: str


@router.get(
    "/export",
    response_class=Response,
    summary="Export events",
    description="Every event that the filters of `GET /logs` find, oldest first by `received_at`, as one streamed file "
    "of any length. An export that broke off goes on with `cursor` and `after`.",
    responses={**_ANSWER, **problems(400, 401, 403, 429, 503)},
    openapi_extra={**needs(Permission.VIEW), "parameters": PARAMETERS},
)
async def export_events(request: Request) -> Response:
    asked_at = instant.now_us()  # before it is on record, or it would wait for its own record to be stored
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.VIEW)
    form = format_of(request.query_params.getlist("format"))
    release = state.export_slots.take(access.tenant.id)
    with released_on_error(release):
        asked = await _asked(state, request, access, form, asked_at)
        batches = await _primed(state.exports.batches(access.scope, asked.query, asked.after))
        encoder = await asyncio.to_thread(form.resumed if asked.after and form.resumed else form.fresh)
        headers = {
            "Content-Type": form.media_type,
            "Content-Disposition": f'attachment; filename="{file_name(access.tenant, asked.query, form.name)}"',
            BEFORE: instant.to_text(asked.query.received_at.end or 0),
            **({CURSOR: asked.cursor} if form.resumed else {}),
        }
        data = encoded(batches, encoder, threaded=form.threaded)
        return StreamedFile(
            data,
            headers,
            check=lambda: state.authenticator.recheck(request, access, Permission.VIEW),
            release=release,
        )


def format_of(written: list[str]) -> Format:
    """The format that is named once or not at all."""
    found = FORMATS.get(written[0]) if len(written) == 1 else None if written else FORMATS["ndjson"]
    if found is None:
        raise fault("format", f"must be one of {', '.join(FORMATS)}")
    return found


def fault(parameter: str, message: str, kind: str = "parameter") -> InvalidQuery:
    return InvalidQuery(f"{parameter} {message}", errors=[FieldError(("query", parameter), message, kind)])


async def _asked(state: State, request: Request, access: Access, form: Format, asked_at: int) -> _Asked:
    parameters = request.query_params.multi_items()
    for name, _ in parameters:
        if name in _REFUSED:
            raise fault(name, f"is no parameter of an export: {_REFUSED[name]}", "unknown_parameter")
    page = query.parse([(k, v) for k, v in parameters if k not in _OWN], asked_at)
    # Of its own kind: a page's cursor is no export's.
    page = msgspec.structs.replace(page, fingerprint=query.fingerprint(["export", page.fingerprint.hex()]))
    after = request.query_params.getlist("after")
    if page.cursor is None:
        if after:
            raise fault("after", "needs the cursor of the export that it goes on with")
        whole = await state.exports.bounded(access.scope, access.tenant, page.query, asked_at=asked_at)
        return _Asked(whole, None, _sealed(access, page, whole))
    if form.resumed is None:
        raise fault("cursor", f"goes on with no {form.name} file: begin again, or make the export a job")
    begun, place = cursor.open_(access.tenant, page)
    assert place is not None  # noqa: S101 - it has a cursor
    whole = await state.exports.until(access.scope, access.tenant, begun.query, place.us)
    return _Asked(whole, await _position(state, access, after), _sealed(access, begun, whole))


def _sealed(access: Access, page: Page, whole: EventQuery) -> str:
    """The cursor keeps where the export ends; where it goes on is told by `after`, which no broken transfer loses."""
    return cursor.seal(access.tenant, page, Position(whole.received_at.end or 0, ""))


async def _position(state: State, access: Access, after: list[str]) -> Position | None:
    if not after:
        return None
    if len(after) == 1 and _EVENT_ID.fullmatch(after[0]):
        stored = await state.backends.store.get(access.scope, after[0])
        if stored is not None:
            return Position(stored.received_at, stored.id)
    raise fault("after", "must be the id of an event of the export")


async def _primed(batches: AsyncGenerator[Drained, None]) -> AsyncGenerator[Drained, None]:
    """The same batches with the first one read, so that what is wrong from the start is answered as an error."""
    first = await anext(batches, None)

    async def all_of_them() -> AsyncGenerator[Drained, None]:
        try:
            if first is not None:
                yield first
            async for batch in batches:
                yield batch
        finally:
            await batches.aclose()

    return all_of_them()
