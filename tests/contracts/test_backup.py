"""Backups on real databases: what is written, what comes back, and what is refused."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bson import decode
from bson.int64 import Int64

from core import backup
from core.adapters.archive.objects import open_archive
from core.adapters.store import dump
from core.adapters.store import migrations as of_store
from core.adapters.store.client import Database, open_client, store_calls
from core.adapters.store.dump import MongoDump
from core.adapters.store.migrations import MongoMigrationRecords
from core.backup import MANIFEST, Contents, Manifest, back_up, manifest_of, restore, verify
from core.errors import Conflict, NotFound, Unavailable
from core.migration import Migrator
from core.ports import Archive
from tests.conftest import LIVE_MONGODB
from tests.first_layout import FirstLayout

FIRST = FirstLayout()
ODD = [
    {"_id": "odd", "int": 7, "long": Int64(7), "large": 1 << 60, "float": 1.0, "none": None, "bytes": b"\0\xff"},
    {
        "_id": 12,
        "nested": {"a": [1, {"b": []}]},
        "text": "Ána \u2028",
        "at": datetime(2026, 1, 2, tzinfo=UTC),
    },
]


@pytest.fixture(
    params=["embedded", pytest.param("live", marks=pytest.mark.skipif(not LIVE_MONGODB, reason="no live MongoDB"))]
)
async def databases(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Database, Database]]:
    """One with documents of every kind, and an empty one."""
    url = LIVE_MONGODB if request.param == "live" else request.getfixturevalue("embedded_store").url
    client = open_client(str(url))
    full, empty = (client[f"ocelot_test_{uuid.uuid4().hex[:12]}"] for _ in range(2))
    with store_calls(30):
        await FIRST.load(full)
        await full["odd"].insert_many([dict(document) for document in ODD])
        await full["odd"].insert_many([{"_id": f"n{n}", "text": "x" * 500} for n in range(55)])
        await full["migrations"].insert_one({"_id": "of this store alone"})
    yield full, empty
    with store_calls(30):
        for database in (full, empty):
            await client.drop_database(database.name)
    client.close()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches of few documents."""
    monkeypatch.setattr(backup, "BATCH_DOCUMENTS", 10)
    monkeypatch.setattr(dump, "BATCH", 10)


def told(_: Contents) -> None:
    pass


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return open_archive((tmp_path / "backup").as_uri(), region="")


async def written(database: Database, archive: Archive) -> Manifest:
    manifest = await back_up(MongoDump(database), archive, "b1", told)
    assert manifest == await manifest_of(archive)
    await verify(archive, manifest, told)
    return manifest


async def everything(database: Database) -> dict[str, dict[object, bytes]]:
    reading = MongoDump(database)
    return {
        name: {decode(raw)["_id"]: raw async for batch in reading.documents(name) for raw in batch}
        for name in await reading.collections()
    }


async def test_every_document_comes_back_byte_for_byte(databases: tuple[Database, Database], archive: Archive) -> None:
    full, empty = databases
    manifest = await written(full, archive)
    names = [contents.name for contents in manifest.collections]
    before, after = names[: names.index("events")], names[names.index("events") + 1 :]
    assert {"receipts", "producers", "outbox"} <= set(before)
    assert {"tenants", "keys", "revocations", "odd"} <= set(after)
    assert "migrations" not in names
    assert {c.name: c.documents for c in manifest.collections} == {
        name: len(documents) for name, documents in (await everything(full)).items()
    }
    assert manifest.altered == 0
    await restore(MongoDump(empty), archive, manifest, told)
    assert await everything(empty) == await everything(full)


async def test_no_service_starts_while_a_backup_is_put_back(
    databases: tuple[Database, Database], archive: Archive
) -> None:
    full, empty = databases
    manifest = await written(full, archive)
    await restore(MongoDump(empty), archive, manifest, told)
    migrator = Migrator(MongoMigrationRecords(empty), of_store.steps(empty), "test")
    with pytest.raises(Unavailable, match="restored"):
        await migrator.is_ready()
    assert len(await migrator.expand(index=False)) == 5
    await MongoDump(empty).end()
    assert await migrator.is_ready()


