"""The member `search` of a body that names events: what `POST /logs/search` takes, but for order and page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from core import instant
from core.errors import FieldError, InvalidQuery
from core.query import Page, parse_document

_FILTERS: Final = ("query", "from", "to", "received_from", "received_to")


def search_of(written: Any) -> Page:
    """What `search` asks for as of now; raises `InvalidQuery`, its faults' places those in the whole body."""
    if not isinstance(written, dict):
        raise _fault(("search",), "must be an object")
    for name in written:
        if name not in _FILTERS:
            raise _fault(("search", name), f"is none of {', '.join(_FILTERS)}", "unknown_parameter")
    try:
        return parse_document(written, instant.now_us())
    except InvalidQuery as error:
        error.errors = tuple(replace(each, loc=("search", *each.loc)) for each in error.errors)
        raise


def _fault(place: tuple[str | int, ...], message: str, kind: str = "parameter") -> InvalidQuery:
    return InvalidQuery(f"{'.'.join(map(str, place))} {message}", errors=[FieldError(place, message, kind)])
