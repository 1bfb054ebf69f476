"""Migrations on real databases and indices: the first version's store, brought to today's layout."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
from pymongo.errors import WriteError

from core import instant
from core.adapters.index import mapping
from core.adapters.index import migrations as of_index
from core.adapters.index.client import Client
from core.adapters.store import migrations as of_store
from core.adapters.store.client import Database, open_client, store_calls
from core.adapters.store.control import MongoControl
from core.adapters.store.events import MongoEventStore
from core.adapters.store.indexes import INDEXES
from core.adapters.store.keys import MongoKeys
from core.adapters.store.migrations import MongoMigrationRecords
from core.adapters.store.outbox import MongoOutbox
from core.adapters.store.parking import MongoParking
from core.errors import Conflict, Unavailable
from core.migration import ALIVE, LAYOUT, LEASE, Migrator, Process
from core.tenant import for_system
from core.tenant_settings import DEFAULT_RETENTION_DAYS
from tests.conftest import LIVE_MONGODB
from tests.contracts.index_servers import index_url
from tests.first_layout import FirstLayout

__all__ = ["index_url"]
FIRST = FirstLayout()


@pytest.fixture(
    params=["embedded", pytest.param("live", marks=pytest.mark.skipif(not LIVE_MONGODB, reason="no live MongoDB"))]
)
async def first(request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """The first version's store."""
    url = LIVE_MONGODB if request.param == "live" else request.getfixturevalue("embedded_store").url
    client = open_client(str(url))
    database = client[f"ocelot_test_{uuid.uuid4().hex[:12]}"]
    with store_calls(30):
        await FIRST.load(database)
    yield database
    with store_calls(30):
        await client.drop_database(database.name)
    client.close()


def migrator(database: Database, owner: str = "test", clock: int | None = None) -> Migrator:
    now = instant.now_us if clock is None else lambda: clock
    return Migrator(MongoMigrationRecords(database), of_store.steps(database), owner, now)


async def test_the_first_versions_store_is_brought_to_todays_layout(first: Database) -> None:
    assert not await migrator(first).is_ready()
    made = await migrator(first).expand()
    assert [step.id.partition("-")[0] for step in made] == ["indexes", "0001", "0002", "0003", "0004"]
    assert await migrator(first).is_ready()
    assert await migrator(first).expand() == []
    for collection, indexes in INDEXES.items():
        there = {tuple(field for field, _ in keys) for keys in (await _indexes(first, collection)).values()}
        assert set(indexes) <= there, collection
    control = await MongoControl.open(first)
    keys, events = MongoKeys(first), MongoEventStore(first)
    for tenant in FIRST.tenants:
        scope = for_system(tenant["tenant_id"], "test")
        assert (await control.tenant(scope.tenant_id)) is not None
        raw = await first["tenants"].find_one({"_id": scope.tenant_id})
        assert raw is not None
        filled = {name: raw[name] for name in ("retention_days", "facets", "access_audit", "revision")}
        expected = {"retention_days": DEFAULT_RETENTION_DAYS, "facets": [], "access_audit": "strict", "revision": 0}
        assert filled == expected
        key = await keys.get(scope, tenant["client_id"])
        assert key is not None
        assert [each.hash for each in key.secrets] == [hashlib.sha256(tenant["client_secret"].encode()).digest()]
        stored = await events.fetch(scope, [*tenant["ids"], tenant["keyed"]])
        assert len(stored) == 4
        assert all(hashlib.sha256(each.body).digest() == each.hash for each in stored.values())


async def test_what_older_processes_know_things_by_stays(first: Database) -> None:
    before = {name: await _all(first, name) for name in FIRST.documents}
    await migrator(first).expand()
    for name, documents in before.items():
        after = {document["_id"]: document for document in await _all(first, name)}
        assert all(after[document["_id"]].items() >= document.items() for document in documents), name
    for collection, indexes in FIRST.indexes.items():
        there = [*(await _indexes(first, collection)).values()]
        assert all(index in there for index in indexes), collection


async def test_an_older_process_writes_on_after_the_expansion(first: Database) -> None:
    await migrator(first).expand()
    for name, documents in FIRST.documents.items():
        for document in documents:
            await first[name].insert_one(document | {"_id": f"{document['_id']}-again"})
    scope = for_system(FIRST.tenants[0]["tenant_id"], "test")
    key = await MongoKeys(first).get(scope, f"{FIRST.tenants[0]['client_id']}-again")
    assert key is not None
    assert len(key.secrets) == 1


async def test_what_is_no_document_of_ours_is_refused_after_it(first: Database) -> None:
    await migrator(first).expand()
    event = FIRST.documents["events"][0] | {"_id": "new"}
    for wrong in ({"body": b"bytes"}, {"hash": "text"}):
        with pytest.raises(WriteError):
            await first["events"].insert_one(event | wrong)
    with pytest.raises(WriteError):
        await first["tenants"].insert_one({"_id": "nobody"})
    await first["events"].insert_one(event)


