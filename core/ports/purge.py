"""What Ocelot asks of whatever removes a tenant, or one person's events, and keeps what came late from coming back."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.tenant import TenantScope


@dataclass(frozen=True, slots=True)
class Person:
    """One `user_id`, told apart without being named, and until when its events are meant."""

    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    before: int
    """Events with a `received_at` (microseconds) below this one."""

    @classmethod
    def of(cls, user_id: str, before: int) -> Person:
        salt = secrets.token_bytes(16)
        return cls(salt, _digest(salt, user_id), before)

    def covers(self, user_id: str, received_at: int) -> bool:
        return received_at < self.before and hmac.compare_digest(_digest(self.salt, user_id), self.digest)


def _digest(salt: bytes, user_id: str) -> bytes:
    return hashlib.sha256(salt + user_id.encode()).digest()


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A deletion as it stands. Times are microseconds.

    `id` is the tenant's where a whole tenant is deleted, else the erasing job's. All that an event of it may come out
    of later, such as a queue, is dropped from `standing_since` on.
    """

    id: str
    tenant_id: str
    job: str
    asked_by: str
    asked_at: int
    person: Person | None = None
    """Whose events; None: the whole tenant."""
    standing_since: int | None = None
    stage: str = "asked"
    error: str | None = None
    """Why its job has failed, until it is asked for again."""
    report: dict[str, Any] | None = None


class Tombstones(Protocol):
    """Deletions. That of a tenant stays for good, for a message may be delivered again however late."""

    async def put(self, tombstone: Tombstone) -> None:
        """Durable on return; replaces the one with this id."""

    async def get(self, tombstone_id: str) -> Tombstone | None: ...

    async def standing(self, since: int) -> list[Tombstone]:
        """Those that stand since this moment or later."""

    async def remove(self, tombstone_id: str) -> None:
        """Harmless when there is none."""

    async def expire(self, before: int) -> None:
        """Remove those of persons that were asked for before this moment and have a report."""


class Purge(Protocol):
    """Removes a tenant from the store for good. All of it may be called again, and goes on where it was cut off."""

    async def events(self, scope: TenantScope, limit: int) -> int:
        """Remove up to `limit` of the tenant's events; how many. 0: there are no more."""

    async def records(self, scope: TenantScope, *, but_job: str) -> dict[str, int]:
        """Remove every other record that is the tenant's, whatever its kind; how many there were of each.

        Its own record, its tombstones and the job `but_job` stay.
        """

    async def tenant(self, scope: TenantScope) -> None:
        """Remove its own record."""

    async def left(self, scope: TenantScope, *, but_job: str) -> dict[str, int]:
        """How many there are of each kind, events included, that the others would remove; kinds without any are left
        out."""
