"""Ports in memory for tests of what stands on them. Each can be told to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from core import instant
from core.envelope import Header, Record, pack
from core.event import decode_stored
from core.ids import uuid7s
from core.ports import (
    Account,
    HitPage,
    IndexDocument,
    IndexOutcome,
    InsertOutcome,
    Lease,
    OutboxEntry,
    Parked,
    Quarantined,
    Rebuilding,
    Receipt,
    Stored,
    StorePage,
    StoreRow,
    Tally,
    Tombstone,
)
from core.query import EventQuery, Position
from core.tenant import TenantScope

TENANT = "aaaaaaaa"
AT = 1_780_000_000_000_000


def record(n: int, *, tenant_id: str = TENANT, content: bytes | None = None, event_id: str | None = None) -> Record:
    text = instant.to_text(AT + n)
    name = event_id or str(next(iter(uuid7s(AT + n, 1))))
    body = (
        f'{{"id":"{name}","tenant_id":"{tenant_id}","timestamp":"{text}","received_at":"{text}",'
        f'"salt":"s","action":"a{n}","severity":"INFO"}}'
    )
    return Record(tenant_id, "202605", body.encode(), content)


def envelope(sequence: int, *records: Record) -> bytes:
    events: dict[str, int] = {}
    for each in records:
        events[each.tenant_id] = events.get(each.tenant_id, 0) + 1
    return pack(Header(id=f"p-{sequence}", producer="p", sequence=sequence, made_at=AT, events=events), records)


class Failing:
    """`fail` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.fail: Exception | None = None

    def _try(self) -> None:
        if self.fail is not None:
            raise self.fail


class Store(Failing):
    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, StoreRow] = {}
        self.refuses: set[str] = set()
        self.fail_find: Exception | None = None
        self.gate: asyncio.Event | None = None
        """While it is there, `find` waits for it."""

    async def insert(self, rows: Sequence[StoreRow]) -> list[InsertOutcome | Exception]:
        self._try()
        return [self._insert(row) for row in rows]

    def _insert(self, row: StoreRow) -> InsertOutcome | Exception:
        if row.id in self.refuses:
            return ValueError("the store never takes it")
        there = self.rows.setdefault(row.id, row)
        if there is row:
            return InsertOutcome.STORED
        same = there.hash == row.hash or (row.content is not None and there.content == row.content)
        return InsertOutcome.DUPLICATE if same else InsertOutcome.CONFLICT

    async def get(self, scope: TenantScope, event_id: str) -> Stored | None:
        return (await self.fetch(scope, [event_id])).get(event_id)

    async def fetch(self, scope: TenantScope, ids: Collection[str]) -> dict[str, Stored]:
        self._try()
        rows = [self.rows[i] for i in ids if i in self.rows and self.rows[i].tenant_id == scope.tenant_id]
        return {row.id: stored(row) for row in rows}

    async def bodies(self, scope: TenantScope, ids: Collection[str]) -> dict[str, bytes]:
        return {event_id: event.body for event_id, event in (await self.fetch(scope, ids)).items()}

    async def find(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> StorePage:
        self._try()
        if self.fail_find is not None:
            raise self.fail_find
        if self.gate is not None:
            await self.gate.wait()
        rows = [row for row in self.rows.values() if row.tenant_id == scope.tenant_id]
        events = ordered([stored(row) for row in rows], query, after)
        return StorePage(events[:limit], len(rows), True)

    async def ping(self) -> None:
        self._try()


def stored(row: StoreRow) -> Stored:
    return Stored(row.id, row.placement, row.timestamp, row.received_at, row.hash, row.body, row.content, row.envelope)


def ordered(events: list[Stored], query: EventQuery, after: Position | None) -> list[Stored]:
    def key(event: Stored) -> tuple[int, str]:
        return getattr(event, query.sort), event.id

    events = sorted(events, key=key, reverse=query.descending)
    if after is None:
        return events
    here = (after.us, after.id)
    return [event for event in events if (key(event) < here if query.descending else key(event) > here)]


class Index(Failing):
    def __init__(self) -> None:
        super().__init__()
        self.documents: dict[str, bytes] = {}
        self.refuses: set[str] = set()
        self.calls = 0
        self.fails_for: dict[str, Exception] = {}
        """By tenant: what its calls alone raise."""

    async def index(
        self, scope: TenantScope, placement: str, documents: Sequence[IndexDocument]
    ) -> list[IndexOutcome | Exception]:
        self.calls += 1
        self._try()
        if scope.tenant_id in self.fails_for:
            raise self.fails_for[scope.tenant_id]
        outcomes: list[IndexOutcome | Exception] = []
        for document in documents:
            if document.id in self.refuses:
                outcomes.append(ValueError("the index never takes it"))
                continue
            present = document.id in self.documents
            self.documents.setdefault(document.id, document.body)
            outcomes.append(IndexOutcome.PRESENT if present else IndexOutcome.INDEXED)
        return outcomes

    async def refresh(self, scope: TenantScope) -> None:
        self._try()

    async def search(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> HitPage:
        self._try()
        events = []
        for event_id, body in self.documents.items():
            event = decode_stored(body)
            if event.tenant_id == scope.tenant_id:
                times = instant.from_text(event.timestamp), instant.from_text(event.received_at)
                events.append(Stored(event_id, "", *times, b"", body))
        page = ordered(events, query, after)[:limit]
        hits = [Position(getattr(event, query.sort), event.id) for event in page]
        exact = len(events) <= total_bound
        return HitPage(hits, min(len(events), total_bound), exact)


class Parking(Failing):
    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Parked] = {}

    async def park(self, items: Sequence[Parked]) -> None:
        self._try()
        self.items.update((item.id, item) for item in items)


class Quarantine(Failing):
    def __init__(self) -> None:
        super().__init__()
        self.items: dict[str, Quarantined] = {}

    async def keep(self, items: Sequence[Quarantined]) -> None:
        self._try()
        for item in items:
            self.items.setdefault(item.kept.id, item)


class Outbox(Failing):
    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, OutboxEntry] = {}

    async def add(self, entries: Sequence[OutboxEntry]) -> None:
        self._try()
        self.entries.update((entry.event_id, entry) for entry in entries)

    async def tenants(self) -> list[str]:
        return sorted({entry.tenant_id for entry in self.entries.values()})

    async def oldest(self, limit: int, tenant_id: str, *, beside: Collection[str] = ()) -> list[OutboxEntry]:
        own = [e for e in self.entries.values() if e.tenant_id == tenant_id and e.placement not in beside]
        return sorted(own, key=lambda entry: entry.received_at)[:limit]

    async def remove(self, event_ids: Collection[str]) -> None:
        for event_id in event_ids:
            self.entries.pop(event_id, None)

    async def size(self) -> int:
        return len(self.entries)


