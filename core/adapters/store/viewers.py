"""Viewer links in MongoDB: `core.viewers.ViewerLinks`."""

from __future__ import annotations

from typing import Final

import msgspec

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import VIEWERS
from core.adapters.store.upserts import insert_once
from core.query import EventQuery
from core.tenant import TenantScope
from core.viewers import ViewerLink

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(EventQuery).decode


class MongoViewerLinks:
    """The collection `viewers`; filters are kept as JSON text, whatever their keys."""

    def __init__(self, database: Database) -> None:
        self._links = database[VIEWERS]

    async def create(self, scope: TenantScope, link: ViewerLink) -> None:
        document = {
            "_id": link.id,
            "tenant_id": scope.tenant_id,
            "label": link.label,
            "filter": _encode(link.filter).decode(),
            "written": link.written.decode(),
            "made_by": link.made_by,
            "made_at": link.made_at,
            "expires_at": link.expires_at,
        }
        await insert_once(self._links, [document])

    async def get(self, scope: TenantScope, link_id: str) -> ViewerLink | None:
        with store_calls():
            found = await self._links.find_one({"_id": link_id, "tenant_id": scope.tenant_id})
        return None if found is None else _link(found)

    async def listing(
        self, scope: TenantScope, *, made_by: str | None, before: str | None, limit: int
    ) -> list[ViewerLink]:
        asked: BsonMap = {"tenant_id": scope.tenant_id}
        if made_by is not None:
            asked["made_by"] = made_by
        if before is not None:
            asked["_id"] = {"$lt": before}
        with store_calls():
            found = await self._links.find(asked).sort([("_id", -1)]).limit(limit).to_list(None)
        return [_link(document) for document in found]

    async def expire(self, before: int) -> None:
        with store_calls(BULK_DEADLINE):
            await self._links.delete_many({"expires_at": {"$lt": before}})

    async def revoked(self, scope: TenantScope, link_id: str, at: int) -> None:
        own = {"_id": link_id, "tenant_id": scope.tenant_id, "revoked_at": None}
        with store_calls():
            await self._links.update_one(own, {"$set": {"revoked_at": at}})


def _link(document: BsonMap) -> ViewerLink:
    revoked_at = document.get("revoked_at")
    return ViewerLink(
        id=document["_id"],
        tenant_id=document["tenant_id"],
        label=document["label"],
        filter=_decode(document["filter"]),
        written=document["written"].encode(),
        made_by=document["made_by"],
        made_at=int(document["made_at"]),
        expires_at=int(document["expires_at"]),
        revoked_at=None if revoked_at is None else int(revoked_at),
    )
