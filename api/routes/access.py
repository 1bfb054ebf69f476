"""Tokens."""

from __future__ import annotations

import base64
import binascii
from typing import Final
from urllib.parse import parse_qs, unquote

import msgspec
from fastapi import APIRouter, Request, Response

from api import audit, bodies
from api.models import read_body
from api.openapi import answer, body_of, needs, problems
from api.packing import UNPACKED
from api.schemas.access import TokenIn, TokenOut
from api.state import state_of
from core import accounts
from core.access import Permission, Role
from core.errors import Invalid, Unauthenticated
from core.tenant import Claims

router = APIRouter(tags=["access"])
TOKEN_SECONDS: Final = 900
_MAX_BODY_BYTES: Final = 16 * 1024
_GRANT: Final = {
    "grant_type": "client_credentials",
    "client_id": "ock_6c1f0a9be2d34785c0d1e2f3",
    "client_secret": "ocs_...",
}
_GRANT_FORM: Final = {
    "schema": {
        "type": "object",
        "properties": {
            "grant_type": {"type": "string", "enum": ["client_credentials"]},
            "client_id": {"type": "string"},
            "client_secret": {"type": "string"},
        },
        "required": ["grant_type"],
    },
    "example": _GRANT,
}
_CREDENTIALS: Final = {
    "required": True,
    "content": {"application/x-www-form-urlencoded": _GRANT_FORM, "application/json": _GRANT_FORM},
}
_TOKEN: Final = {"access_token": "eyJhbGciOiJFUzI1NiIs...", "token_type": "Bearer", "expires_in": TOKEN_SECONDS}


@router.post(
    "/token",
    response_model=TokenOut,
    summary="Exchange an API key for a token",
    description="OAuth 2 client credentials, in the form, as JSON or by HTTP Basic; the token lives 15 minutes.",
    responses={**answer(200, _TOKEN), **problems(400, 401, 408, 413, 415, 503)},
    openapi_extra={**needs(None), "requestBody": _CREDENTIALS},
)
async def exchange(request: Request, response: Response) -> TokenOut:
    response.headers.update(UNPACKED)
    state = state_of(request)
    client_id, client_secret = await _credentials(request)
    key = await accounts.authenticate(state.backends.control, client_id, client_secret)
    subject = f"key:{key.id}"
    audit.seen(Claims(subject, key.tenant_id, frozenset(), "", 0, 0))
    token = state.issuer.issue(
        subject=subject,
        tenant_id=key.tenant_id,
        roles=[Role(role) for role in key.roles],
        lifetime=TOKEN_SECONDS,
    )
    return TokenOut(access_token=token, expires_in=TOKEN_SECONDS)


@router.post(
    "/tenants/{tenant_id}/tokens",
    status_code=201,
    response_model=TokenOut,
    summary="Issue a token for a tenant",
    description="Needs the platform role, or admin in the tenant itself.",
    responses={**answer(201, _TOKEN), **problems(400, 401, 403, 404, 408, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(TokenIn)},
)
async def issue_token(request: Request, response: Response, tenant_id: str) -> TokenOut:
    response.headers.update(UNPACKED)
    state = state_of(request)
    access = await state.authenticator.managed_tenant(request, tenant_id)
    body = await read_body(request, TokenIn)
    token = state.issuer.issue(
        subject=access.scope.actor,
        tenant_id=access.tenant.id,
        roles=[Role(role) for role in body.roles],
        lifetime=body.expires_in,
    )
    return TokenOut(access_token=token, expires_in=body.expires_in)


async def _credentials(request: Request) -> tuple[str, str]:
    body = await bodies.read(request, _MAX_BODY_BYTES)
    form = _form(bodies.media_type(request), body)
    if form.get("grant_type") != "client_credentials":
        raise Invalid("grant_type must be client_credentials", code="unsupported_grant_type")
    if "client_id" in form and "client_secret" in form:
        return form["client_id"], form["client_secret"]
    return _basic(request.headers.get("authorization", ""))


def _form(kind: str, body: bytes) -> dict[str, str]:
    if kind == "application/json":
        try:
            return msgspec.json.decode(body, type=dict[str, str])
        except msgspec.DecodeError:
            raise Invalid("the body must be an object of strings", code="malformed_json") from None
    if kind != "application/x-www-form-urlencoded":
        raise Invalid("send a form or JSON", code="unsupported_media_type")
    try:
        return {name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=16).items()}
    except ValueError as error:
        raise Invalid(f"not a form: {error}", code="malformed_form") from None


def _basic(header: str) -> tuple[str, str]:
    kind, _, encoded = header.partition(" ")
    try:
        if kind.lower() != "basic":
            raise ValueError
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        raise Unauthenticated("client_id and client_secret are needed", code="invalid_client") from None
    return unquote(name), unquote(secret)
