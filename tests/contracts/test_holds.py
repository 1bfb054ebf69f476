"""`Holds` on every backend, and what they say of events."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.adapters.store.client import Database
from core.adapters.store.events import MongoEventStore
from core.adapters.store.holds import MongoHolds
from core.holds import Hold, covering_any, held_in
from core.ids import uuid7s
from core.query import Condition, EventQuery, Match, Range, Value, parse_document
from core.tenant import TenantScope
from tests.contracts.stores import START, a_scope, body_of, row

TREE = {"or": [{"field": "metadata.a.$b", "equals": ["é 💠", "1"]}, {"not": {"text": "budget"}}]}


@pytest.fixture
def holds(database: Database) -> MongoHolds:
    return MongoHolds(database)


def a_hold(scope: TenantScope, at: int = START, query: EventQuery | None = None) -> Hold:
    return Hold(
        id=uuid7s(at, 1)[0],
        tenant_id=scope.tenant_id,
        query=query or parse_document({"query": TREE, "from": "-1h"}, at).query,
        written=b'{"query":{"field":"metadata.a.$b","equals":"\xc3\xa9"},"from":"-1h"}',
        reason="court 💠",
        made_by="key:ana",
        made_at=at,
        matched=7,
        matched_exact=False,
    )


def of(user: str) -> EventQuery:
    return EventQuery(conditions=(Condition("user_id", (Value(user, Match.EQUAL),)),))


async def test_a_hold_comes_back_as_it_was_made(holds: MongoHolds) -> None:
    scope = a_scope()
    hold = a_hold(scope)
    await holds.create(scope, hold)
    assert await holds.get(scope, hold.id) == hold
    assert await holds.get(a_scope(), hold.id) is None
    assert await holds.standing(a_scope()) == await holds.listing(a_scope(), before=None, limit=9) == []


async def test_a_released_hold_stands_no_more_and_stays_on_record(holds: MongoHolds) -> None:
    scope = a_scope()
    made = [a_hold(scope, START + n * 1000) for n in range(4)]
    for hold in made:
        await holds.create(scope, hold)
    assert await holds.standing(scope) == made
    assert not await holds.release(a_scope(), made[1].id, by="thief", at=1, reason="")
    assert await holds.release(scope, made[1].id, by="key:ben", at=START + 9, reason="settled")
    assert not await holds.release(scope, made[1].id, by="key:eve", at=START + 10, reason="again")
    assert not await holds.release(scope, "none", by="key:eve", at=START + 10, reason="again")
    released = replace(made[1], released_by="key:ben", released_at=START + 9, release_reason="settled")
    assert await holds.standing(scope) == [made[0], made[2], made[3]]
    assert await holds.listing(scope, before=None, limit=3) == [made[3], made[2], released]
    assert await holds.listing(scope, before=released.id, limit=3) == [made[0]]


async def test_a_tenants_record_is_forgotten_alone(holds: MongoHolds) -> None:
    scope, other = a_scope(), a_scope()
    for each in (scope, other):
        await holds.create(each, a_hold(each))
    await holds.forget(scope)
    await holds.forget(scope)
    assert await holds.listing(scope, before=None, limit=9) == []
    assert len(await holds.standing(other)) == 1


async def test_what_is_held_is_known_of_each_event_of_a_query_and_of_the_tenant(
    holds: MongoHolds, database: Database
) -> None:
    scope, store = a_scope(), MongoEventStore(database)
    bodies = {
        user: body_of(scope.tenant_id, {"user_id": user, "metadata": {"case": user[0]}}, at=START + n)
        for n, user in enumerate(("ana", "ben", "carl"))
    }
    await store.insert([row(scope, body) for body in bodies.values()])
    [events] = [batch async for batch in store.scan(scope, start=0, end=1 << 60, descending=False)]
    assert not await held_in(holds, scope)

    free = parse_document({"query": {"field": "metadata.case", "equals": "a"}}, START).query
    later = EventQuery(received_at=Range(START + 2, None))
    for n, query in enumerate((free, later)):
        await holds.create(scope, a_hold(scope, START + n, query))
    held = await held_in(holds, scope)
    assert held
    assert not held.everything
    assert [hold and hold.query for hold in map(held.covering, events)] == [free, None, later]
    until = Range(None, START + 9)
    for user, query in (("ana", free), ("ben", None), ("carl", later), ("nobody", None)):
        asked = EventQuery(conditions=of(user).conditions, received_at=until)
        found = await covering_any(held, store, scope, asked)
        assert (found and found.query) == query, user
    for hold in held.holds:
        await holds.release(scope, hold.id, by="a", at=1, reason="b")
    held = await held_in(holds, scope)
    assert not held
    assert not any(map(held.covering, events))
    assert await covering_any(held, store, scope, EventQuery(received_at=until)) is None

    await holds.create(scope, a_hold(scope, START + 50, EventQuery()))
    held = await held_in(holds, scope)
    assert held.everything
    assert all(map(held.covering, events))
