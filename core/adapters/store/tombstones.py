"""Deletions in MongoDB: `Tombstones`."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from bson.binary import Binary

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import TOMBSTONES
from core.adapters.store.upserts import upsert
from core.ports import Person, Tombstone

_encode: Final = msgspec.json.Encoder().encode


class MongoTombstones:
    """The collection `tombstones`; reports are kept as JSON text, whatever their keys."""

    def __init__(self, database: Database) -> None:
        self._tombstones = database[TOMBSTONES]

    async def put(self, tombstone: Tombstone) -> None:
        document = _document(tombstone)
        await upsert(self._tombstones, document.pop("_id"), {"$set": document})

    async def get(self, tombstone_id: str) -> Tombstone | None:
        with store_calls():
            found = await self._tombstones.find_one({"_id": tombstone_id})
        return None if found is None else _tombstone(found)

    async def standing(self, since: int) -> list[Tombstone]:
        with store_calls(BULK_DEADLINE):
            found = await self._tombstones.find({"standing_since": {"$gte": since}}, {"report": 0}).to_list(None)
        return [_tombstone(document) for document in found]

    async def remove(self, tombstone_id: str) -> None:
        with store_calls():
            await self._tombstones.delete_one({"_id": tombstone_id})

    async def expire(self, before: int) -> None:
        asked = {"asked_at": {"$gte": 0, "$lt": before}, "salt": {"$ne": None}, "report": {"$ne": None}}
        with store_calls():
            await self._tombstones.delete_many(asked)


def _document(tombstone: Tombstone) -> BsonMap:
    person, report = tombstone.person, tombstone.report
    return {
        "_id": tombstone.id,
        "tenant_id": tombstone.tenant_id,
        "job": tombstone.job,
        "asked_by": tombstone.asked_by,
        "asked_at": tombstone.asked_at,
        "salt": None if person is None else Binary(person.salt),
        "digest": None if person is None else Binary(person.digest),
        "before": None if person is None else person.before,
        # One that does not stand has no place in the index by this.
        "standing_since": -1 if tombstone.standing_since is None else tombstone.standing_since,
        "stage": tombstone.stage,
        "error": tombstone.error,
        "report": None if report is None else _encode(report).decode(),
    }


def _tombstone(document: BsonMap) -> Tombstone:
    person = None
    if document["salt"] is not None:
        person = Person(bytes(document["salt"]), bytes(document["digest"]), int(document["before"]))
    since, report = int(document["standing_since"]), document.get("report")
    decoded: dict[str, Any] | None = None if report is None else msgspec.json.decode(report)
    return Tombstone(
        id=document["_id"],
        tenant_id=document["tenant_id"],
        job=document["job"],
        asked_by=document["asked_by"],
        asked_at=int(document["asked_at"]),
        person=person,
        standing_since=None if since < 0 else since,
        stage=document["stage"],
        error=document["error"],
        report=decoded,
    )