async def test_the_parked_and_the_outbox_of_the_first_version_are_read(first: Database) -> None:
    body = FIRST.documents["events"][0]["body"].encode()
    parked = FIRST.documents["parked"][0] | {"_id": "p", "event_id": "e", "body": body, "reason": "not_indexable"}
    broken = parked | {"_id": "q", "body": b"{"}
    await first["parked"].insert_many([parked, broken])
    await migrator(first).expand()
    received = FIRST.documents["events"][0]["received_at"]
    parking = MongoParking(first)
    assert await parking.unindexed(parked["tenant_id"], received, received + 1) == 1
    assert len(await parking.listing()) == 3
    tenants = await MongoOutbox(first).tenants()
    assert tenants == [FIRST.documents["outbox"][0]["tenant_id"]]
    assert len(await MongoOutbox(first).oldest(10, tenants[0])) == 1


async def test_contracting_is_refused_while_a_process_of_the_first_version_beats(first: Database) -> None:
    await migrator(first).expand()
    records, now = MongoMigrationRecords(first), instant.now_us()
    await first["producers"].insert_one({"_id": "old", "at": now, "sealed": 1, "frontier": 1, "frontier_at": now})
    await records.announce(Process("new", LAYOUT), now)
    assert await records.processes(now - ALIVE) == [Process("new", LAYOUT), Process("old", 1)]
    with pytest.raises(Conflict, match="older process"):
        await migrator(first).contract()
    await records.announce(Process("old", LAYOUT), now)  # it was of this version after all
    made = await migrator(first).contract()
    assert [step.id for step in made] == ["0005-superseded-indexes"]
    assert "received_at_1" not in await _indexes(first, "outbox")
    assert "tenant_id_1" not in await _indexes(first, "keys")
    assert await migrator(first).contract() == []
    assert all(state.is_done for state in await migrator(first).status())


async def test_processes_that_start_at_once_migrate_once(first: Database) -> None:
    async def start(n: int) -> int:
        while True:
            try:
                return len(await migrator(first, f"process-{n}").expand())
            except Unavailable:
                await asyncio.sleep(0.02)

    assert sorted(await asyncio.gather(*(start(n) for n in range(4)))) == [0, 0, 0, 5]


async def test_a_killed_migration_keeps_others_out_for_its_lease_alone(first: Database) -> None:
    records, now = MongoMigrationRecords(first), instant.now_us()
    assert await records.take("killed", now, now + LEASE)
    assert await records.take("killed", now + 1, now + 1 + LEASE)
    assert not await records.take("other", now + 2, now + 2 + LEASE)
    assert await records.take("other", now + 2 + LEASE, now + 2 + 2 * LEASE)
    await records.release("killed")
    assert not await records.take("killed", now + 3 + LEASE, now + 3 + 2 * LEASE)


async def test_older_indices_get_their_fields_and_new_ones_their_template(index_url: str) -> None:
    prefix = f"migrated-{uuid.uuid4().hex[:8]}-"
    client = Client(index_url)
    steps = of_index.steps(client, 1, 0, prefix)
    older = mapping.mappings()
    for name in mapping.facet_properties():
        del older["properties"][name]
    async with httpx.AsyncClient(base_url=index_url) as http:
        try:
            body = {"settings": mapping.settings(1, 0), "mappings": older}
            assert (await http.put(f"/{prefix}old", json=body)).status_code == 200
            assert [await _is_done(step) for step in steps] == [False, False]
            for _ in range(2):
                for step in steps:
                    await step.run()
                assert [await _is_done(step) for step in steps] == [True, True]
            assert (await http.post(f"/{prefix}mistake/_doc", json={"nonsense": 1})).status_code == 400
            changed = of_index.steps(client, 2, 0, prefix)
            assert [await _is_done(step) for step in changed] == [False, True]
        finally:
            await http.delete(f"/_index_template/{prefix.rstrip('-')}")
            for name in ("old", "mistake"):
                await http.delete(f"/{prefix}{name}", params={"ignore_unavailable": "true"})
            await client.aclose()


async def _is_done(step: of_index.Step) -> bool:
    assert step.is_done is not None
    return await step.is_done()


async def _all(database: Database, name: str) -> list[dict[str, object]]:
    with store_calls(30):
        return await database[name].find().to_list(None)


async def _indexes(database: Database, name: str) -> dict[str, list[tuple[str, int]]]:
    """The keys of each index by its name."""
    with store_calls(30):
        found = await database[name].index_information()
    return {index: [(field, int(order)) for field, order in each["key"]] for index, each in found.items()}
