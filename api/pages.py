"""A page of events as every route that has one answers it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api import audit
from api.openapi import example_of
from api.schemas.events import EventOut
from core import instant
from core.projection import Projection
from core.search import Answer, Watermark

# A page of 1,000 large events is thinned in steps, between which others are served.
_STEP_BYTES: Final = 256 * 1024
_PARAMETERS: Final = "ocelot.parameters"
_encode: Final = msgspec.json.Encoder().encode
FOUND: Final[dict[str, Any]] = {
    "data": [example_of(EventOut)],
    "next_cursor": None,
    "total": 1,
    "total_relation": "exact",
    "watermark": {"complete_through": "2026-11-21T11:40:02.101933Z", "rebuilding": False},
    "answered_by": "index",
}


async def paged(answer: Answer, projection: Projection | None) -> Response:
    """The answer to a search; with a projection, its events are thinned to it."""
    audit.counted(len(answer.bodies), total=answer.total, total_exact=answer.total_exact)
    if projection is not None:
        answer = replace(answer, bodies=await _thinned(answer.bodies, projection))
    return Response(_page_json(answer), media_type="application/json")


def parameters_of(request: Request) -> list[tuple[str, str]]:
    """The URL's parameters that say what is asked, without what the answer is to look like."""
    return [(name, value) for name, value in _written(request) if name != "fields"]


def projection_of(request: Request) -> Projection | None:
    written = [value for name, value in _written(request) if name == "fields"]
    return Projection.parse(written) if written else None


def _written(request: Request) -> list[tuple[str, str]]:
    """The URL's parameters in their order, read once a request; the framework makes two tables of them as well."""
    found: list[tuple[str, str]] | None = request.scope.get(_PARAMETERS)
    if found is None:
        text = request.scope["query_string"].decode("latin-1")
        found = request.scope[_PARAMETERS] = parse_qsl(text, keep_blank_values=True)
    return found


def watermark_json(mark: Watermark) -> dict[str, Any]:
    through = mark.complete_through
    return {
        "complete_through": None if through is None else instant.to_text(through),
        "rebuilding": mark.rebuilding,
    }


async def _thinned(bodies: list[bytes], projection: Projection) -> list[bytes]:
    thinned: list[bytes] = []
    size = 0
    for body in bodies:
        thinned.append(projection.of(body))
        size += len(body)
        if size > _STEP_BYTES:
            size = 0
            await asyncio.sleep(0)
    return thinned


def _page_json(answer: Answer) -> bytes:
    """The page as JSON; the events' bytes go in as they are."""
    tail = _encode(
        {
            "next_cursor": answer.next_cursor,
            "total": answer.total,
            "total_relation": "exact" if answer.total_exact else "at_least",
            "watermark": watermark_json(answer.watermark),
            "answered_by": answer.answered_by,
        }
    )
    return b'{"data":[' + b",".join(answer.bodies) + b"]," + tail[1:]
