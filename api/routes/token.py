"""`POST /token`: OAuth 2 client credentials."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api import audit, oauth
from api.openapi import answer, needs
from api.packing import UNPACKED
from api.schemas.access import TokenOut
from api.schemas.keys import CLIENT_ID, CLIENT_SECRET
from api.state import State, state_of
from core import credentials, grants, networks
from core.errors import Forbidden, Invalid, OcelotError, Unauthenticated
from core.ports import ApiKey
from core.tenant import Claims, TenantStatus

router = APIRouter(tags=["access"])
TOKEN_SECONDS: Final = 900
_GRANT: Final = {"grant_type": oauth.GRANT, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
_FORM: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "properties": {
            "grant_type": {"type": "string", "enum": [oauth.GRANT]},
            "client_id": {"type": "string"},
            "client_secret": {"type": "string"},
            "scope": {"type": "string", "description": "Roles and permission sets of the key, spaces between."},
        },
        "required": ["grant_type"],
    },
    "example": _GRANT,
}
_BODY: Final = {"required": True, "content": {"application/x-www-form-urlencoded": _FORM, "application/json": _FORM}}
_TOKEN: Final = {"access_token": "eyJhbGciOiJFUzI1NiIs...", "token_type": "Bearer", "expires_in": TOKEN_SECONDS}


@router.post(
    "/token",
    response_model=TokenOut,
    summary="Exchange an API key for a token",
    description="OAuth 2 client credentials, in the form, as JSON or by HTTP Basic; the token lives 15 minutes at "
    "most. `scope` asks for less than all of the key's roles. Errors are those of RFC 6749.",
    responses={**answer(200, _TOKEN | {"scope": "writer"}), **oauth.problems()},
    openapi_extra={**needs(None), "requestBody": _BODY},
)
async def exchange(request: Request, response: Response) -> Any:
    response.headers.update(UNPACKED)
    try:
        return await _token(state_of(request), request)
    except OcelotError as error:
        return oauth.refusal(request, error)


async def _token(state: State, request: Request) -> TokenOut:
    grant = await oauth.grant_of(request)
    key, secret = await credentials.authenticate(state.backends.keys, grant.client_id, grant.client_secret)
    audit.seen(Claims(key.subject, key.tenant_id, frozenset(), "", 0, 0))
    if key.networks:
        state.authenticator.require_network(request, tuple(map(networks.network, key.networks)))
    await _check_tenant(state, key)
    names = frozenset(key.roles) if grant.scope is None else grant.scope
    if not names or not names <= frozenset(key.roles):
        raise Invalid(f"the key has {' '.join(key.roles)}", code="invalid_scope")
    roles, sets = grants.split(names)
    lifetime = credentials.lifetime(key, TOKEN_SECONDS)
    token = state.issuer.issue(
        subject=key.subject,
        tenant_id=key.tenant_id,
        roles=roles,
        lifetime=lifetime,
        sets=sets,
        secret=key.secret_name(secret.number),
    )
    return TokenOut(access_token=token, expires_in=lifetime, scope=" ".join(sorted(names)))


async def _check_tenant(state: State, key: ApiKey) -> None:
    """A token for a tenant that is closed would be refused everywhere: better say so here."""
    tenant = await state.snapshots.tenant(key.tenant_id)
    if tenant is None or tenant.status is TenantStatus.DELETING:
        raise Unauthenticated("the tenant is gone", code="tenant_gone")
    if tenant.status is TenantStatus.SUSPENDED:
        raise Forbidden("the tenant is suspended", code="tenant_suspended")
