"""What Ocelot asks of a queue, a store and an index: each docstring states the guarantee, not the mechanism.

Every call has a deadline and raises `core.errors.Unavailable` when its backend is down, slow or refusing (`Blocked`
when it answers but takes no writes). Nothing here retries: retries are the caller's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec

from core.facets import Facets
from core.query import EventQuery, Position
from core.tenant import Tenant, TenantScope

# Queue ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes to send, at most 768 KiB. `group` is the tenant of an envelope that holds one tenant's events only."""

    body: bytes
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """A received message, this consumer's alone until `expires_at` (monotonic seconds)."""

    body: bytes
    handle: str
    receives: int
    """How often it was received, this time included."""
    expires_at: float


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages wait, are leased, and are dead. A distributed queue gives estimates."""

    waiting: int
    leased: int
    dead: int


class Queue(Protocol):
    """At-least-once delivery of durable messages, in no particular order."""

    async def send(self, messages: Sequence[Message]) -> list[Exception | None]:
        """One result for each message. None: it is durable and will be delivered at least once.

        An exception: it may or may not have been taken (`Unavailable`: the same bytes may be sent again), or it never
        will be (`Invalid`).
        """

    async def receive(self, count: int, wait: float, lease: float) -> list[Lease]:
        """Up to `count` messages, each leased for `lease` seconds; waits up to `wait` seconds for the first.

        A message whose lease lapses is delivered again, to any consumer. One received more than the queue's
        `max_receives` times becomes a dead letter, kept and counted.
        """

    async def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        """The leases still held, now good for `lease` seconds from this call; a lost one is left out."""

    async def ack(self, leases: Sequence[Lease]) -> int:
        """Remove the messages for good; how many were removed. A lease lost meanwhile is no error."""

    async def release(self, leases: Sequence[Lease], delay: float = 0) -> None:
        """Give the messages back, to be delivered again after `delay` seconds."""

    async def depth(self) -> Depth: ...

    async def ping(self) -> None:
        """Raise `Unavailable` unless the queue would take a message now."""

    async def aclose(self) -> None: ...


# Store ---------------------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as the store returns it: the exact bytes."""

    id: str
    placement: str
    timestamp: int
    received_at: int
    hash: bytes
    body: bytes


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


class EventStore(Protocol):
    """The durable, exact record of every event."""

    async def insert(self, rows: Sequence[StoreRow]) -> list[InsertOutcome | Exception]:
        """One outcome for each row; what is STORED survives a crash of the store. Inserting again is harmless.

        An exception in the list is that row's own fault (the store will never take it).
        """

    async def get(self, scope: TenantScope, event_id: str) -> Stored | None: ...

    async def fetch(self, scope: TenantScope, ids: Collection[str]) -> dict[str, Stored]:
        """The events of the scope's tenant among `ids`, in one round trip; the others are left out."""

    async def find(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> StorePage:
        """A page of a query that does not need the index (`EventQuery.needs_index`)."""

    async def count(self, scope: TenantScope) -> int: ...

    def scan(
        self, scope: TenantScope, *, start: int, end: int, descending: bool = True, batch: int = 500
    ) -> AsyncIterator[list[Stored]]:
        """Every event with `start <= received_at < end`, in batches by `received_at`; memory holds one batch."""

    async def ping(self) -> None: ...


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


class Parking(Protocol):
    """Events that their own content keeps from being stored or indexed; kept until a person decides."""

    async def park(self, items: Sequence[Parked]) -> None:
        """Durable on return. Parking the same `id` again changes nothing but `attempts`."""

    async def listing(self, tenant_id: str | None = None, limit: int = 100) -> list[Parked]: ...

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

    async def oldest(self, limit: int) -> list[OutboxEntry]:
        """The entries with the smallest `received_at`."""

    async def remove(self, event_ids: Collection[str]) -> None: ...

    async def size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """That a consumer has stored and indexed (or put in the outbox) a whole envelope."""

    producer: str
    sequence: int
    envelope: str
    made_at: int
    events: dict[str, int]
    done_at: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a producer has sealed so far; every sequence up to `sequence` was sent, is being sent, or is in `voided`."""

    producer: str
    sequence: int
    at: int
    voided: tuple[int, ...] = ()


class Ledger(Protocol):
    """Which envelopes were made and which arrived: the ground of the watermark."""

    async def beat(self, heartbeat: Heartbeat) -> None: ...

    async def record(self, receipts: Sequence[Receipt]) -> None:
        """Recording a receipt again is harmless."""

    async def advance(self, settled_before: int) -> None:
        """Move each producer's frontier over the receipts done before `settled_before` (microseconds)."""

    async def give_up(self, silent_since: int) -> None:
        """Close the holes of producers without a sign of life since then (microseconds).

        For a caller that saw the queue empty from then on: what was sealed and never sent will not come any more.
        """

    async def complete_through(self) -> int | None:
        """Every event accepted before this moment (microseconds) is stored and indexed; None: nothing known yet."""

    async def rebuilding(self, tenant_id: str) -> bool:
        """Whether a rebuild of this tenant's index is under way."""

    async def set_rebuilding(self, tenant_id: str, running: bool) -> None: ...


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

    async def facets(self) -> dict[str, Facets]:
        """The facets of each tenant that ever declared some."""

    async def replace_facets(self, tenant_id: str, old: Facets, new: Facets) -> bool:
        """Whether the tenant's facets were `old`, by their serial, and are `new` now."""

    async def create_key(self, key: ApiKey) -> None: ...

    async def key(self, key_id: str) -> ApiKey | None: ...

    async def revoke(self, name: str, at: int) -> None:
        """From now on no snapshot lets `name` through: `key:<id>` or a token's id. Revoking again changes nothing."""

    async def snapshot(self) -> AccessSnapshot: ...


# Index ---------------------------------------------------------------------------------------------------------------


class IndexDocument(msgspec.Struct, frozen=True, gc=False):
    """A stored event on its way into the index."""

    id: str
    body: bytes


class IndexOutcome(StrEnum):
    INDEXED = "indexed"
    PRESENT = "present"
    REDUCED = "reduced"
    """Indexed without what the index refuses, and flagged `index_reduced`; the store has the whole."""


@dataclass(frozen=True, slots=True)
class Hit:
    id: str
    position: Position


@dataclass(frozen=True, slots=True)
class HitPage:
    """Hits in the query's order. `total` is exact when `total_exact`, else a lower bound."""

    hits: list[Hit]
    total: int
    total_exact: bool


class EventIndex(Protocol):
    """A searchable copy of the store, which may be lost and made again."""

    async def index(
        self, scope: TenantScope, placement: str, documents: Sequence[IndexDocument]
    ) -> list[IndexOutcome | Exception]:
        """One outcome for each document, visible to search within the refresh interval; makes the placement's first
        generation and its aliases when missing. Indexing again is harmless. An exception in the list is that
        document's own fault."""

    async def search(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> HitPage:
        """A page of ids; an event is never skipped or repeated from page to page."""

    async def count(self, scope: TenantScope) -> int:
        """Searchable events of the tenant, after a refresh."""

    async def refresh(self, scope: TenantScope) -> None:
        """Make everything indexed so far visible to search."""

    async def drop(self, scope: TenantScope) -> None:
        """Remove every index of the tenant."""

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...
