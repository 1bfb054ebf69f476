"""Migrations of MongoDB: the steps, in their order, and the record of what was made."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import (
    ACCOUNTS,
    EVENTS,
    INDEXES,
    KEYS,
    MIGRATIONS,
    OUTBOX,
    PARKED,
    PRODUCERS,
    ensure_indexes,
)
from core.adapters.store.upserts import insert_once, upsert
from core.migration import LAYOUT, Applied, Phase, Process, Step
from core.rows import received_at
from core.tenant_settings import DEFAULT_RETENTION_DAYS, AccessAudit

TENANTS: Final = "tenants"
RESTORING: Final = "restoring"
"""While a backup is put into the store, this document is in `migrations`."""
_LOCK: Final = "lock"
_PROCESS: Final = "process:"
_FORGOTTEN: Final = 86_400 * 1_000_000
"""Microseconds after its last word that a process is kept."""
_PAGE: Final = 500
_INDEX_NOT_FOUND: Final = frozenset({26, 27})
_EXISTS: Final = 48
_TENANT_FIELDS: Final[BsonMap] = {
    "facets": [],
    "facet_serial": 0,
    "permission_sets": {},
    "retention_days": DEFAULT_RETENTION_DAYS,
    "quotas": {},
    "masking": [],
    "access_audit": AccessAudit.STRICT.value,
    "quarantine": False,
    "revision": 0,
}
# What the first version wrote, so that every version's documents pass. A validator is a wall against what is no
# document of ours, and what it holds is little: each rule is looked at for each event that is stored.
_VALIDATORS: Final[dict[str, tuple[tuple[str, ...], BsonMap]]] = {
    EVENTS: (
        ("tenant_id", "received_at", "hash", "body"),
        {"hash": {"bsonType": "binData"}, "body": {"bsonType": "string"}},
    ),
    TENANTS: (("name", "secret", "created_at", "status", "placements"), {"secret": {"bsonType": "binData"}}),
    KEYS: (("tenant_id", "roles", "created_at"), {"tenant_id": {"bsonType": "string"}}),
}
# Indexes that no query of this layout stands on.
_SUPERSEDED: Final = (
    (OUTBOX, "received_at_1"),
    (KEYS, "tenant_id_1"),
    (ACCOUNTS, "tenant_id_1_minute_1"),
)


def steps(database: Database, deadline: float = BULK_DEADLINE) -> list[Step]:
    """The steps on this database; `deadline` is in seconds, for each call.

    The indexes' step is named by what they are, so that another version's are another step and none undoes another's.
    """

    def made(
        work: Callable[[Database, float], Awaitable[None]], name: str, phase: Phase, title: str, layout: int = 1
    ) -> Step:
        return Step(name, phase, title, lambda: work(database, deadline), layout=layout)

    expand, contract = Phase.EXPAND, Phase.CONTRACT
    return [
        made(ensure_indexes, f"indexes-{_digest(INDEXES)}", expand, "every index that a query stands on"),
        made(_fill_tenants, "0001-tenant-fields", expand, "settings that older tenants' records lack"),
        made(_fill_keys, "0002-key-secrets", expand, "older keys' one secret as the first of a list"),
        made(_fill_parked, "0003-parked-received-at", expand, "when parked events were accepted"),
        made(_validate, "0004-validators", expand, "validators of events, tenants and keys"),
        made(_drop_superseded, "0005-superseded-indexes", contract, "indexes that no query stands on any more", 2),
    ]


class MongoMigrationRecords:
    """The collection `migrations`: a document a step, one for who is at work, one for each process that lives."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._migrations = database[MIGRATIONS]

    async def applied(self) -> dict[str, Applied]:
        with store_calls():
            found = await self._migrations.find({"applied_at": {"$gte": 0}}).to_list(None)
        return {each["_id"]: Applied(int(each["applied_at"]), int(each["layout"])) for each in found}

    async def is_restoring(self) -> bool:
        with store_calls():
            return await self._migrations.find_one({"_id": RESTORING}) is not None

    async def mark(self, step_id: str, applied: Applied) -> None:
        document = {"_id": step_id, "applied_at": applied.at, "layout": applied.layout, "by_layout": LAYOUT}
        await insert_once(self._migrations, [document])

    async def take(self, owner: str, now: int, until: int) -> bool:
        free = {"_id": _LOCK, "$or": [{"owner": owner}, {"until": {"$lt": now}}]}
        with store_calls():
            if (await self._migrations.update_one(free, {"$set": {"owner": owner, "until": until}})).matched_count:
                return True
            try:
                await self._migrations.insert_one({"_id": _LOCK, "owner": owner, "until": until})
            except DuplicateKeyError:
                return False
        return True

    async def release(self, owner: str) -> None:
        with store_calls():
            await self._migrations.delete_one({"_id": _LOCK, "owner": owner})

    async def announce(self, process: Process, at: int) -> None:
        await upsert(self._migrations, f"{_PROCESS}{process.id}", {"$set": {"alive_at": at, "knows": process.layout}})
        with store_calls():
            await self._migrations.delete_many({"alive_at": {"$gte": 0, "$lt": at - _FORGOTTEN}})

    async def processes(self, since: int) -> list[Process]:
        """Those that announce themselves, and the producers that beat and do not: processes of an older version."""
        alive = {"$gte": since}
        with store_calls():
            found = await self._migrations.find({"alive_at": alive}).to_list(None)
            producers = await self._database[PRODUCERS].find({"at": alive}, {"ended": 1}).to_list(None)
        known = {each["_id"].removeprefix(_PROCESS): int(each["knows"]) for each in found}
        beating = {each["_id"]: 1 for each in producers if not each.get("ended", False)}
        return [Process(*each) for each in sorted((beating | known).items())]

    async def is_fresh(self) -> bool:
        with store_calls():
            for name in (MIGRATIONS, TENANTS, EVENTS):
                if await self._database[name].find_one({"_id": {"$ne": _LOCK}}, {"_id": 1}) is not None:
                    return False
        return True


