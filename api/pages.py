"""A page of events as every route that has one answers it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from api.openapi import example_of
from api.schemas.events import EventOut
from core import instant
from core.search import Answer

_encode: Final = msgspec.json.Encoder().encode
FOUND: Final[dict[str, Any]] = {
    "data": [example_of(EventOut)],
    "next_cursor": None,
    "total": 1,
    "total_relation": "exact",
    "watermark": {"complete_through": "2026-11-21T11:40:02.101933Z", "rebuilding": False},
    "answered_by": "index",
}


def page_json(answer: Answer) -> bytes:
    """The page as JSON; the events' bytes go in as they are."""
    mark = answer.watermark
    tail = _encode(
        {
            "next_cursor": answer.next_cursor,
            "total": answer.total,
            "total_relation": "exact" if answer.total_exact else "at_least",
            "watermark": {
                "complete_through": None if mark.complete_through is None else instant.to_text(mark.complete_through),
                "rebuilding": mark.rebuilding,
            },
            "answered_by": answer.answered_by,
        }
    )
    return b'{"data":[' + b",".join(answer.bodies) + b"]," + tail[1:]
