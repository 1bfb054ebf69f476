"""`Keys` on every backend, and what the snapshot says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.adapters.store.client import Database
from core.adapters.store.control import MongoControl
from core.adapters.store.keys import MongoKeys
from core.adapters.store.purge import MongoPurge
from core.errors import Conflict
from core.networks import network
from core.ports import ApiKey, KeySecret
from core.tenant import TenantScope
from tests.contracts.stores import START, a_scope


@pytest.fixture
def keys(database: Database) -> MongoKeys:
    return MongoKeys(database)


def a_key(scope: TenantScope, n: int = 0, **more: object) -> ApiKey:
    made = ApiKey(
        id=f"ock_{START + n:016x}{n:08x}",
        tenant_id=scope.tenant_id,
        name="Büro 💠",
        roles=("writer", "searcher"),
        secrets=(KeySecret(1, b"\x80" * 32, START, START + 5), KeySecret(2, b"\xff" * 32, START + 1)),
        created_at=START,
        created_by="key:ana",
    )
    return replace(made, **more)  # type: ignore[arg-type]


async def test_a_key_comes_back_as_it_was(keys: MongoKeys) -> None:
    scope = a_scope()
    plain = a_key(scope)
    full = a_key(scope, 1, networks=("10.0.0.0/8", "2001:db8::/32"), expires_at=START + 9, revoked_at=8, used_at=7)
    for key in (plain, full):
        await keys.create(key)
        assert await keys.find(key.id) == await keys.get(scope, key.id) == key
        with pytest.raises(Conflict):
            await keys.create(replace(key, name="x"))
    assert await keys.find("ock_0") is None


async def test_another_tenants_key_is_not_there(keys: MongoKeys) -> None:
    scope, other = a_scope(), a_scope()
    key = a_key(scope)
    await keys.create(key)
    assert await keys.get(other, key.id) is None
    assert await keys.listing(other, before=None, limit=10) == []
    assert (await keys.count(other), await keys.holders(other, "writer", 5)) == (0, [])
    assert not await keys.replace(other, key, replace(key, name="stolen"))
    assert await keys.find(key.id) == key


async def test_the_newest_come_first_and_revoked_ones_do_not_count(keys: MongoKeys) -> None:
    scope = a_scope()
    made = [a_key(scope, n) for n in range(5)]
    made[1] = replace(made[1], revoked_at=5)
    for key in (made[3], made[0], made[4], made[2], made[1], a_key(a_scope(), 9)):
        await keys.create(key)
    assert await keys.listing(scope, before=None, limit=2) == [made[4], made[3]]
    assert await keys.listing(scope, before=made[3].id, limit=9) == [made[2], made[1], made[0]]
    assert await keys.count(scope) == 4
    assert sorted(await keys.holders(scope, "searcher", 9)) == [made[n].id for n in (0, 2, 3, 4)]
    assert len(await keys.holders(scope, "searcher", 2)) == 2
    assert await keys.holders(scope, "search", 9) == []


async def test_of_two_who_change_a_key_one_does(keys: MongoKeys) -> None:
    scope = a_scope()
    key = a_key(scope)
    await keys.create(key)
    await keys.used(key.id, 77)
    first, second = replace(key, name="first", networks=("10.0.0.0/8",)), replace(key, revoked_at=9)
    assert await keys.replace(scope, key, first)
    assert not await keys.replace(scope, key, second)
    changed = replace(first, version=1, used_at=77)
    assert await keys.get(scope, key.id) == changed
    assert await keys.replace(scope, changed, replace(changed, revoked_at=9))
    assert await keys.get(scope, key.id) == replace(changed, revoked_at=9, version=2)


async def test_a_key_from_before_there_were_rotations_works(keys: MongoKeys, database: Database) -> None:
    scope = a_scope()
    old = {"_id": "ock_old", "tenant_id": scope.tenant_id, "name": "ci", "roles": ["writer"]}
    await database["keys"].insert_one({**old, "secret_hash": b"\x80" * 32, "created_at": 9, "revoked_at": None})
    key = ApiKey("ock_old", scope.tenant_id, "ci", ("writer",), (KeySecret(1, b"\x80" * 32, 9),), 9)
    assert await keys.find("ock_old") == key
    rotated = replace(key, secrets=(*key.secrets, KeySecret(2, b"\x01" * 32, 10)))
    assert await keys.replace(scope, key, rotated)
    assert await keys.find("ock_old") == replace(rotated, version=1)


async def test_the_snapshot_names_the_networks_of_keys_that_have_some(keys: MongoKeys, database: Database) -> None:
    control = await MongoControl.open(database)
    scope = a_scope()
    bound, free = a_key(scope, 0, networks=("10.0.0.0/8", "2001:db8::/32")), a_key(scope, 1)
    gone = a_key(scope, 2, networks=("10.0.0.0/8",), revoked_at=5)
    for key in (bound, free, gone):
        await keys.create(key)
    told = {bound.subject: (network("10.0.0.0/8"), network("2001:db8::/32"))}
    assert (await control.snapshot()).networks == told
    await keys.replace(scope, bound, replace(bound, networks=()))
    await keys.replace(scope, free, replace(free, networks=("203.0.113.7/32",)))
    assert (await control.snapshot()).networks == {free.subject: (network("203.0.113.7"),)}


async def test_what_was_revoked_goes_with_its_tenant(keys: MongoKeys, database: Database) -> None:
    control, purge = await MongoControl.open(database), MongoPurge(database)
    scope, other = a_scope(), a_scope()
    mine, theirs = a_key(scope), a_key(other, 1)
    for key in (mine, theirs):
        await keys.create(key)
        for name in (key.subject, *map(key.secret_name, (1, 2))):
            await control.revoke(name, START)
    await purge.records(scope, but_job="")
    assert (await control.snapshot()).revoked == {theirs.subject, theirs.secret_name(1), theirs.secret_name(2)}
    assert (await keys.find(mine.id), await keys.find(theirs.id)) == (None, theirs)
