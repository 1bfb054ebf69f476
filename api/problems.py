"""Errors as RFC 9457 problem+json: a stable `code`, the request's id, and for bad input each fault's place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OcelotError,
    Overloaded,
    QuotaExceeded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

MEDIA_TYPE: Final = "application/problem+json"
TITLES: Final = {
    400: "Bad request",
    401: "Not authenticated",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    416: "No such range",
    422: "Not valid",
    429: "Too many requests",
    431: "Head too large",
    503: "Not available now",
}
_STATUS: Final[tuple[tuple[type[OcelotError], int], ...]] = (
    (Invalid, 400),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (Overloaded, 429),
    (Unavailable, 503),
)
_STATUS_OF_CODE: Final = {
    "bad_range": 416,
    "body_timeout": 408,
    "unsupported_media_type": 415,
    "unsupported_encoding": 415,
    "event_too_large": 413,
    "invalid_event": 422,
    "bad_catalogue": 422,
    "precondition_failed": 412,
    "hold_matches_nothing": 422,
    "invalid_request": 422,
    "too_deep": 422,
    "key_conflict": 409,
}


def status_of(error: OcelotError) -> int:
    """The HTTP status of an error: by its code, else by its class."""
    by_class = next((status for kind, status in _STATUS if isinstance(error, kind)), 503)
    return _STATUS_OF_CODE.get(error.code, by_class)


def problem(
    status: int,
    code: str,
    detail: str,
    request_id: str,
    *,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem+json answer."""
    body = {
        "type": f"urn:ocelot:problem:{code}",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **(extra or {}),
    }
    return Response(msgspec.json.encode(body), status, dict(headers or {}), MEDIA_TYPE)


def problem_of(error: Exception, request_id: str, *, extra: Mapping[str, Any] | None = None) -> Response:
    """The answer to an error; one that nobody foresaw says nothing but that it may be tried again.

    `extra` are more members of it.
    """
    if not isinstance(error, OcelotError):
        return problem(503, "internal", "something went wrong; try again", request_id, headers={"Retry-After": "2"})
    status = status_of(error)
    headers = {}
    if isinstance(error, Overloaded | Unavailable):
        headers["Retry-After"] = str(error.retry_after)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="ocelot"'
    more: dict[str, Any] = dict(extra or {})
    if error.errors:
        more["errors"] = [msgspec.to_builtins(fault) for fault in error.errors]
    if isinstance(error, QuotaExceeded):
        more["violated-policies"] = error.policies  # as draft-ietf-httpapi-ratelimit-headers has it
    detail = error.public if isinstance(error, Unavailable) else error.message
    return problem(status, error.code, detail, request_id, extra=more, headers=headers)
