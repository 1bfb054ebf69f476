"""What Ocelot asks of the record of API keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from core.tenant import TenantScope


@dataclass(frozen=True, slots=True)
class KeySecret:
    """One secret of a key: its SHA-256, never itself. `number` counts a key's secrets up from 1."""

    number: int
    hash: bytes = field(repr=False)
    created_at: int
    expires_at: int | None = None
    """When it stops (microseconds), once a newer one has taken its place; None while it is the newest."""

    def good_at(self, now: int) -> bool:
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A credential of a tenant. Times are microseconds; `networks` are CIDRs, none: from anywhere."""

    id: str
    tenant_id: str
    name: str
    roles: tuple[str, ...]
    """Roles, and names of the tenant's permission sets."""
    secrets: tuple[KeySecret, ...]
    created_at: int
    created_by: str = ""
    networks: tuple[str, ...] = ()
    expires_at: int | None = None
    revoked_at: int | None = None
    used_at: int | None = None
    """About when it was last exchanged for a token."""
    version: int = 0
    """Counts its changes."""

    @property
    def subject(self) -> str:
        """Who its tokens stand for, and the name that revoking it goes by."""
        return f"key:{self.id}"

    def secret_name(self, number: int) -> str:
        """The name by which the tokens of one secret alone are revoked."""
        return f"{self.subject}#{number}"


class Keys(Protocol):
    """Every key that was made; another tenant's is not there."""

    async def create(self, key: ApiKey) -> None:
        """Durable on return; raises `Conflict` when the id exists."""

    async def find(self, key_id: str) -> ApiKey | None:
        """The key of whichever tenant: for checking a secret alone."""

    async def get(self, scope: TenantScope, key_id: str) -> ApiKey | None: ...

    async def listing(self, scope: TenantScope, *, before: str | None, limit: int) -> list[ApiKey]:
        """The newest (greatest id) first, those with ids below `before`; revoked ones too."""

    async def count(self, scope: TenantScope) -> int:
        """Keys that are not revoked."""

    async def holders(self, scope: TenantScope, role: str, limit: int) -> list[str]:
        """Ids of keys, not revoked, that have this role or permission set."""

    async def replace(self, scope: TenantScope, old: ApiKey, new: ApiKey) -> bool:
        """Put `new` in the place of `old`, its version one higher; False, and nothing done, when that changed since.

        `used_at` is left as it is.
        """

    async def used(self, key_id: str, at: int) -> None:
        """Note when the key was used."""