def _digest(indexes: object) -> str:
    return hashlib.sha256(msgspec.json.encode(indexes, order="sorted")).hexdigest()[:8]


async def _fill_tenants(database: Database, deadline: float) -> None:
    with store_calls(deadline):
        for field, value in _TENANT_FIELDS.items():
            await database[TENANTS].update_many({field: {"$exists": False}}, {"$set": {field: value}})


async def _fill_keys(database: Database, deadline: float) -> None:
    """`secret_hash` stays: processes of the first layout know a key by it."""
    first = {"number": 1, "hash": "$secret_hash", "created_at": "$created_at", "expires_at": None}
    filled = {"secrets": [first], "bound": False, "networks": [], "created_by": "", "version": 0}
    older = {"secrets": {"$exists": False}, "secret_hash": {"$exists": True}}
    with store_calls(deadline):
        await database[KEYS].update_many(older, [{"$set": filled}])


async def _fill_parked(database: Database, deadline: float) -> None:
    """By pages: bodies may be large. What is no event of ours has no such time, as when it is parked today."""
    parked, after = database[PARKED], ""
    while True:
        asked = {"_id": {"$gt": after}, "event_id": {"$ne": None}, "received_at": {"$exists": False}}
        with store_calls(deadline):
            page = await parked.find(asked, {"body": 1}).sort([("_id", 1)]).limit(_PAGE).to_list(None)
            for each in page:
                try:
                    change = {"$set": {"received_at": received_at(bytes(each["body"]))}}
                except (msgspec.MsgspecError, ValueError):
                    continue
                await parked.update_one({"_id": each["_id"], "received_at": {"$exists": False}}, change)
        if len(page) < _PAGE:
            return
        after = page[-1]["_id"]


async def _validate(database: Database, deadline: float) -> None:
    with store_calls(deadline):
        for collection, (required, properties) in _VALIDATORS.items():
            try:
                await database.create_collection(collection)
            except CollectionInvalid:
                pass
            except OperationFailure as error:
                if error.code != _EXISTS:
                    raise
            schema: dict[str, Any] = {"bsonType": "object", "required": list(required), "properties": properties}
            # Moderate: an older document that does not pass may still be changed.
            await database.command(
                {"collMod": collection, "validator": {"$jsonSchema": schema}, "validationLevel": "moderate"}
            )


async def _drop_superseded(database: Database, deadline: float) -> None:
    with store_calls(deadline):
        for collection, name in _SUPERSEDED:
            try:
                await database[collection].drop_index(name)
            except OperationFailure as error:
                if error.code not in _INDEX_NOT_FOUND:
                    raise
