"""What one event changed."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from msgspec import Raw, UnsetType
from starlette.responses import Response

from api.conditional import conditional
from api.openapi import WAIT_PARAMETER, answer, needs, problems
from api.routes.logs import stored_event
from api.schemas.events import ChangesOut
from core.access import Permission
from core.changes import changed_paths
from core.event import decode_stored
from core.patch import patch
from core.ports import Stored

router = APIRouter(prefix="/logs", tags=["logs"])
# A state of 100 KB can take 50 ms to compare, and the others' requests are not to wait for that.
_IN_THREAD: Final = 8 * 1024
_encode: Final = msgspec.json.Encoder().encode
_CHANGES: Final[dict[str, Any]] = {
    "id": "01a1fdf2-d2cc-7e1f-94f5-0939230d076e",
    "changed_paths": ["/role", "/groups"],
    "patch": [
        {"op": "replace", "path": "/role", "value": "editor"},
        {"op": "add", "path": "/groups/2", "value": "finance"},
    ],
}


@router.get(
    "/{event_id}/changes",
    response_model=ChangesOut,
    summary="Read what one event changed",
    description="`patch` is RFC 6902: applied to `before_state` it makes `after_state`, a state that is not there "
    "counting as null. `changed_paths` are the JSON Pointers that search finds the event by: the members that were "
    "added, removed or changed, an array counting as one value; none unless both states are there.",
    responses={
        **answer(200, _CHANGES),
        304: {"description": "Not modified"},
        **problems(400, 401, 403, 404, 503),
    },
    openapi_extra={**needs(Permission.VIEW), "parameters": [WAIT_PARAMETER]},
)
async def read_changes(request: Request, event_id: str) -> Response:
    stored = await stored_event(request, event_id)
    if len(stored.body) > _IN_THREAD:
        return conditional(request, await asyncio.to_thread(_changes, stored))
    return conditional(request, _changes(stored))


def _changes(stored: Stored) -> bytes:
    event = decode_stored(stored.body)
    before, after = _state(event.before_state), _state(event.after_state)
    return _encode({"id": stored.id, "changed_paths": changed_paths(before, after), "patch": patch(before, after)})


def _state(raw: Raw | UnsetType) -> bytes | None:
    return None if isinstance(raw, UnsetType) else bytes(raw)
