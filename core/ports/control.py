"""What Ocelot asks of the records of tenants and credentials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from core.facets import Facets
from core.tenant import Tenant


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential of a tenant; the store keeps only the SHA-256 of its secret."""

    id: str
    tenant_id: str
    name: str
    roles: tuple[str, ...]
    secret_hash: bytes = field(repr=False)
    created_at: int
    revoked_at: int | None = None


@dataclass(frozen=True, slots=True)
class AccessSnapshot:
    """All that a token check needs, read at one moment."""

    tenants: dict[str, Tenant]
    revoked: frozenset[str]
    """Subjects (`key:<id>`) and token ids that no longer count."""


class Control(Protocol):
    """Tenants and keys."""

    async def create_tenant(self, tenant: Tenant) -> None:
        """Raises `Conflict` when the id exists."""

    async def tenant(self, tenant_id: str) -> Tenant | None: ...

    async def tenants(self) -> list[Tenant]: ...

    async def replace_tenant(self, old: Tenant, new: Tenant) -> bool:
        """Whether the tenant was `old`, by its revision, and is `new` now, with the next revision.

        Its facets, secret and time of creation stay as they are.
        """

    async def facets(self) -> dict[str, Facets]:
        """The facets of each tenant that ever declared some."""

    async def replace_facets(self, tenant_id: str, old: Facets, new: Facets) -> bool:
        """Whether the tenant's facets were `old`, by their serial, and are `new` now."""

    async def create_key(self, key: ApiKey) -> None: ...

    async def key(self, key_id: str) -> ApiKey | None: ...

    async def revoke(self, name: str, at: int, *, expires_at: int | None = None) -> None:
        """From now on no snapshot lets `name` through: `key:<id>` or a token's id. Revoking again changes nothing.

        With `expires_at` (microseconds) it may be forgotten then: the token is refused for its age.
        """

    async def snapshot(self) -> AccessSnapshot: ...
