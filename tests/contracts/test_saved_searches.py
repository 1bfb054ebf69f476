"""`SavedSearches` on every backend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.adapters.store.client import Database
from core.adapters.store.searches import MongoSavedSearches
from core.errors import Conflict
from core.ids import uuid7s
from core.ports import SavedSearch
from core.tenant import TenantScope
from tests.contracts.stores import START, a_scope

ODD = '{"query": {"field": "metadata.a.$b", "equals": [1.0, 1e400, "\\u0000 é 💠"]},  "from":"-24h"}'


@pytest.fixture
async def saved(database: Database) -> MongoSavedSearches:
    return await MongoSavedSearches.open(database)


def a_search(scope: TenantScope, at: int = START) -> SavedSearch:
    return SavedSearch(uuid7s(at, 1)[0], scope.tenant_id, "Büro 💠", ODD, "key:ana", at, at + 1)


async def test_a_search_comes_back_as_it_was_written(saved: MongoSavedSearches) -> None:
    scope = a_scope()
    search = a_search(scope)
    await saved.create(search)
    assert await saved.get(scope, search.id) == search
    assert await saved.get(scope, "other") is None
    with pytest.raises(Conflict):
        await saved.create(replace(search, name="x"))
    assert await saved.listing(scope, before=None, limit=10) == [search]


async def test_the_newest_come_first_page_by_page(saved: MongoSavedSearches) -> None:
    scope = a_scope()
    made = [a_search(scope, START + n * 1000) for n in range(5)]
    for search in (made[3], made[0], made[4], made[2], made[1], a_search(a_scope(), START + 2500)):
        await saved.create(search)
    assert await saved.listing(scope, before=None, limit=2) == [made[4], made[3]]
    assert await saved.listing(scope, before=made[3].id, limit=2) == [made[2], made[1]]
    assert await saved.listing(scope, before=made[1].id, limit=2) == [made[0]]
    assert await saved.listing(scope, before=made[0].id, limit=2) == []
    assert (await saved.count(scope), await saved.count(a_scope())) == (5, 0)


async def test_name_query_and_time_change_and_nothing_else(saved: MongoSavedSearches) -> None:
    scope = a_scope()
    search, other = a_search(scope), a_search(scope, START + 1000)
    for one in (search, other):
        await saved.create(one)
    changed = replace(search, name="n", query='"q=x"', updated_at=START + 9)
    assert await saved.replace(scope, replace(changed, owner="thief", created_at=1))
    assert await saved.get(scope, search.id) == changed
    assert await saved.replace(scope, changed)
    assert await saved.get(scope, other.id) == other
    assert not await saved.replace(scope, replace(changed, id="other"))


async def test_what_is_removed_is_gone(saved: MongoSavedSearches) -> None:
    scope = a_scope()
    search = a_search(scope)
    await saved.create(search)
    assert await saved.remove(scope, search.id)
    assert not await saved.remove(scope, search.id)
    assert not await saved.replace(scope, search)
    assert await saved.get(scope, search.id) is None
    assert await saved.count(scope) == 0


async def test_another_tenants_search_is_not_there(saved: MongoSavedSearches) -> None:
    mine, theirs = a_scope(), a_scope()
    search = a_search(theirs)
    await saved.create(search)
    assert await saved.get(mine, search.id) is None
    assert await saved.listing(mine, before=None, limit=10) == []
    assert not await saved.replace(mine, replace(search, name="stolen"))
    assert not await saved.remove(mine, search.id)
    assert await saved.get(theirs, search.id) == search
