"""From a bearer token to a `TenantScope`: verified claims, checked against the newest revocations and tenants."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection, Request

from api import audit
from api.tokens import Expired, TokenVerifier
from core.access import Permission, permissions_of
from core.errors import Forbidden, NotFound, Unauthenticated
from core.snapshots import Snapshots
from core.tenant import Claims, Tenant, TenantScope, from_token


@dataclass(frozen=True, slots=True)
class Access:
    """Who is asking: the scope, and the tenant that it is for."""

    scope: TenantScope
    tenant: Tenant


def bearer_of(connection: HTTPConnection) -> str:
    """The bearer token of a request; raises `Unauthenticated`."""
    headers = connection.headers.getlist("authorization")
    if len(headers) != 1:
        raise Unauthenticated("one Authorization: Bearer header is needed")
    kind, _, token = headers[0].partition(" ")
    if kind.lower() != "bearer" or not token:
        raise Unauthenticated("the Authorization header must be Bearer and a token")
    return token.strip()


class Authenticator:
    """Checks tokens, and what they may, by the newest of `snapshots`."""

    def __init__(self, verifier: TokenVerifier, snapshots: Snapshots) -> None:
        self._verifier = verifier
        self._snapshots = snapshots

    async def tenant_access(self, request: Request, permission: Permission) -> Access:
        """The caller's access to the tenant of its own token; raises `Unauthenticated` or `Forbidden`."""
        return await self.token_access(bearer_of(request), permission)

    async def token_access(self, token: str, permission: Permission) -> Access:
        """The same for a token that was taken from elsewhere than the header."""
        claims = await self._checked(token)
        if claims.tenant_id is None:
            raise Forbidden("a platform token reads and writes no tenant's log")
        tenant = await self._snapshots.tenant(claims.tenant_id)
        if tenant is None:
            raise Unauthenticated("the tenant is gone", code="tenant_gone")
        return await self._granted(claims, tenant, permission)

    async def managed_tenant(self, request: Request, tenant_id: str) -> Access:
        """The caller's access to manage the tenant named in the path; a foreign one is `NotFound`."""
        claims = await self.claims(request)
        is_platform = Permission.PLATFORM in permissions_of(claims.roles)
        tenant = await self._snapshots.tenant(tenant_id) if is_platform or claims.tenant_id == tenant_id else None
        if tenant is None:
            raise NotFound("no such tenant")
        return await self._granted(claims, tenant, Permission.MANAGE)

    async def _granted(self, claims: Claims, tenant: Tenant, permission: Permission) -> Access:
        audit.known(tenant)
        scope = from_token(claims, tenant)
        scope.require(permission)
        await audit.granted()
        return Access(scope, tenant)

    async def require_platform(self, request: Request) -> Claims:
        """The claims of a platform administrator; raises otherwise."""
        claims = await self.claims(request)
        if Permission.PLATFORM not in permissions_of(claims.roles):
            raise Forbidden(f"this needs the permission {Permission.PLATFORM.value}")
        await audit.granted()
        return claims

    async def claims(self, request: Request) -> Claims:
        """The claims of the request's bearer token, not revoked."""
        return await self._checked(bearer_of(request))

    async def _checked(self, token: str) -> Claims:
        try:
            claims = self._verifier.verify(token)
        except Expired as error:
            audit.seen(error.claims)
            raise
        audit.seen(claims)
        snapshot = await self._snapshots.current()
        if not snapshot.revoked.isdisjoint((claims.subject, claims.token_id, claims.maker)):
            raise Unauthenticated("the token was revoked", code="token_revoked")
        return claims

    def recheck(self, claims: Claims, access: Access) -> None:
        """Raise when the newest snapshot has revoked the token or closed the tenant since `access` was given.

        Not when the token has expired meanwhile: what it was good for at the start may end.
        """
        snapshot = self._snapshots.newest
        if snapshot is None:
            return
        if not snapshot.revoked.isdisjoint((claims.subject, claims.token_id, claims.maker)):
            raise Unauthenticated("the token was revoked", code="token_revoked")
        tenant = snapshot.tenants.get(access.tenant.id)
        if tenant is not None:
            from_token(claims, tenant)
