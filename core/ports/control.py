"""What Ocelot asks of the records of tenants, and of what is revoked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from core.facets import Facets
from core.networks import Network
from core.tenant import Tenant


@dataclass(frozen=True, slots=True)
class AccessSnapshot:
    """All that a token check needs, read at one moment."""

    tenants: dict[str, Tenant]
    revoked: frozenset[str]
    """Subjects (`key:<id>`), secrets of keys and token ids that no longer count."""
    networks: Mapping[str, tuple[Network, ...]] = field(default_factory=dict)
    """By subject, of the keys that may be used from these networks alone."""


class Control(Protocol):
    """Tenants, and what is revoked."""

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

    async def revoke(self, name: str, at: int, *, expires_at: int | None = None) -> None:
        """From now on no snapshot lets `name` through: a subject, a secret's or a token's id. Again changes nothing.

        With `expires_at` (microseconds) it may be forgotten then: the token is refused for its age.
        """

    async def snapshot(self) -> AccessSnapshot: ...
