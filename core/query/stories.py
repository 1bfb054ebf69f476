"""The story of one trace or request: everything that names it, whichever source sent it, from its beginning on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from core.errors import FieldError, InvalidQuery
from core.query.model import Condition, EventQuery, Value
from core.query.page import Page, fingerprint
from core.query.parameters import parse

_PARAMETERS: Final = ("from", "to", "limit", "cursor")


def parse_story(field: str, value: str, parameters: Sequence[tuple[str, str]], now: int) -> Page:
    """A page of the events whose `field` is exactly `value`, the oldest first; raises `InvalidQuery`."""
    for name, _ in parameters:
        if name not in _PARAMETERS:
            message = f"is none of {', '.join(_PARAMETERS)}"
            raise InvalidQuery(f"{name} {message}", errors=[FieldError(("query", name), message, "unknown_parameter")])
    page = parse([*parameters, ("sort", "timestamp")], now)
    about = EventQuery(conditions=(Condition(field, (Value(value),)),))
    bounds = sorted((name, text) for name, text in parameters if name in ("from", "to"))
    return replace(page.restricted_to(about), fingerprint=fingerprint([field, value, bounds]))