class _Breaking(MongoDump):
    """A dump that breaks off after some batches."""

    left = 4

    async def put(self, collection: str, documents: Sequence[bytes]) -> None:
        self.left -= 1
        if self.left:
            await super().put(collection, documents)
            return
        await super().put(collection, documents[: len(documents) // 2])
        raise Unavailable("store")


async def test_a_restore_that_was_broken_off_goes_on_and_another_may_not(
    databases: tuple[Database, Database], archive: Archive, tmp_path: Path
) -> None:
    full, empty = databases
    manifest = await written(full, archive)
    with pytest.raises(Unavailable):
        await restore(_Breaking(empty), archive, manifest, told)
    other = open_archive((tmp_path / "other").as_uri(), region="")
    another = await back_up(MongoDump(full), other, "b2", told)
    with pytest.raises(Conflict, match="not empty"):
        await restore(MongoDump(empty), other, another, told)
    await restore(MongoDump(empty), archive, manifest, told)
    assert await everything(empty) == await everything(full)


async def test_a_store_in_use_is_not_restored_into(databases: tuple[Database, Database], archive: Archive) -> None:
    full, empty = databases
    manifest = await written(full, archive)
    with pytest.raises(Conflict, match="not empty"):
        await restore(MongoDump(full), archive, manifest, told)
    assert await full["migrations"].find_one({"_id": "restoring"}) is None
    await empty["anothers"].insert_one({"_id": 1})
    with pytest.raises(Conflict, match="not empty"):
        await restore(MongoDump(empty), archive, manifest, told)
    assert await empty["anothers"].count_documents({}) == 1
    await empty["anothers"].drop()
    # What a service makes at its first start is replaced.
    await empty["tenants"].insert_one({"_id": "ocelotplatform", "name": "another's"})
    await empty["producers"].insert_one({"_id": "another's", "at": 1})
    await restore(MongoDump(empty), archive, manifest, told)


@pytest.mark.parametrize("harm", ["changed", "cut", "gone", "longer"])
async def test_a_damaged_file_is_seen_before_anything_is_written(
    databases: tuple[Database, Database], archive: Archive, tmp_path: Path, harm: str
) -> None:
    manifest = await written(databases[0], archive)
    path = tmp_path / "backup" / "events.bson.zst"
    data = path.read_bytes()
    middle = len(data) // 2
    harmed = {
        "changed": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "cut": data[:middle],
        "longer": data + b"\0",
    }
    path.unlink() if harm == "gone" else path.write_bytes(harmed[harm])
    with pytest.raises(Conflict, match=r"events\.bson\.zst"):
        await verify(archive, manifest, told)


async def test_files_of_another_backup_are_not_taken_for_this_ones(
    databases: tuple[Database, Database], archive: Archive, tmp_path: Path
) -> None:
    full, _ = databases
    manifest = await written(full, archive)
    await full["keys"].update_one({}, {"$set": {"name": "other"}})
    await back_up(MongoDump(full), open_archive((tmp_path / "other").as_uri(), region=""), "b2", told)
    (tmp_path / "other" / "keys.bson.zst").replace(tmp_path / "backup" / "keys.bson.zst")
    with pytest.raises(Conflict, match=r"keys\.bson\.zst is not as it was written"):
        await verify(archive, manifest, told)


async def test_an_altered_event_is_counted_and_kept_as_it_is(
    databases: tuple[Database, Database], archive: Archive
) -> None:
    full, empty = databases
    await full["events"].update_one({"_id": FIRST.documents["events"][0]["_id"]}, {"$set": {"body": "{}"}})
    manifest = await written(full, archive)
    assert manifest.altered == 1
    await restore(MongoDump(empty), archive, manifest, told)
    assert await everything(empty) == await everything(full)


async def test_a_place_without_a_backup_and_one_with_are_told_apart(
    databases: tuple[Database, Database], archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match=MANIFEST):
        await manifest_of(archive)
    await written(databases[0], archive)
    with pytest.raises(Conflict, match="already"):
        await back_up(MongoDump(databases[0]), archive, "b2", told)
    with monkeypatch.context() as older:
        older.setattr(backup, "LAYOUT", 0)
        with pytest.raises(Conflict, match="newer version"):
            await manifest_of(archive)
    (tmp_path / "backup" / MANIFEST).write_text("[]")
    with pytest.raises(Conflict, match="not one of a backup"):
        await manifest_of(archive)


async def test_what_is_there_when_it_begins_is_in_it_whatever_comes_meanwhile(
    databases: tuple[Database, Database], archive: Archive
) -> None:
    full, _ = databases
    begun = await everything(full)
    done = asyncio.Event()

    async def write() -> None:
        n = 0
        while not done.is_set():
            n += 1
            await full["odd"].insert_one({"_id": f"meanwhile-{n}"})

    writing = asyncio.create_task(write())
    manifest = await back_up(MongoDump(full), archive, "b1", told)
    done.set()
    await writing
    await verify(archive, manifest, told)
    [odd] = [contents for contents in manifest.collections if contents.name == "odd"]
    kept = {decode(raw)["_id"] async for batch in backup._documents(archive, odd) for raw in batch}
    assert begun["odd"].keys() <= kept
