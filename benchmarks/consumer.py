"""The consumer's CPU for a 550-byte event, from the envelope's bytes to the ports: what Ocelot itself costs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast

import bson

from benchmarks import data
from benchmarks.rows import Row, at_most
from consumer.pipeline import Delivery, Pipeline
from core import envelope, instant
from core.adapters.index.client import Client
from core.adapters.index.opensearch import OpenSearchIndex
from core.adapters.store.client import Collection
from core.adapters.store.inserts import insert_rows
from core.bulk import Bulk, Form
from core.commit import GroupCommit
from core.envelope import Header, Record
from core.garbage import settled
from core.ingest import Ingest
from core.ports import (
    Account,
    Accounts,
    EventIndex,
    EventStore,
    IndexDocument,
    IndexOutcome,
    InsertOutcome,
    Ledger,
    Outbox,
    Parked,
    Parking,
    Quarantine,
    Receipt,
    StoreRow,
    Tombstone,
    Tombstones,
)
from core.tenant import Tenant, TenantScope, for_system
from core.tombstones import TombstoneSource

GOAL_US: Final = 15.0
# A receive of ten envelopes; 300 of these events make a full one.
ENVELOPES: Final = 10
EVENTS_EACH: Final = 300
BATCHES: Final = 16


def run() -> list[Row]:
    batches = [asyncio.run(_deliveries(1 + n)) for n in range(BATCHES)]
    bare = asyncio.run(_cost(_Store(), _Index(), batches))
    encoding = asyncio.run(_cost(_EncodingStore(), OpenSearchIndex(cast("Client", _Transport()), 1, 0), batches))
    return [
        at_most("consumer, event of 550 B, stub stores", bare, GOAL_US, "us of CPU per event"),
        Row("consumer, event of 550 B, with BSON and bulk bodies", round(encoding, 2), None, None, "", True,
            "us of CPU per event"),
    ]  # fmt: skip


async def _cost(store: Any, index: Any, batches: Sequence[Sequence[Delivery]]) -> float:
    """Microseconds of the process's CPU for an event; the median of the batches after the first."""
    nothing = _Nothing()
    pipeline = Pipeline(
        store=cast("EventStore", store),
        index=cast("EventIndex", index),
        parking=cast("Parking", nothing),
        quarantine=cast("Quarantine", nothing),
        accounts=cast("Accounts", nothing),
        outbox=cast("Outbox", None),
        ledger=cast("Ledger", nothing),
        tombstones=TombstoneSource(cast("Tombstones", nothing)),
    )
    costs = []
    with settled():  # as in the process
        for deliveries in batches:
            before = time.process_time()
            results = await pipeline.process(deliveries)
            costs.append((time.process_time() - before) / (ENVELOPES * EVENTS_EACH) * 1e6)
            if any(results):
                raise RuntimeError(f"not processed: {results}")
    return statistics.median(costs[1:])


async def _deliveries(batch: int) -> list[Delivery]:
    """Envelopes of events as the API makes them, each with a time, a user, an address and ids of its own."""
    commit = _Commit()
    tenant = Tenant("benchmark", "benchmark", b"\0" * 32, 0)
    for _ in range(ENVELOPES):
        body = b"[" + b",".join(data.small_ones(EVENTS_EACH)) + b"]"
        await Ingest(cast("GroupCommit", commit)).many(
            for_system(tenant.id, "benchmark"), tenant, Bulk(body, Form.JSON)
        )
    deliveries = []
    for sequence, records in enumerate(commit.taken, batch * ENVELOPES):
        events = {tenant.id: len(records)}
        header = Header(id=f"p-{sequence}", producer="p", sequence=sequence, made_at=0, events=events)
        deliveries.append(Delivery(envelope.pack(header, records), 1))
    return deliveries


class _Commit:
    """Keeps the records that it is given."""

    def __init__(self) -> None:
        self.taken: list[Sequence[Record]] = []

    @contextmanager
    def stamping(self) -> Iterator[int]:
        yield instant.now_us()

    async def submit(self, records: Sequence[Record], stamp: int | None = None) -> list[tuple[int, int, Exception]]:
        self.taken.append(records)
        return []


class _Store:
    async def insert(self, rows: Sequence[StoreRow]) -> list[InsertOutcome]:
        return [InsertOutcome.STORED] * len(rows)


class _Index:
    async def index(self, scope: TenantScope, placement: str, documents: Sequence[IndexDocument]) -> list[IndexOutcome]:
        return [IndexOutcome.INDEXED] * len(documents)


class _Nothing:
    """Parking, ledger, books and tombstones."""

    async def park(self, items: Sequence[Parked]) -> None:
        raise RuntimeError(f"parked: {items[0].detail}")

    async def record(self, receipts: Sequence[Receipt]) -> None:
        """Nothing."""

    async def write(self, accounts: Sequence[Account]) -> None:
        """Nothing."""

    async def standing(self, since: int) -> list[Tombstone]:
        return []


class _EncodingStore:
    """The MongoDB adapter up to the bytes that it would send."""

    async def insert(self, rows: Sequence[StoreRow]) -> list[Any]:
        return await insert_rows(cast("Collection", self), rows)

    async def insert_many(self, documents: Sequence[Mapping[str, Any]], *, ordered: bool) -> None:
        for document in documents:
            bson.encode(document)


class _Transport:
    """OpenSearch's answer to a bulk that it takes whole."""

    deadline = 5.0
    write_deadline = 15.0

    async def call(self, method: str, path: str, params: Mapping[str, str], body: bytes, **more: object) -> str:
        return '{"items":[' + ",".join(['{"create":{"status":201}}'] * (body.count(b"\n") // 2)) + "]}"
