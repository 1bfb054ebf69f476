"""The whole of MongoDB as documents in BSON: `core.backup.Dump`."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.errors import BulkWriteError, OperationFailure

from core.adapters.store.client import BULK_DEADLINE, DUPLICATE_KEY, Database, codes_of, store_calls
from core.adapters.store.indexes import EVENTS, MIGRATIONS, PROCESSES, PRODUCERS, USAGE
from core.adapters.store.migrations import RESTORING, TENANTS
from core.audit import PLATFORM_TENANT
from core.errors import Conflict

_OUTSIDE: Final = (MIGRATIONS, PROCESSES)
"""What tells of this very store, or of processes that run on it."""
_AT_FIRST: Final = (TENANTS, PRODUCERS, USAGE)
BATCH = 500
_GUESS: Final = 2048
_RAW: Final[CodecOptions[Any]] = CodecOptions(document_class=RawBSONDocument)


class MongoDump:
    """Reads and writes documents as the bytes that they are: nothing is decoded but an event's body and hash."""

    def __init__(self, database: Database) -> None:
        self.name = database.name
        self._database = database
        self._raw: Any = database.client.get_database(database.name, codec_options=_RAW)

    async def collections(self) -> list[str]:
        with store_calls():
            names = await self._database.list_collection_names()
        return sorted(name for name in names if name not in _OUTSIDE and not name.startswith("system."))

    async def size(self, collection: str) -> int:
        with store_calls(BULK_DEADLINE):
            try:
                return int((await self._database.command("collStats", collection))["size"])
            except (OperationFailure, KeyError):
                return _GUESS * await self._database[collection].estimated_document_count()

    async def documents(self, collection: str) -> AsyncIterator[list[bytes]]:
        """In the order that the server reads them in: each that is there is met once, without a sort."""
        cursor = self._raw[collection].find(batch_size=BATCH)
        try:
            while True:
                with store_calls(BULK_DEADLINE):
                    found = await cursor.to_list(BATCH)
                if not found:
                    return
                yield [document.raw for document in found]
        finally:
            await cursor.close()

    def is_altered(self, document: bytes) -> bool:
        event: Any = RawBSONDocument(document)
        return hashlib.sha256(event["body"].encode()).digest() != bytes(event["hash"])

    async def begin(self, backup_id: str) -> None:
        migrations = self._database[MIGRATIONS]
        with store_calls():
            marked = await migrations.find_one({"_id": RESTORING})
            if marked is not None and marked["backup"] == backup_id:
                return
            if marked is not None or not await self._is_as_at_first():
                raise Conflict(f"the database {self.name} is not empty; restore into one that is (MONGODB_DATABASE)")
            for name in _AT_FIRST:
                await self._database[name].delete_many({})
            await migrations.insert_one({"_id": RESTORING, "backup": backup_id})

    async def _is_as_at_first(self) -> bool:
        """Whether there is nothing but what a service leaves that has started and was never used."""
        for name in await self.collections():
            other = {"_id": {"$ne": PLATFORM_TENANT}} if name == TENANTS else {}
            if (name == TENANTS or name not in _AT_FIRST) and await self._database[name].find_one(other) is not None:
                return False
        return True

    async def put(self, collection: str, documents: Sequence[bytes]) -> None:
        raw = [RawBSONDocument(document) for document in documents]
        with store_calls(BULK_DEADLINE):
            if collection != EVENTS:
                await self._raw[collection].bulk_write(
                    [ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in raw], ordered=False
                )
                return
            try:
                await self._raw[collection].insert_many(raw, ordered=False)
            except BulkWriteError as error:
                if codes_of(error) != {DUPLICATE_KEY}:
                    raise

    async def end(self) -> None:
        with store_calls():
            await self._database[MIGRATIONS].delete_one({"_id": RESTORING})
