"""OAuth 2's token endpoint (RFC 6749): reading a client's request, and errors in the form that its clients know."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from api import bodies
from api.problems import problem_of, status_of
from core import telemetry
from core.errors import Invalid, OcelotError, Unauthenticated

MAX_BODY_BYTES: Final = 16 * 1024
GRANT: Final = "client_credentials"
_FIELDS: Final = 16
_ERRORS: Final = {
    "invalid_client": "invalid_client",
    "address_not_allowed": "unauthorized_client",
    "unsupported_grant_type": "unsupported_grant_type",
    "invalid_scope": "invalid_scope",
    "tenant_gone": "invalid_client",
    "tenant_suspended": "unauthorized_client",
}
"""RFC 6749's word for a code; for the others it goes by the status."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A client's request for a token."""

    client_id: str
    client_secret: str
    scope: frozenset[str] | None
    """The roles wanted; None: all that the key has."""


async def grant_of(request: Request) -> Grant:
    """The request's grant; raises `Invalid` or `Unauthenticated`."""
    body = await bodies.read(request, MAX_BODY_BYTES)
    # A parameter without a value counts as left out (section 3.1).
    form = {name: value for name, value in _form(bodies.media_type(request), body).items() if value}
    kind = form.get("grant_type")
    if kind is None:
        raise Invalid("grant_type is missing", code="malformed_form")
    if kind != GRANT:
        raise Invalid(f"grant_type must be {GRANT}", code="unsupported_grant_type")
    client_id, client_secret = _client(request, form)
    scope = form.get("scope")
    return Grant(client_id, client_secret, None if scope is None else frozenset(scope.split()))


def refusal(request: Request, error: OcelotError) -> Response:
    """The answer to an error: RFC 6749's `error` and `error_description`, beside the members of every problem."""
    status = status_of(error)
    by_status = "invalid_request" if status < 500 else "temporarily_unavailable"
    response = problem_of(
        error,
        telemetry.request_id.get(),
        extra={"error": _ERRORS.get(error.code, by_status), "error_description": _printable(error)},
    )
    response.headers["Content-Type"] = "application/json"
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="ocelot", charset="UTF-8"'
    return response


def _printable(error: OcelotError) -> str:
    """The description in the characters that section 5.2 allows."""
    text = getattr(error, "public", error.message)
    return "".join(c if " " <= c <= "~" and c not in '"\\' else "'" for c in text)


def _client(request: Request, form: Mapping[str, str]) -> tuple[str, str]:
    headers = request.headers.getlist("authorization")
    basic = [header for header in headers if header.partition(" ")[0].lower() == "basic"]
    if basic and "client_secret" in form:
        raise Invalid("the client shows itself twice: in the header and in the body", code="malformed_form")
    if basic:
        client_id, secret = _basic(basic)
        if form.get("client_id", client_id) != client_id:
            raise Invalid("client_id is not the one of the header", code="malformed_form")
        return client_id, secret
    if "client_id" not in form or "client_secret" not in form:
        raise _missing()
    return form["client_id"], form["client_secret"]


def _basic(headers: list[str]) -> tuple[str, str]:
    try:
        if len(headers) != 1:
            raise ValueError
        written = base64.b64decode(headers[0].partition(" ")[2].strip(), validate=True).decode()
        name, colon, secret = written.partition(":")
        if not colon:
            raise ValueError
        # Form-encoded before they are joined (section 2.3.1); what our own ids and secrets hold, this leaves alone.
        return unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
    except (ValueError, binascii.Error):
        raise _missing() from None


def _form(kind: str, body: bytes) -> dict[str, str]:
    if kind == "application/json":
        try:
            return msgspec.json.decode(body, type=dict[str, str])
        except msgspec.DecodeError:
            raise Invalid("the body must be an object of strings", code="malformed_json") from None
    if kind != "application/x-www-form-urlencoded":
        raise Invalid("send a form or JSON", code="unsupported_media_type")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict")
    except ValueError as error:
        raise Invalid(f"not a form: {error}", code="malformed_form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise Invalid("a parameter is there twice", code="malformed_form")
    return form


def _missing() -> Unauthenticated:
    return Unauthenticated("client_id and client_secret are needed", code="invalid_client")


def problems() -> dict[int | str, dict[str, Any]]:
    """The `responses` of the endpoint's errors."""
    errors = {
        400: ("Not a request for a token", "unsupported_grant_type", "grant_type must be client_credentials"),
        401: ("Not authenticated", "invalid_client", "the client id or secret is wrong"),
        403: ("Not from here, or the tenant is suspended", "unauthorized_client", "the key may not be used from this"),
        408: ("The body did not come", "invalid_request", "the body stopped coming"),
        413: ("Too large", "invalid_request", "a body may have 16384 bytes, unpacked"),
        415: ("Neither a form nor JSON", "invalid_request", "send a form or JSON"),
        503: ("Not available now", "temporarily_unavailable", "the store is unavailable; try again"),
    }
    return {
        status: {
            "description": title,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/TokenErrorOut"},
                    "example": {"error": error, "error_description": said, "status": status, "code": error},
                }
            },
        }
        for status, (title, error, said) in errors.items()
    }