class Ledger(Failing):
    def __init__(self) -> None:
        super().__init__()
        self.receipts: list[Receipt] = []
        self.through: int | None = None
        self.rebuilds: set[str] = set()
        self.beside: set[str] = set()
        self.reads = 0

    async def record(self, receipts: Sequence[Receipt]) -> None:
        self._try()
        self.receipts += receipts

    async def complete_through(self, tenant_id: str) -> int | None:
        self.reads += 1
        return self.through

    async def rebuilding(self, tenant_id: str) -> Rebuilding:
        if tenant_id in self.rebuilds:
            return Rebuilding.BEHIND
        return Rebuilding.BESIDE if tenant_id in self.beside else Rebuilding.NO

    async def set_rebuilding(self, tenant_id: str, running: bool) -> None:
        (self.rebuilds.add if running else self.rebuilds.discard)(tenant_id)


class Accounts(Failing):
    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str, int], Account] = {}

    async def write(self, accounts: Sequence[Account]) -> None:
        self._try()
        for each in accounts:
            self.kept.setdefault((each.source, each.tenant_id, each.second), each)

    def sum(self, tenant_id: str = TENANT) -> Tally:
        return sum((each.tally for each in self.kept.values() if each.tenant_id == tenant_id), Tally())


class Graves(Failing):
    """Tombstones."""

    def __init__(self) -> None:
        super().__init__()
        self.all: dict[str, Tombstone] = {}
        self.asked: list[int] = []

    async def put(self, tombstone: Tombstone) -> None:
        self._try()
        self.all[tombstone.id] = tombstone

    async def get(self, tombstone_id: str) -> Tombstone | None:
        return self.all.get(tombstone_id)

    async def standing(self, since: int) -> list[Tombstone]:
        self._try()
        self.asked.append(since)
        return [each for each in self.all.values() if each.standing_since is not None and each.standing_since >= since]

    async def remove(self, tombstone_id: str) -> None:
        self.all.pop(tombstone_id, None)


class Queue(Failing):
    """Gives what is in `waiting`; keeps what was done with each lease."""

    def __init__(self, *waiting: bytes) -> None:
        super().__init__()
        self.waiting = [(body, 1) for body in waiting]
        self.received = 0
        self.acked: list[bytes] = []
        self.released: list[tuple[bytes, float]] = []
        self.extended: list[str] = []
        self.lost: set[str] = set()

    async def receive(self, count: int, wait: float, lease: float) -> list[Lease]:
        self.received += 1
        self._try()
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        if not taken:
            await asyncio.sleep(0.005)
        return [Lease(body, f"h{self.received}-{n}", receives, 0.0) for n, (body, receives) in enumerate(taken)]

    async def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        self._try()
        self.extended += [each.handle for each in leases]
        return [each for each in leases if each.handle not in self.lost]

    async def ack(self, leases: Sequence[Lease]) -> int:
        self._try()
        self.acked += [lease.body for lease in leases]
        return len(leases)

    async def release(self, leases: Sequence[Lease], delay: float = 0) -> None:
        self._try()
        self.released += [(lease.body, delay) for lease in leases]


def anything(value: Any) -> Any:
    """Past the type checker: these ports have what the code under test calls, and no more."""
    return value
