"""What Ocelot asks of the books: what became of the events that were accepted, envelope by envelope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final, Protocol

from core.tenant import TenantScope

SECOND: Final = 1_000_000
"""Microseconds: the books tell no shorter times apart."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many events. All but `accepted` say why one that was accepted is not in the store."""

    accepted: int = 0
    """Came in an envelope whose sender was told that it is durable."""
    duplicates: int = 0
    """Retries by key of an event that the store had."""
    parked: int = 0
    """Set aside unstored."""
    quarantined: int = 0
    archived: int = 0
    """Taken out of the store and put into the archive; those that were brought back are taken off."""
    erased: int = 0
    """Removed from the store for good, on order."""

    @property
    def due(self) -> int:
        """What the store must have."""
        return self.accepted - self.duplicates - self.parked - self.quarantined - self.archived - self.erased

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Tally)))


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a tenant's events that were accepted (`received_at`) in one second, by one `source`.

    The source is an envelope, by its id, or a job that took events out of the store or put them back. `second` is the
    microsecond at which that second begins.
    """

    source: str
    tenant_id: str
    second: int
    tally: Tally


class Accounts(Protocol):
    """The books. Nothing in them is ever changed."""

    async def write(self, accounts: Sequence[Account]) -> None:
        """Durable on return. Of one source, tenant and second the first stays: writing again is harmless."""

    async def tally(self, scope: TenantScope, start: int, end: int) -> Tally:
        """The sum of the tenant's accounts with `start <= second < end`."""

    async def by_source(self, scope: TenantScope, start: int, end: int) -> dict[str, Tally]:
        """The same for each source by itself."""
