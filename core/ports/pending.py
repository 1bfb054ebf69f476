"""What waits beside the events: parked ones for a person, those of the outbox for the index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

NOT_INDEXABLE: Final = "not_indexable"
"""The reason of a parked event that is stored, and that the index refuses."""


@dataclass(frozen=True, slots=True)
class Parked:
    """One event set aside for a person, whole."""

    id: str
    tenant_id: str
    event_id: str | None
    reason: str
    detail: str
    body: bytes = field(repr=False)
    placement: str
    content: bytes | None
    envelope: str
    attempts: int
    parked_at: int
    received_at: int | None = None
    """When the event was accepted; None for one that tells no such time."""


class Parking(Protocol):
    """Events that their own content keeps from being stored or indexed; kept until a person decides."""

    async def park(self, items: Sequence[Parked]) -> None:
        """Durable on return. Parking the same `id` again changes nothing but `attempts`."""

    async def listing(self, tenant_id: str | None = None, limit: int = 100) -> list[Parked]: ...

    async def unindexed(self, tenant_id: str, start: int, end: int) -> int:
        """How many that are stored and that the index refuses have `start <= received_at < end`."""

    async def of_tenant(self, tenant_id: str, *, after: str, limit: int) -> list[Parked]:
        """The tenant's with the smallest ids past `after`."""

    async def get(self, parked_id: str) -> Parked | None: ...

    async def remove(self, parked_id: str, attempts: int | None = None) -> bool:
        """Whether it was there and is gone. With `attempts`, one that was parked again since it had so many stays."""


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A stored event that the index does not hold yet."""

    event_id: str
    tenant_id: str
    placement: str
    received_at: int


class Outbox(Protocol):
    """The durable list of stored events still to be indexed."""

    async def add(self, entries: Sequence[OutboxEntry]) -> None:
        """Durable on return; adding an entry again is harmless."""

    async def tenants(self) -> list[str]:
        """The tenants that have entries."""

    async def oldest(self, limit: int, tenant_id: str, *, beside: Collection[str] = ()) -> list[OutboxEntry]:
        """The tenant's entries with the smallest `received_at`, those of the placements `beside` left out."""

    async def remove(self, event_ids: Collection[str]) -> None: ...

    async def waiting(self, tenant_id: str, start: int, end: int) -> int:
        """How many entries of the tenant have `start <= received_at < end`."""

    async def size(self) -> int: ...
