"""Parked events in MongoDB: `Parking`."""

from __future__ import annotations

from collections.abc import Sequence

from bson.binary import Binary

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import PARKED
from core.adapters.store.upserts import upsert
from core.ports import Parked
from core.ports.pending import NOT_INDEXABLE


class MongoParking:
    """The collection `parked`. The first parking of an id is kept as it was; later ones add their attempts."""

    def __init__(self, database: Database) -> None:
        self._parked = database[PARKED]

    async def park(self, items: Sequence[Parked]) -> None:
        for item in items:
            change = {"$setOnInsert": _first(item), "$inc": {"attempts": item.attempts}}
            await upsert(self._parked, item.id, change)

    async def listing(self, tenant_id: str | None = None, limit: int = 100) -> list[Parked]:
        """The latest first."""
        asked = {} if tenant_id is None else {"tenant_id": tenant_id}
        with store_calls(BULK_DEADLINE):
            cursor = self._parked.find(asked).sort([("parked_at", -1), ("_id", -1)]).limit(limit)
            return [_parked(document) for document in await cursor.to_list(None)]

    async def unindexed(self, tenant_id: str, start: int, end: int) -> int:
        within = {"tenant_id": tenant_id, "received_at": {"$gte": start, "$lt": end}, "reason": NOT_INDEXABLE}
        with store_calls(BULK_DEADLINE):
            return await self._parked.count_documents(within)

    async def of_tenant(self, tenant_id: str, *, after: str, limit: int) -> list[Parked]:
        asked = {"tenant_id": tenant_id, "_id": {"$gt": after}}
        with store_calls(BULK_DEADLINE):
            found = await self._parked.find(asked).sort([("_id", 1)]).limit(limit).to_list(None)
        return [_parked(document) for document in found]

    async def get(self, parked_id: str) -> Parked | None:
        with store_calls():
            document = await self._parked.find_one({"_id": parked_id})
        return None if document is None else _parked(document)

    async def remove(self, parked_id: str, attempts: int | None = None) -> bool:
        asked: BsonMap = {"_id": parked_id} if attempts is None else {"_id": parked_id, "attempts": attempts}
        with store_calls():
            return (await self._parked.delete_one(asked)).deleted_count == 1


def _first(item: Parked) -> BsonMap:
    return {
        "tenant_id": item.tenant_id,
        "event_id": item.event_id,
        "reason": item.reason,
        "detail": item.detail,
        "body": Binary(item.body),
        "placement": item.placement,
        "content": None if item.content is None else Binary(item.content),
        "envelope": item.envelope,
        "parked_at": item.parked_at,
        **({} if item.received_at is None else {"received_at": item.received_at}),
    }


def _parked(document: BsonMap) -> Parked:
    content = document["content"]
    return Parked(
        id=document["_id"],
        tenant_id=document["tenant_id"],
        event_id=document["event_id"],
        reason=document["reason"],
        detail=document["detail"],
        body=bytes(document["body"]),
        placement=document["placement"],
        content=None if content is None else bytes(content),
        envelope=document["envelope"],
        attempts=document["attempts"],
        parked_at=document["parked_at"],
        received_at=document.get("received_at"),
    )
