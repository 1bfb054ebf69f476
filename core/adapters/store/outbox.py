"""The outbox in MongoDB: `Outbox`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, chunks, store_calls
from core.adapters.store.indexes import OUTBOX
from core.adapters.store.upserts import insert_once
from core.ports import OutboxEntry


class MongoOutbox:
    """The collection `outbox`, one document an event that the index still lacks."""

    def __init__(self, database: Database) -> None:
        self._outbox = database[OUTBOX]

    async def add(self, entries: Sequence[OutboxEntry]) -> None:
        documents = [
            {"_id": e.event_id, "tenant_id": e.tenant_id, "placement": e.placement, "received_at": e.received_at}
            for e in entries
        ]
        await insert_once(self._outbox, documents)

    async def tenants(self) -> list[str]:
        with store_calls(BULK_DEADLINE):
            return sorted(await self._outbox.distinct("tenant_id"))

    async def oldest(self, limit: int, tenant_id: str, *, beside: Collection[str] = ()) -> list[OutboxEntry]:
        asked: BsonMap = {"tenant_id": tenant_id}
        if beside:
            asked["placement"] = {"$nin": [*beside]}
        with store_calls(BULK_DEADLINE):
            cursor = self._outbox.find(asked).sort([("received_at", 1)]).limit(limit)
            documents = await cursor.to_list(None)
        return [OutboxEntry(d["_id"], d["tenant_id"], d["placement"], d["received_at"]) for d in documents]

    async def remove(self, event_ids: Collection[str]) -> None:
        with store_calls(BULK_DEADLINE):
            for chunk in chunks([*event_ids]):
                await self._outbox.delete_many({"_id": {"$in": list(chunk)}})

    async def waiting(self, tenant_id: str, start: int, end: int) -> int:
        within = {"tenant_id": tenant_id, "received_at": {"$gte": start, "$lt": end}}
        with store_calls(BULK_DEADLINE):
            return await self._outbox.count_documents(within)

    async def size(self) -> int:
        with store_calls():
            return await self._outbox.estimated_document_count()
