"""Legal holds in MongoDB: `core.holds.Holds`."""

from __future__ import annotations

from typing import Final

import msgspec

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import HOLDS
from core.adapters.store.upserts import insert_once
from core.holds import Hold
from core.query import EventQuery
from core.tenant import TenantScope

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(EventQuery).decode


class MongoHolds:
    """The collection `holds`; queries are kept as JSON text, whatever their keys."""

    def __init__(self, database: Database) -> None:
        self._holds = database[HOLDS]

    async def create(self, scope: TenantScope, hold: Hold) -> None:
        document = {
            "_id": hold.id,
            "tenant_id": scope.tenant_id,
            "query": _encode(hold.query).decode(),
            "written": hold.written.decode(),
            "reason": hold.reason,
            "made_by": hold.made_by,
            "made_at": hold.made_at,
            "matched": hold.matched,
            "matched_exact": hold.matched_exact,
            "released_by": hold.released_by,
            "released_at": hold.released_at,
            "release_reason": hold.release_reason,
        }
        await insert_once(self._holds, [document])

    async def get(self, scope: TenantScope, hold_id: str) -> Hold | None:
        with store_calls():
            found = await self._holds.find_one({"_id": hold_id, "tenant_id": scope.tenant_id})
        return None if found is None else _hold(found)

    async def listing(self, scope: TenantScope, *, before: str | None, limit: int) -> list[Hold]:
        asked: BsonMap = {"tenant_id": scope.tenant_id}
        if before is not None:
            asked["_id"] = {"$lt": before}
        with store_calls():
            found = await self._holds.find(asked).sort([("_id", -1)]).limit(limit).to_list(None)
        return [_hold(document) for document in found]

    async def standing(self, scope: TenantScope) -> list[Hold]:
        asked = {"tenant_id": scope.tenant_id, "released_at": None}
        with store_calls():
            found = await self._holds.find(asked).sort([("_id", 1)]).to_list(None)
        return [_hold(document) for document in found]

    async def release(self, scope: TenantScope, hold_id: str, *, by: str, at: int, reason: str) -> bool:
        asked = {"_id": hold_id, "tenant_id": scope.tenant_id, "released_at": None}
        change = {"released_by": by, "released_at": at, "release_reason": reason}
        with store_calls():
            return (await self._holds.update_one(asked, {"$set": change})).matched_count == 1

    async def forget(self, scope: TenantScope) -> None:
        with store_calls(BULK_DEADLINE):
            await self._holds.delete_many({"tenant_id": scope.tenant_id})


def _hold(document: BsonMap) -> Hold:
    at = document["released_at"]
    return Hold(
        id=document["_id"],
        tenant_id=document["tenant_id"],
        query=_decode(document["query"]),
        written=document["written"].encode(),
        reason=document["reason"],
        made_by=document["made_by"],
        made_at=int(document["made_at"]),
        matched=int(document["matched"]),
        matched_exact=bool(document["matched_exact"]),
        released_by=document["released_by"],
        released_at=None if at is None else int(at),
        release_reason=document["release_reason"],
    )
