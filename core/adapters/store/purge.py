"""Removing a tenant from MongoDB: `Purge`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Collection, Database, chunks, store_calls
from core.adapters.store.indexes import EVENTS, JOBS, RECEIPTS, TOMBSTONES
from core.tenant import TenantScope

_TENANTS: Final = "tenants"
_KEYS: Final = "keys"
_REVOCATIONS: Final = "revocations"
_PAGE: Final = 2000


class MongoPurge:
    """Whatever collection there is, a document is a tenant's when its `tenant_id` says so, or its `_id`: the tenant's
    own, or that with a colon behind it. Receipts alone are many tenants': they lose what they tell of this one.

    A collection that is added later is thereby covered, and none has to be remembered here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def events(self, scope: TenantScope, limit: int) -> int:
        events, removed = self._database[EVENTS], 0
        with store_calls(BULK_DEADLINE):
            found = await events.find({"tenant_id": scope.tenant_id}, {"_id": 1}).limit(limit).to_list(None)
        for chunk in chunks([document["_id"] for document in found]):
            removed += await _remove(events, {"_id": {"$in": list(chunk)}, "tenant_id": scope.tenant_id})
        return removed

    async def records(self, scope: TenantScope, *, but_job: str) -> dict[str, int]:
        await self._revocations(scope)
        removed: dict[str, int] = {}
        for name in await self._names():
            for asked in _own(scope.tenant_id, name, but_job):
                if number := await _remove(self._database[name], asked):
                    removed[name] = removed.get(name, 0) + number
        if number := await self._receipts(scope, remove=True):
            removed[RECEIPTS] = number
        return removed

    async def tenant(self, scope: TenantScope) -> None:
        await _remove(self._database[_TENANTS], {"_id": scope.tenant_id})

    async def left(self, scope: TenantScope, *, but_job: str) -> dict[str, int]:
        left: dict[str, int] = {}
        for name in [EVENTS, *await self._names()]:
            for asked in _own(scope.tenant_id, name, but_job):
                with store_calls(BULK_DEADLINE):
                    left[name] = left.get(name, 0) + await self._database[name].count_documents(asked)
        left[RECEIPTS] = await self._receipts(scope, remove=False)
        return {name: number for name, number in left.items() if number}

    async def _names(self) -> list[str]:
        """The collections of which whole documents are a tenant's, and small."""
        with store_calls():
            names = await self._database.list_collection_names()
        apart = (_TENANTS, EVENTS, RECEIPTS)
        return sorted(name for name in names if name not in apart and not name.startswith("system."))

    async def _revocations(self, scope: TenantScope) -> None:
        """Those of its keys and their secrets, which name no tenant."""
        with store_calls():
            asked = {"tenant_id": scope.tenant_id}
            keys = await self._database[_KEYS].find(asked, {"secrets.number": 1}).to_list(None)
        for chunk in chunks([name for key in keys for name in _names_of(key)]):
            await _remove(self._database[_REVOCATIONS], {"_id": {"$in": list(chunk)}})

    async def _receipts(self, scope: TenantScope, *, remove: bool) -> int:
        """How many receipts tell of the tenant, or did; by pages, since no index leads to them."""
        receipts, field = self._database[RECEIPTS], f"events.{scope.tenant_id}"
        after, found = "", 0
        while True:
            with store_calls(BULK_DEADLINE):
                asked = {"_id": {"$gt": after}}
                page = await receipts.find(asked, {field: 1}).sort([("_id", 1)]).limit(_PAGE).to_list(None)
            telling = [document["_id"] for document in page if document.get("events")]
            found += len(telling)
            if remove:
                await _unset(receipts, telling, field)
            if len(page) < _PAGE:
                return found
            after = page[-1]["_id"]


def _names_of(key: BsonMap) -> list[str]:
    """Those by which the key, and each secret that it ever had, may be revoked."""
    newest = max((int(each["number"]) for each in key.get("secrets", ())), default=1)
    return [f"key:{key['_id']}", *(f"key:{key['_id']}#{number}" for number in range(1, newest + 1))]


def _own(tenant_id: str, name: str, but_job: str) -> list[BsonMap]:
    # ";" follows ":".
    named: BsonMap = {"_id": {"$gte": f"{tenant_id}:", "$lt": f"{tenant_id};"}}
    by_field: BsonMap = {"tenant_id": tenant_id}
    if name == TOMBSTONES:
        return [by_field | {"_id": {"$ne": tenant_id}}]
    if name == JOBS:
        by_field["_id"] = {"$ne": but_job}
    return [by_field, {"_id": tenant_id}, named]


async def _remove(collection: Collection, asked: BsonMap) -> int:
    with store_calls(BULK_DEADLINE):
        return int((await collection.delete_many(asked)).deleted_count)


async def _unset(collection: Collection, ids: Sequence[str], field: str) -> None:
    for chunk in chunks(ids):
        with store_calls(BULK_DEADLINE):
            await collection.update_many({"_id": {"$in": list(chunk)}}, {"$unset": {field: ""}})
