"""Lists by id: `limit`, and a `cursor` that is the last id of the page before."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.requests import Request

from api.openapi import SEARCH_PARAMETERS
from core.errors import FieldError, InvalidQuery
from core.query import parse

PAGING: Final[list[dict[str, Any]]] = [p for p in SEARCH_PARAMETERS if p["name"] in ("limit", "cursor")]


def paging_of(request: Request, ids: re.Pattern[str]) -> tuple[int, str | None]:
    """`limit`, and the id, one of the form `ids`, that the list goes on below; raises `InvalidQuery`."""
    known_alone(request, "limit", "cursor")
    asked = parse(request.query_params.multi_items(), 0)
    if asked.cursor is not None and not ids.fullmatch(asked.cursor):
        fault = FieldError(("query", "cursor"), "is not one of this list's", "bad_cursor")
        raise InvalidQuery("the cursor is not one of this list's", code="bad_cursor", errors=[fault])
    return asked.limit, asked.cursor


def known_alone(request: Request, *names: str) -> None:
    """Raise `InvalidQuery` for a parameter of another name: one that is passed over looks as if it were obeyed."""
    for name in request.query_params:
        if name not in names:
            message = f"is none of {', '.join(names)}"
            raise InvalidQuery(f"{name} {message}", errors=[FieldError(("query", name), message, "unknown_parameter")])
