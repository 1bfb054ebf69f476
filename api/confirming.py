"""Calls that destroy: without their confirmation they only tell what they would do."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request

from core.errors import FieldError, InvalidQuery

DRY_RUN: Final[dict[str, Any]] = {
    "name": "dry_run",
    "in": "query",
    "required": False,
    "description": "Only `false` does it; else the answer tells what would be removed, and nothing is.",
    "schema": {"type": "boolean", "default": True},
}


def is_confirmed(request: Request) -> bool:
    """Whether `dry_run=false` is stated; raises `InvalidQuery` for any other parameter or value."""
    asked = request.query_params.multi_items()
    for name, value in asked:
        if name != "dry_run":
            raise _fault(name, "is not known here", "unknown_parameter")
        if value not in ("true", "false"):
            raise _fault(name, "must be true or false", "parameter")
    if len(asked) > 1:
        raise _fault("dry_run", "may be given once", "parameter")
    return asked == [("dry_run", "false")]


def _fault(name: str, message: str, kind: str) -> InvalidQuery:
    return InvalidQuery(f"{name} {message}", errors=[FieldError(("query", name), message, kind)])
