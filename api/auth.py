"""From a bearer token to a `TenantScope`: verified claims, checked against the newest revocations and tenants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, cast

from starlette.requests import HTTPConnection, Request

from api import audit
from api.client import Proxies
from api.external import ExternalTokens
from api.tokens import Expired, TokenVerifier
from core import networks
from core.access import Permission, permissions_of
from core.errors import Forbidden, NotFound, Unauthenticated
from core.limits import Limiter, Use
from core.networks import Network
from core.ports import AccessSnapshot
from core.snapshots import Snapshots
from core.tenant import Claims, Tenant, TenantScope, from_token

USE: Final = "ocelot.use"
"""Where a connection's scope holds what it uses."""
READ: Final = "ocelot.read"
"""The same of one that reads, which counts once it is answered."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who is asking: the scope, the tenant that it is for, and what the token says."""

    scope: TenantScope
    tenant: Tenant
    claims: Claims


def use_of(connection: HTTPConnection) -> Use:
    """What the request uses, once its caller is known."""
    return cast(Use, connection.scope[USE])


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
    """Checks tokens, and what they may, by the newest of `snapshots`, and how much of it by `limiter`."""

    def __init__(
        self,
        verifier: TokenVerifier,
        snapshots: Snapshots,
        limiter: Limiter | None = None,
        proxies: Proxies | None = None,
        external: ExternalTokens | None = None,
    ) -> None:
        self._verifier = verifier
        self._snapshots = snapshots
        self._limiter = limiter or Limiter()
        self._proxies = proxies or Proxies()
        self._external = external

    async def tenant_access(self, request: Request, permission: Permission) -> Access:
        """The caller's access to the tenant of its own token, and a request of its quotas used.

        Raises `Unauthenticated`, `Forbidden` or `QuotaExceeded`.
        """
        access = await self.token_access(request, bearer_of(request), permission)
        await self.enter(request, access, permission)
        return access

    async def enter(self, connection: HTTPConnection, access: Access, permission: Permission) -> Use:
        """Let a request in by its quotas and onto the record, or raise `QuotaExceeded`; `use_of` finds what it uses."""
        use = connection.scope[USE] = self._limiter.use(access.tenant, access.scope.actor)
        use.enter(permission)
        if permission is Permission.READ or permission is Permission.VIEW:
            connection.scope[READ] = use
        await audit.granted()
        return use

    async def token_access(self, connection: HTTPConnection, token: str, permission: Permission) -> Access:
        """What a token gives access to, wherever it was taken from; `enter` is still to be asked."""
        claims = await self._checked(connection, token)
        if claims.tenant_id is None:
            raise Forbidden("a platform token reads and writes no tenant's log")
        tenant = await self._snapshots.tenant(claims.tenant_id)
        if tenant is None:
            raise Unauthenticated("the tenant is gone", code="tenant_gone")
        return self._access(claims, tenant, permission)

    async def managed_tenant(self, request: Request, tenant_id: str) -> Access:
        """The caller's access to manage the tenant named in the path; a foreign one is `NotFound`."""
        claims = await self.claims(request)
        is_platform = Permission.PLATFORM in permissions_of(claims.roles)
        tenant = await self._snapshots.tenant(tenant_id) if is_platform or claims.tenant_id == tenant_id else None
        if tenant is None:
            raise NotFound("no such tenant")
        access = self._access(claims, tenant, Permission.MANAGE)
        await audit.granted()
        return access

    def _access(self, claims: Claims, tenant: Tenant, permission: Permission) -> Access:
        audit.known(tenant)
        scope = from_token(claims, tenant)
        scope.require(permission)
        return Access(scope, tenant, claims)

    async def require_platform(self, request: Request) -> Claims:
        """The claims of a platform administrator; raises otherwise."""
        claims = await self.claims(request)
        if Permission.PLATFORM not in permissions_of(claims.roles):
            raise Forbidden(f"this needs the permission {Permission.PLATFORM.value}")
        await audit.granted()
        return claims

    async def claims(self, request: Request) -> Claims:
        """The claims of the request's bearer token, not revoked."""
        return await self._checked(request, bearer_of(request))

    async def _checked(self, connection: HTTPConnection, token: str) -> Claims:
        claims = None
        try:
            if self._external is not None and not self._verifier.known(token):
                claims = await self._external.verify(token)
            if claims is None:
                claims = self._verifier.verify(token)
        except Expired as error:
            audit.seen(error.claims)
            raise
        audit.seen(claims)
        self._admit(await self._snapshots.current(), connection, claims)
        return claims

    def _admit(self, snapshot: AccessSnapshot, connection: HTTPConnection, claims: Claims) -> None:
        if not snapshot.revoked.isdisjoint(claims.names):
            raise Unauthenticated("the token was revoked", code="token_revoked")
        if (allowed := snapshot.networks.get(claims.subject)) is not None:
            self.require_network(connection, allowed)

    def address_of(self, connection: HTTPConnection) -> str | None:
        """The client's address, as far as it is known."""
        found = self._proxies.client_of(connection)
        return None if found is None else str(found)

    def require_network(self, connection: HTTPConnection, allowed: tuple[Network, ...]) -> None:
        """Raise `Forbidden` unless the request comes from one of the networks; one from nowhere known does not."""
        found = self._proxies.client_of(connection)
        if found is None or not networks.holds(allowed, found):
            raise Forbidden("the key may not be used from this address", code="address_not_allowed")

    def recheck(self, connection: HTTPConnection, access: Access, permission: Permission) -> None:
        """Raise when the newest snapshot has revoked the token, closed the tenant, or taken the permission away since
        `access` was given.

        Not when the token has expired meanwhile: what it was good for at the start may end.
        """
        snapshot = self._snapshots.newest
        if snapshot is None:
            return
        self._admit(snapshot, connection, access.claims)
        tenant = snapshot.tenants.get(access.tenant.id)
        if tenant is not None:
            from_token(access.claims, tenant).require(permission)
