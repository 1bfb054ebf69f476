"""Usage in MongoDB: `Usage`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from pymongo import UpdateOne

from core import instant
from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import KEY_QUOTAS, PROCESSES, USAGE
from core.adapters.store.upserts import upsert
from core.ports.usage import Amounts, DayUsage, Part, day_text, total
from core.tenant import TenantScope
from core.tenant_settings import UNLIMITED, Quotas

KEPT: Final = 8 * 86_400 * 1_000_000
"""Microseconds that a key's account is kept: it bounds a day and bills nobody."""


class MongoUsage:
    """The collections `usage`, `processes` and `key_quotas`.

    A document of `usage` is one account of a day, `<tenant>:<day>` or `<tenant>:<day>:<key>`, with the figures of each
    process under `parts`: a process only ever writes its own, whole, so that a write of unknown outcome is repeated.
    """

    def __init__(self, database: Database) -> None:
        self._usage = database[USAGE]
        self._processes = database[PROCESSES]
        self._quotas = database[KEY_QUOTAS]

    async def record(self, parts: Sequence[Part], *, shared: bool) -> None:
        changes = [UpdateOne({"_id": _id(part)}, _change(part, shared), upsert=True) for part in parts]
        if changes:
            with store_calls(BULK_DEADLINE):
                await self._usage.bulk_write(changes, ordered=False)

    async def recent(self, since: int) -> list[Part]:
        with store_calls():
            found = await self._usage.find({"shared_at": {"$gte": since}}).to_list(None)
        return [
            Part(document["tenant_id"], document["key"], document["day"], name, _amounts(part), part["at"])
            for document in found
            for name, part in document["parts"].items()
        ]

    async def days(self, scope: TenantScope, first: int, end: int) -> list[DayUsage]:
        tenant_id = scope.tenant_id
        bounds = {"$gte": f"{tenant_id}:{day_text(first)}", "$lt": f"{tenant_id}:{day_text(end)}"}
        with store_calls():
            found = await self._usage.find({"_id": bounds}).to_list(None)
        usage = [
            DayUsage(document["day"], total([_amounts(part) for part in document["parts"].values()]))
            for document in found
            if not document["key"]
        ]
        return sorted(usage, key=lambda each: each.day)

    async def beat(self, process: str, beat: int) -> dict[str, int]:
        await upsert(self._processes, process, {"$set": {"beat": beat}})
        with store_calls():
            if beat == 1:
                # Once in each process's life is often enough.
                await self._usage.delete_many({"expires_at": {"$gte": 0, "$lt": instant.now_us()}})
            found = await self._processes.find({}).to_list(None)
        return {document["_id"]: document["beat"] for document in found}

    async def ended(self, process: str, beat: int | None = None) -> None:
        with store_calls():
            await self._processes.delete_one({"_id": process} | ({} if beat is None else {"beat": beat}))

    async def key_quotas(self) -> dict[str, Quotas]:
        with store_calls():
            found = await self._quotas.find({}).to_list(None)
        return {document["_id"]: Quotas(**document["quotas"]) for document in found}

    async def set_key_quotas(self, scope: TenantScope, key_id: str, quotas: Quotas) -> None:
        if quotas == UNLIMITED:
            with store_calls():
                await self._quotas.delete_one({"_id": key_id, "tenant_id": scope.tenant_id})
            return
        await upsert(self._quotas, key_id, {"$set": {"tenant_id": scope.tenant_id, "quotas": asdict(quotas)}})


def _change(part: Part, shared: bool) -> BsonMap:
    written = {f"parts.{part.name}": asdict(part.amounts) | {"at": part.at}}
    new: BsonMap = {"tenant_id": part.tenant_id, "key": part.key, "day": part.day}
    if part.key:
        new["expires_at"] = part.at + KEPT
    change: BsonMap = {"$set": written, "$setOnInsert": new}
    if shared:
        change["$max"] = {"shared_at": part.at}
    return change


def _amounts(part: BsonMap) -> Amounts:
    named: dict[str, Any] = {name: part[name] for name in ("requests", "events", "bytes", "reads")}
    return Amounts(**named)


def _id(part: Part) -> str:
    account = f"{part.tenant_id}:{day_text(part.day)}"
    return f"{account}:{part.key}" if part.key else account
