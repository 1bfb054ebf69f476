"""A tenant, and `TenantScope`: the authorised tenant as a type, which only the two mints here can make."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, final

from core.access import Permission, Role, permissions_of
from core.errors import Forbidden, Unauthenticated
from core.facets import NONE, Facets
from core.placement import Placement
from core.query import EventQuery, without_own
from core.tenant_settings import DEFAULT_RETENTION_DAYS, UNLIMITED, AccessAudit, MaskingRule, Quotas

TENANT_ID: Final = re.compile(r"[a-z0-9]{8,32}")
_TENANT_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_MINT: Final = object()
EXTERNAL: Final = "ext:"
"""Before the subjects of other issuers' tokens."""


class TenantStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer. `secret` (32 bytes) keys its ids, digests and cursors and never leaves the service.

    What is set here is what every process goes by a moment later: see `core.snapshots`.
    """

    id: str
    name: str
    secret: bytes = field(repr=False)
    created_at: int
    status: TenantStatus = TenantStatus.ACTIVE
    placements: tuple[Placement, ...] = (Placement(),)
    facets: Facets = NONE
    retention_days: int = DEFAULT_RETENTION_DAYS
    """From `received_at` on; after that an event is archived, and gone from store and index."""
    quotas: Quotas = UNLIMITED
    masking: tuple[MaskingRule, ...] = ()
    """In the order in which they apply, on top of the built-in rules."""
    access_audit: AccessAudit = AccessAudit.STRICT
    quarantine: bool = False
    """Whether events that fail validation are kept and flagged instead of refused."""
    revision: int = 0
    """Grows with each change by `Control.replace_tenant`."""
    permission_sets: Mapping[str, frozenset[Permission]] = field(default_factory=dict, hash=False)
    """The tenant's own, by name."""

    def permissions(self, roles: frozenset[Role], sets: Iterable[str]) -> frozenset[Permission]:
        """What roles and sets of these names allow together; a set that is not there allows nothing."""
        return permissions_of(roles).union(*(self.permission_sets.get(name, ()) for name in sets))


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says. `tenant_id` is None for a platform token alone."""

    subject: str
    tenant_id: str | None
    roles: frozenset[Role]
    token_id: str
    issued_at: int
    expires_at: int
    restriction: EventQuery | None = None
    """Of a viewer link: the only events that it reaches."""
    maker: str | None = None
    """Of a viewer link: the subject that made it, with whose revocation it ends."""
    sets: frozenset[str] = frozenset()
    """Names of the tenant's permission sets."""
    secret: str | None = None
    """The name of the key's secret that it was issued for (`ApiKey.secret_name`)."""

    @property
    def names(self) -> tuple[str | None, ...]:
        """Every name by which the token may be revoked."""
        return self.subject, self.token_id, self.maker, self.secret


@final
class TenantScope:
    """Proof that the holder may act in one tenant; every store and index call takes it.

    There is no public constructor: `from_token` makes one for a request, `for_system` for the service's own work.
    With a `restriction`, a viewer's filter, the ports answer with what it finds too and refuse the rest: see
    `core.restriction`.
    """

    __slots__ = ("actor", "permissions", "restriction", "tenant_id")

    tenant_id: str
    actor: str
    permissions: frozenset[Permission]
    restriction: EventQuery | None

    def __init__(
        self,
        mint: object,
        tenant_id: str,
        actor: str,
        permissions: frozenset[Permission],
        restriction: EventQuery | None = None,
    ) -> None:
        if mint is not _MINT:
            raise TypeError("TenantScope is made by from_token or for_system only")
        object.__setattr__(self, "tenant_id", tenant_id)
        object.__setattr__(self, "actor", actor)
        object.__setattr__(self, "permissions", permissions)
        object.__setattr__(self, "restriction", restriction)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("TenantScope cannot be changed")

    def __repr__(self) -> str:
        return f"TenantScope({self.tenant_id!r}, actor={self.actor!r})"

    def require(self, permission: Permission) -> None:
        """Raise `Forbidden` unless the scope holds `permission`."""
        if permission not in self.permissions:
            raise Forbidden(f"this needs the permission {permission.value}")


def from_token(claims: Claims, tenant: Tenant) -> TenantScope:
    """The scope of a request whose verified token names `tenant`.

    A platform administrator may name any tenant (by its path) to manage it; the events in it stay closed to it.
    """
    if tenant.status is TenantStatus.DELETING:
        raise Unauthenticated("the tenant is gone", code="tenant_gone")
    permissions = permissions_of(claims.roles)
    if claims.sets and claims.tenant_id == tenant.id:
        permissions = tenant.permissions(claims.roles, claims.sets)
    if claims.tenant_id != tenant.id:
        if Permission.PLATFORM not in permissions:
            raise Unauthenticated("the token is for another tenant")
        permissions = frozenset({Permission.MANAGE, Permission.PLATFORM})
    elif tenant.status is TenantStatus.SUSPENDED:
        raise Forbidden("the tenant is suspended", code="tenant_suspended")
    if claims.restriction is not None:
        permissions &= {Permission.VIEW}
    elif Role.VIEWER in claims.roles:
        raise Unauthenticated("the token lacks its filter", code="invalid_token")
    restriction = None if claims.restriction is None else without_own(claims.restriction)
    return TenantScope(_MINT, tenant.id, claims.subject, permissions, restriction)


def for_system(tenant_id: str, reason: str) -> TenantScope:
    """The scope of the service's own work in a tenant; importable from consumer/ and cli/ only (a test checks)."""
    if not TENANT_ID.fullmatch(tenant_id):
        raise ValueError(f"not a tenant id: {tenant_id!r}")
    return TenantScope(_MINT, tenant_id, f"system:{reason}", frozenset(Permission))


def new_tenant_id() -> str:
    """A random tenant id: 16 characters, 82 bits."""
    return "".join(secrets.choice(_TENANT_ALPHABET) for _ in range(16))
