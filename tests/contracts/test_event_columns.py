"""`EventStore.columns` on every backend: the fields of the events that a look through the bytes finds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.adapters.store.client import Database
from core.adapters.store.events import MongoEventStore
from core.errors import InvalidQuery
from core.event import KEYWORD_FIELDS
from core.ports import StoreRow
from core.query import Condition, EventQuery, Value
from tests import brute
from tests.contracts.stores import a_scope, body_of, row, rows
from tests.contracts.test_event_find import on_every_backend
from tests.queries import events, stored_queries

FIELDS = ["timestamp", "received_at", "ip_address", *KEYWORD_FIELDS]


@on_every_backend
@given(st.lists(events(), min_size=5, max_size=12), st.lists(stored_queries, min_size=4, max_size=4))
async def test_the_fields_are_those_of_the_bytes(
    database: Database, some: list[dict[str, Any]], asked: list[EventQuery]
) -> None:
    scope, store = a_scope(), MongoEventStore(database)
    batch = [row(scope, body_of(scope.tenant_id, fields)) for fields in some]
    await store.insert([*batch, *rows(a_scope(), 1)])
    kept = {r.id: known(r) for r in batch}
    for query in asked:
        expected = brute.answer(query, [r.body for r in batch])
        found = await store.columns(scope, query, FIELDS, bound=100)
        assert found is not None
        assert {each["_id"]: each for each in found} == {event_id: kept[event_id] for event_id in expected}
        assert len(found) == len(expected)


def known(row: StoreRow) -> dict[str, Any]:
    """The row's fields; an empty list is no field."""
    fields = {**row.named, "timestamp": row.timestamp, "received_at": row.received_at, "_id": row.id}
    return {name: value for name, value in fields.items() if name != "ip_key" and value != []}


async def test_more_than_the_bound_is_no_answer(database: Database) -> None:
    scope, store = a_scope(), MongoEventStore(database)
    await store.insert(rows(scope, 5))
    assert await store.columns(scope, EventQuery(), ["action"], bound=4) is None
    found = await store.columns(scope, EventQuery(), ["action"], bound=5)
    assert found is not None
    assert [each["action"] for each in found] == ["user.login"] * 5
    assert all(each.keys() == {"_id", "action"} for each in found)


async def test_named_ids_are_looked_up(database: Database) -> None:
    scope, store = a_scope(), MongoEventStore(database)
    mine, foreign = rows(scope, 4), rows(a_scope(), 1)
    await store.insert([*mine, *foreign])
    query = EventQuery(conditions=(Condition("id", tuple(Value(r.id) for r in (*mine[:2], *foreign))),))
    found = await store.columns(scope, query, ["action"], bound=5)
    assert {each["_id"] for each in found or ()} == {r.id for r in mine[:2]}


async def test_what_only_the_index_answers_is_refused(database: Database) -> None:
    with pytest.raises(InvalidQuery):
        await MongoEventStore(database).columns(a_scope(), EventQuery(text="x"), ["action"], bound=5)
