"""What Ocelot asks of the durable record of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from core.query import EventQuery, Position
from core.tenant import TenantScope


class StoreRow(msgspec.Struct, frozen=True, gc=False):
    """An event as the store takes it; made by `core.rows.row_of`. A frozen dataclass takes 2 us more to make."""

    id: str
    tenant_id: str
    placement: str
    timestamp: int
    received_at: int
    named: dict[str, str | list[str]]
    """The filterable named fields that are there, `ip_key` (see `core.query.ip_key`) beside `ip_address`."""
    hash: bytes
    """SHA-256 of `body`."""
    content: bytes | None
    envelope: str
    body: bytes


class Stored(msgspec.Struct, frozen=True, gc=False):
    """An event as the store returns it: the exact bytes. A page has up to 1,000, each made in 0.2 us."""

    id: str
    placement: str
    timestamp: int
    received_at: int
    hash: bytes
    body: bytes
    content: bytes | None = None
    """As in `StoreRow`, where it was asked for: by `EventStore.drain(..., whole=True)`."""
    envelope: str = ""
    """The id of the envelope that it came with."""


class InsertOutcome(StrEnum):
    STORED = "stored"
    DUPLICATE = "duplicate"
    """An event with this id is there, and its `hash` or `content` agrees."""
    CONFLICT = "conflict"
    """An event with this id is there with other content; the first stays."""


@dataclass(frozen=True, slots=True)
class StorePage:
    """Events in the query's order. `total` counts all that match, up to `total_bound`."""

    events: list[Stored]
    total: int
    total_exact: bool


@dataclass(frozen=True, slots=True)
class Drained:
    """The next events of a query by (received_at, id), at times none; all that matches up to `reached` was given."""

    events: list[Stored]
    reached: Position


class EventStore(Protocol):
    """The durable, exact record of every event."""

    async def insert(self, rows: Sequence[StoreRow], *, again: bool = False) -> list[InsertOutcome | Exception]:
        """One outcome for each row; what is STORED survives a crash of the store. Inserting again is harmless.

        An exception in the list is that row's own fault (the store will never take it). `again`: they were stored
        before, so that no feed tells of them.
        """

    async def remove(self, scope: TenantScope, events: Mapping[str, bytes]) -> int:
        """Remove the events with these ids whose `hash` is the one given; how many there were. Durable on return."""

    async def get(self, scope: TenantScope, event_id: str) -> Stored | None: ...

    async def fetch(self, scope: TenantScope, ids: Collection[str]) -> dict[str, Stored]:
        """The events of the scope's tenant among `ids`, in one round trip; the others are left out."""

    async def bodies(self, scope: TenantScope, ids: Collection[str]) -> dict[str, bytes]:
        """What `fetch` gives, but for all except the events' bytes: a page needs no more, and waits for it."""

    async def find(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> StorePage:
        """A page of a query that does not need the index (`EventQuery.needs_index`).

        Raises `UnboundedQuery` when the store is well but the query has it look through too much.
        """

    async def columns(
        self, scope: TenantScope, query: EventQuery, fields: Sequence[str], *, bound: int
    ) -> list[dict[str, Any]] | None:
        """These named fields of every event of a query that does not need the index, in no order; None when more than
        `bound` match. The times are microseconds; a field that is not there is left out."""

    async def count(self, scope: TenantScope, *, start: int = 0, end: int | None = None) -> int:
        """How many events have `start <= received_at < end`."""

    async def by_envelope(self, scope: TenantScope, *, start: int, end: int) -> dict[str, int]:
        """The same for the events of each envelope, by its id."""

    def ids(self, scope: TenantScope, *, start: int, end: int) -> AsyncIterator[list[Position]]:
        """(received_at, id) of every event with `start <= received_at < end`, in that order, in batches."""

    def scan(
        self, scope: TenantScope, *, start: int, end: int, descending: bool = True, batch: int = 500
    ) -> AsyncIterator[list[Stored]]:
        """Every event with `start <= received_at < end`, in batches by `received_at`; memory holds one batch."""

    def drain(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, whole: bool = False
    ) -> AsyncIterator[Drained]:
        """Every event of a query that does not need the index, by (received_at, id) whatever its sort, past `after`.

        `query.received_at` must have an end. Memory holds one batch of some MiB, and the store nothing in between:
        the reader may take as long as it likes.
        """

    async def ping(self) -> None: ...
