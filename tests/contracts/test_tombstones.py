"""`Tombstones` and `Purge` on every backend."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.adapters.store.client import Database
from core.adapters.store.control import MongoControl
from core.adapters.store.events import MongoEventStore
from core.adapters.store.ledger import MongoLedger
from core.adapters.store.purge import MongoPurge
from core.adapters.store.tombstones import MongoTombstones
from core.ports import Person, Receipt, Tombstone
from core.tenant import Tenant, for_system
from tests.contracts.stores import rows

T1, T2 = "aaaaaaaa", "aaaaaaaab"
"""The one's id begins as the other's does."""
WHOLE = Tombstone(T1, T1, "job-1", "op", 5, standing_since=9, stage="removing")
PERSON = Tombstone("job-2", T2, "job-2", "ana", 6, Person.of("eve \ud7ff", 7), 8, report={"a.b": {"$x": [1, None]}})


@pytest.fixture
def tombstones(database: Database) -> MongoTombstones:
    return MongoTombstones(database)


async def test_tombstones_come_back_as_they_were(tombstones: MongoTombstones) -> None:
    assert await tombstones.get(T1) is None
    for each in (WHOLE, PERSON):
        await tombstones.put(each)
        assert await tombstones.get(each.id) == each
    changed = replace(WHOLE, stage="done", error="why", report={"left": {}}, standing_since=None)
    await tombstones.put(changed)
    assert await tombstones.get(T1) == changed
    await tombstones.remove(T1)
    await tombstones.remove(T1)
    assert await tombstones.get(T1) is None
    assert await tombstones.get(PERSON.id) == PERSON


async def test_those_that_stand_are_told_without_their_reports(tombstones: MongoTombstones) -> None:
    for each in (WHOLE, PERSON, Tombstone("job-3", T2, "job-3", "op", 7)):
        await tombstones.put(each)
    assert sorted(each.id for each in await tombstones.standing(0)) == [T1, "job-2"]
    assert [each.id for each in await tombstones.standing(9)] == [T1]
    assert await tombstones.standing(8) != []
    assert await tombstones.standing(10) == []
    assert all(each.report is None for each in await tombstones.standing(0))


async def test_a_tenants_tombstone_never_expires(tombstones: MongoTombstones) -> None:
    open_one = replace(PERSON, id="job-4", report=None)
    for each in (replace(WHOLE, report={}), PERSON, open_one):
        await tombstones.put(each)
    await tombstones.expire(6)
    assert await tombstones.get(PERSON.id) is not None
    await tombstones.expire(7)
    assert await tombstones.get(PERSON.id) is None
    assert sorted(each.id for each in await tombstones.standing(0)) == [T1, "job-4"]


async def test_a_tenant_is_removed_from_every_collection_and_no_other_is(database: Database) -> None:
    purge, control, ledger = MongoPurge(database), await MongoControl.open(database), MongoLedger(database)
    for tenant_id in (T1, T2):
        await control.create_tenant(Tenant(tenant_id, "t", b"s" * 32, 0))
        await MongoEventStore(database).insert(rows(for_system(tenant_id, "test"), 7))
        await database["parked"].insert_one({"_id": f"p-{tenant_id}", "tenant_id": tenant_id})
        await database["made_later"].insert_many(
            [
                {"_id": tenant_id, "n": 1},
                {"_id": f"{tenant_id}:beside"},
                {"_id": f"x{tenant_id}", "tenant_id": tenant_id},
            ]
        )
        await database["jobs"].insert_many([{"_id": f"{tenant_id}-{n}", "tenant_id": tenant_id} for n in range(3)])
        for each in (WHOLE, PERSON):
            own = tenant_id if each is WHOLE else f"job-{tenant_id}"
            await MongoTombstones(database).put(replace(each, id=own, tenant_id=tenant_id))
    receipts = [Receipt("p", n, f"e{n}", 1, {T1: n} | ({T2: 1} if n % 2 else {}), 1) for n in range(1, 5)]
    await ledger.record(receipts)
    scope, other = for_system(T1, "test"), for_system(T2, "test")
    before = await purge.left(other, but_job="none")
    kinds = {"events": 7, "jobs": 2, "made_later": 3, "parked": 1, "receipts": 4, "tombstones": 1}
    assert await purge.left(scope, but_job=f"{T1}-1") == kinds
    assert [await purge.events(scope, 4) for _ in range(3)] == [4, 3, 0]
    removed = {name: number for name, number in kinds.items() if name != "events"}
    assert await purge.records(scope, but_job=f"{T1}-1") == removed
    assert await purge.records(scope, but_job=f"{T1}-1") == {}
    assert await purge.left(scope, but_job=f"{T1}-1") == {}
    assert await purge.left(other, but_job="none") == before == {**kinds, "jobs": 3, "receipts": 2}
    assert await control.tenant(T1) is not None
    await purge.tenant(scope)
    await purge.tenant(scope)
    assert [tenant.id for tenant in await control.tenants()] == [T2]
    assert await traces_of(database, T1) == {"jobs": 1, "tombstones": 1}
    assert [each.id for each in await MongoTombstones(database).standing(0) if each.tenant_id == T1] == [T1]


async def traces_of(database: Database, tenant_id: str) -> dict[str, int]:
    """Documents that name the tenant, anywhere in them."""
    found: dict[str, int] = {}
    for name in await database.list_collection_names():
        documents: list[Any] = await database[name].find().to_list(None)
        texts = [repr(document).replace(T2, "") for document in documents]
        if number := sum(tenant_id in text for text in texts):
            found[name] = number
    return found
