"""API keys in MongoDB: `Keys`."""

from __future__ import annotations

from pymongo.errors import DuplicateKeyError

from core.adapters.store.client import BsonMap, Database, store_calls
from core.adapters.store.indexes import KEYS
from core.errors import Conflict
from core.ports import ApiKey, KeySecret
from core.tenant import TenantScope


class MongoKeys:
    """The collection `keys`. `bound` marks those with networks, which every process reads every other second."""

    def __init__(self, database: Database) -> None:
        self._keys = database[KEYS]

    async def create(self, key: ApiKey) -> None:
        with store_calls():
            try:
                await self._keys.insert_one(_document(key))
            except DuplicateKeyError:
                raise Conflict("a key with this id exists") from None

    async def find(self, key_id: str) -> ApiKey | None:
        with store_calls():
            found = await self._keys.find_one({"_id": key_id})
        return None if found is None else _key(found)

    async def get(self, scope: TenantScope, key_id: str) -> ApiKey | None:
        with store_calls():
            found = await self._keys.find_one({"_id": key_id, "tenant_id": scope.tenant_id})
        return None if found is None else _key(found)

    async def listing(self, scope: TenantScope, *, before: str | None, limit: int) -> list[ApiKey]:
        asked: BsonMap = {"tenant_id": scope.tenant_id}
        if before is not None:
            asked["_id"] = {"$lt": before}
        with store_calls():
            found = await self._keys.find(asked).sort([("_id", -1)]).limit(limit).to_list(None)
        return [_key(document) for document in found]

    async def count(self, scope: TenantScope) -> int:
        with store_calls():
            return await self._keys.count_documents({"tenant_id": scope.tenant_id, "revoked_at": None})

    async def holders(self, scope: TenantScope, role: str, limit: int) -> list[str]:
        asked = {"tenant_id": scope.tenant_id, "revoked_at": None, "roles": role}
        with store_calls():
            found = await self._keys.find(asked, {"_id": 1}).limit(limit).to_list(None)
        return [document["_id"] for document in found]

    async def replace(self, scope: TenantScope, old: ApiKey, new: ApiKey) -> bool:
        # A key made before there were versions has none.
        same = {"_id": old.id, "tenant_id": scope.tenant_id, "version": old.version or {"$in": [0, None]}}
        changed = _document(new)
        for kept in ("_id", "tenant_id", "used_at"):
            del changed[kept]
        changed["version"] = old.version + 1
        with store_calls():
            return (await self._keys.update_one(same, {"$set": changed})).matched_count == 1

    async def used(self, key_id: str, at: int) -> None:
        with store_calls():
            await self._keys.update_one({"_id": key_id}, {"$set": {"used_at": at}})


def _document(key: ApiKey) -> BsonMap:
    return {
        "_id": key.id,
        "tenant_id": key.tenant_id,
        "name": key.name,
        "roles": list(key.roles),
        "secrets": [
            {"number": each.number, "hash": each.hash, "created_at": each.created_at, "expires_at": each.expires_at}
            for each in key.secrets
        ],
        # By which processes of the first layout know the key; to be dropped by a later one.
        "secret_hash": max(key.secrets, key=lambda each: each.number).hash if key.secrets else b"",
        "created_at": key.created_at,
        "created_by": key.created_by,
        "networks": list(key.networks),
        "bound": bool(key.networks) and key.revoked_at is None,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "used_at": key.used_at,
        "version": key.version,
    }


def _key(document: BsonMap) -> ApiKey:
    return ApiKey(
        id=document["_id"],
        tenant_id=document["tenant_id"],
        name=document["name"],
        roles=tuple(document["roles"]),
        secrets=_secrets(document),
        created_at=int(document["created_at"]),
        created_by=document.get("created_by", ""),
        networks=tuple(document.get("networks", ())),
        expires_at=_time(document.get("expires_at")),
        revoked_at=_time(document.get("revoked_at")),
        used_at=_time(document.get("used_at")),
        version=int(document.get("version", 0)),
    )


def _secrets(document: BsonMap) -> tuple[KeySecret, ...]:
    """A key made before there were rotations has one secret, without a number."""
    if "secrets" not in document:
        return (KeySecret(1, bytes(document["secret_hash"]), int(document["created_at"])),)
    return tuple(
        KeySecret(int(each["number"]), bytes(each["hash"]), int(each["created_at"]), _time(each["expires_at"]))
        for each in document["secrets"]
    )


def _time(value: object) -> int | None:
    return None if value is None else int(str(value))
