"""The quarantine in MongoDB: `Quarantine`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from bson.binary import Binary

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, chunks, store_calls
from core.adapters.store.indexes import QUARANTINE
from core.adapters.store.upserts import insert_once
from core.ports.quarantine import Kept, Match, Quarantined
from core.tenant import TenantScope

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Kept).decode


class MongoQuarantine:
    """The collection `quarantine`, one document an item: what was kept as one value, beside it what is asked for."""

    def __init__(self, database: Database) -> None:
        self._items = database[QUARANTINE]

    async def keep(self, items: Sequence[Quarantined]) -> None:
        await insert_once(self._items, [_document(item) for item in items])

    async def get(self, scope: TenantScope, ids: Sequence[str]) -> dict[str, Quarantined]:
        found: dict[str, Quarantined] = {}
        with store_calls(BULK_DEADLINE):
            for chunk in chunks(list(dict.fromkeys(ids))):
                asked = {"_id": {"$in": list(chunk)}, "tenant_id": scope.tenant_id}
                found |= {d["_id"]: _item(d) for d in await self._items.find(asked).to_list(None)}
        return found

    async def listing(
        self, scope: TenantScope, match: Match, *, before: tuple[int, str] | None, limit: int
    ) -> list[Quarantined]:
        newest: list[tuple[str, int]] = [("at", -1), ("_id", -1)]
        asked = _asked(scope, match)
        found: list[BsonMap] = []
        with store_calls(BULK_DEADLINE):
            if before is not None:
                at, item_id = before
                ties = asked | {"at": at, "_id": {"$lt": item_id}}
                found = await self._items.find(ties).sort(newest).limit(limit).to_list(None)
                asked |= {"at": {"$gte": 0, "$lt": at}}
            if len(found) < limit:
                found += await self._items.find(asked).sort(newest).limit(limit - len(found)).to_list(None)
        return [_item(document) for document in found]

    async def count(self, scope: TenantScope, match: Match) -> int:
        with store_calls(BULK_DEADLINE):
            return await self._items.count_documents(_asked(scope, match))

    async def fix(self, scope: TenantScope, item: Quarantined, fixed: bytes) -> bool:
        own = {"_id": item.kept.id, "tenant_id": scope.tenant_id, "revision": item.revision}
        change = {"$set": {"fixed": Binary(fixed), "revision": item.revision + 1}}
        with store_calls():
            return (await self._items.update_one(own, change)).matched_count == 1

    async def remove(self, scope: TenantScope, ids: Sequence[str]) -> int:
        removed = 0
        with store_calls(BULK_DEADLINE):
            for chunk in chunks(list(dict.fromkeys(ids))):
                own = {"_id": {"$in": list(chunk)}, "tenant_id": scope.tenant_id}
                removed += (await self._items.delete_many(own)).deleted_count
        return removed


def _asked(scope: TenantScope, match: Match) -> BsonMap:
    asked: BsonMap = {"tenant_id": scope.tenant_id}
    if match.code is not None:
        asked["code"] = match.code
    if match.field is not None:
        asked["fields"] = match.field
    return asked


def _document(item: Quarantined) -> BsonMap:
    kept = item.kept
    return {
        "_id": kept.id,
        "tenant_id": item.tenant_id,
        "at": kept.at,
        "code": kept.code,
        "fields": kept.fields,
        "kept": Binary(_encode(kept)),
        "fixed": None if item.fixed is None else Binary(item.fixed),
        "revision": item.revision,
    }


def _item(document: BsonMap) -> Quarantined:
    fixed = document["fixed"]
    return Quarantined(
        document["tenant_id"],
        _decode(bytes(document["kept"])),
        None if fixed is None else bytes(fixed),
        int(document["revision"]),
    )
