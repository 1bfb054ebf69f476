"""Events in MongoDB: `EventStore`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from core import instant
from core.adapters.store import pages
from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, listed, ping, store_calls
from core.adapters.store.client import chunks as chunks_of
from core.adapters.store.drain import Drain
from core.adapters.store.indexes import EVENTS
from core.adapters.store.inserts import insert_rows
from core.adapters.store.queries import filter_of, range_of
from core.adapters.store.walk import Walk
from core.adapters.store.windows import END_OF_TIME
from core.ports import Drained, InsertOutcome, Stored, StorePage, StoreRow
from core.query import EventQuery, Position, Range
from core.tenant import TenantScope

FETCHES_AT_ONCE: Final = 8
_IDS: Final = 2000
"""Ids in a batch."""


class MongoEventStore:
    """The collection `events`: an event's exact bytes as text, beside them what it is filtered and sorted by."""

    def __init__(self, database: Database, clock: Callable[[], int] = instant.now_us) -> None:
        self._database = database
        self._events = database[EVENTS]
        self._clock = clock

    async def insert(self, rows: Sequence[StoreRow], *, again: bool = False) -> list[InsertOutcome | Exception]:
        return await insert_rows(self._events, rows, again=again)

    async def remove(self, scope: TenantScope, events: Mapping[str, bytes]) -> int:
        removed = 0
        for chunk in chunks_of([*events.items()]):
            # No two events have the same hash, so an id and a hash of one chunk are those of one event.
            asked = {
                "_id": {"$in": [event_id for event_id, _ in chunk]},
                "tenant_id": scope.tenant_id,
                "hash": {"$in": [digest for _, digest in chunk]},
            }
            with store_calls(BULK_DEADLINE):
                removed += (await self._events.delete_many(asked)).deleted_count
        return removed

    async def get(self, scope: TenantScope, event_id: str) -> Stored | None:
        return (await self.fetch(scope, [event_id])).get(event_id)

    async def fetch(self, scope: TenantScope, ids: Collection[str]) -> dict[str, Stored]:
        return {document["_id"]: pages.stored_of(document) for document in await self._named(scope, ids, pages.STORED)}

    async def bodies(self, scope: TenantScope, ids: Collection[str]) -> dict[str, bytes]:
        return {document["_id"]: document["body"].encode() for document in await self._named(scope, ids, {"body": 1})}

    async def _named(self, scope: TenantScope, ids: Collection[str], fields: BsonMap) -> list[BsonMap]:
        async def some(chunk: Sequence[str]) -> list[BsonMap]:
            # `_id` first: see `queries.filter_of`.
            asked = {"_id": {"$in": list(chunk)}, "tenant_id": scope.tenant_id}
            return await listed(self._events, asked, fields)

        found: list[BsonMap] = []
        with store_calls():
            for several in chunks_of(chunks_of([*dict.fromkeys(ids)]), FETCHES_AT_ONCE):
                # A page is mostly one chunk, which needs no task of its own.
                fetched = await asyncio.gather(*map(some, several)) if len(several) > 1 else [await some(several[0])]
                found += chain.from_iterable(fetched)
        return found

    async def find(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> StorePage:
        base = filter_of(query, scope.tenant_id)
        asked: Range = getattr(query, query.sort)
        span = (asked.start or 0, END_OF_TIME if asked.end is None else asked.end)
        reader = pages.Reader(self._events, base, pages.Order(query.sort, query.descending), span)
        if "_id" in base:
            return await reader.named_page(after, limit, total_bound)
        return await reader.page(after, limit, total_bound, self._clock())

    async def columns(
        self, scope: TenantScope, query: EventQuery, fields: Sequence[str], *, bound: int
    ) -> list[dict[str, Any]] | None:
        base = filter_of(query, scope.tenant_id)
        within = {query.sort: bounds} if (bounds := range_of(getattr(query, query.sort))) else {}
        # In the order of the index's keys, as in `pages`; ids come first where the query names them.
        asked = base | within if "_id" in base else {"tenant_id": scope.tenant_id} | within | base
        with store_calls():
            found = await self._events.find(asked, dict.fromkeys(fields, 1)).limit(bound + 1).to_list(None)
        return None if len(found) > bound else found

    async def count(self, scope: TenantScope, *, start: int = 0, end: int | None = None) -> int:
        asked: BsonMap = {"tenant_id": scope.tenant_id}
        if start or end is not None:
            asked |= _within(start, END_OF_TIME if end is None else end)
        with store_calls(BULK_DEADLINE):
            return await self._events.count_documents(asked)

    async def by_envelope(self, scope: TenantScope, *, start: int, end: int) -> dict[str, int]:
        asked = {"tenant_id": scope.tenant_id} | _within(start, end)
        counting: list[BsonMap] = [{"$match": asked}, {"$group": {"_id": "$envelope", "n": {"$sum": 1}}}]
        with store_calls(BULK_DEADLINE):
            return {d["_id"]: int(d["n"]) for d in await self._events.aggregate(counting).to_list(None)}

    async def ids(self, scope: TenantScope, *, start: int, end: int) -> AsyncIterator[list[Position]]:
        order = pages.Order("received_at", descending=False)
        span = (start, min(end, END_OF_TIME))
        reader = pages.Reader(
            self._events, {"tenant_id": scope.tenant_id}, order, span, fields=pages.BARE, made=pages.bare_of
        )
        async for batch in Walk(reader, _IDS, self._clock).batches():
            yield [order.position(event) for event in batch]

    async def scan(
        self, scope: TenantScope, *, start: int, end: int, descending: bool = True, batch: int = 500
    ) -> AsyncIterator[list[Stored]]:
        order = pages.Order("received_at", descending)
        reader = pages.Reader(self._events, {"tenant_id": scope.tenant_id}, order, (start, min(end, END_OF_TIME)))
        async for found in Walk(reader, batch, self._clock).batches():
            yield found

    async def drain(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, whole: bool = False
    ) -> AsyncIterator[Drained]:
        bounds = query.received_at
        assert bounds.end is not None  # noqa: S101 - the port says so
        base = filter_of(msgspec.structs.replace(query, sort="received_at"), scope.tenant_id)
        reading = Drain(self._events, base, bounds.start or 0, bounds.end, after)
        if whole:
            reading.fields = pages.WHOLE
        async for batch in reading.batches():
            yield batch

    async def ping(self) -> None:
        await ping(self._database)


def _within(start: int, end: int) -> BsonMap:
    return {"received_at": {"$gte": start, "$lt": end}}
