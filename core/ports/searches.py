"""What Ocelot asks of the record of saved searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from core.tenant import TenantScope


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """A query that a tenant's people keep. `query` is JSON text, exactly as it was written."""

    id: str
    tenant_id: str
    name: str
    query: str
    owner: str
    """The actor who made it."""
    created_at: int
    updated_at: int


class SavedSearches(Protocol):
    """Saved searches, each its tenant's alone: another's is not there."""

    async def create(self, search: SavedSearch) -> None:
        """Durable on return; raises `Conflict` when the id exists."""

    async def get(self, scope: TenantScope, search_id: str) -> SavedSearch | None: ...

    async def listing(self, scope: TenantScope, *, before: str | None, limit: int) -> list[SavedSearch]:
        """The newest first, those with an id below `before`."""

    async def count(self, scope: TenantScope) -> int: ...

    async def replace(self, scope: TenantScope, search: SavedSearch) -> bool:
        """Give the search with this id the name, query and `updated_at` of `search`; whether there was one."""

    async def remove(self, scope: TenantScope, search_id: str) -> bool:
        """Whether it was there and is gone."""
