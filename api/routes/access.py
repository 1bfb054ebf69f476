"""Tokens."""

from __future__ import annotations

import time
from typing import Final

from fastapi import APIRouter, Request, Response

from api.models import read_body
from api.openapi import answer, body_of, needs, problems
from api.packing import UNPACKED
from api.schemas.access import TokenIn, TokenOut
from api.state import state_of
from core import grants
from core.access import Permission
from core.tenant import EXTERNAL

router = APIRouter(tags=["access"])
_TOKEN: Final = {
    "access_token": "eyJhbGciOiJFUzI1NiIs...",
    "token_type": "Bearer",
    "expires_in": 900,
    "scope": "reader",
}


@router.post(
    "/tenants/{tenant_id}/tokens",
    status_code=201,
    response_model=TokenOut,
    summary="Issue a token for a tenant",
    description="Of the platform, or of the tenant itself, which gives no more than the caller has.",
    responses={**answer(201, _TOKEN), **problems(400, 401, 403, 404, 408, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(TokenIn)},
)
async def issue_token(request: Request, response: Response, tenant_id: str) -> TokenOut:
    response.headers.update(UNPACKED)
    state = state_of(request)
    access = await state.authenticator.managed_tenant(request, tenant_id)
    body = await read_body(request, TokenIn)
    grants.check_known(access.tenant, body.roles)
    grants.require_names(access.scope, access.tenant, body.roles)
    roles, sets = grants.split(body.roles)
    lifetime = body.expires_in
    if access.claims.subject.startswith(EXTERNAL):
        # Its issuer ends it by making no new one: what it makes must not outlive it.
        lifetime = max(1, min(lifetime, access.claims.expires_at - int(time.time())))
    token = state.issuer.issue(
        subject=access.scope.actor,
        tenant_id=access.tenant.id,
        roles=roles,
        lifetime=lifetime,
        sets=sets,
        # What ends the caller's token ends this one.
        secret=access.claims.secret,
    )
    return TokenOut(access_token=token, expires_in=lifetime, scope=" ".join(sorted(set(body.roles))))
