"""`EventStore.find` on every backend: every answer is compared with one computed from the bytes."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.adapters.store.client import Database
from core.adapters.store.events import MongoEventStore
from core.adapters.store.pages import Order, Reader
from core.adapters.store.windows import END_OF_TIME
from core.errors import InvalidQuery, Unavailable, UnboundedQuery
from core.ports import InsertOutcome
from core.query import Condition, EventQuery, Match, Position, Range, Value
from core.tenant import TenantScope
from tests import brute
from tests.contracts.stores import START, a_scope, body_of, real_bodies, row, rows
from tests.queries import ADDRESSES, NETWORKS, TEXTS, events, stored_queries

ALL = EventQuery()
on_every_backend = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def store(database: Database) -> MongoEventStore:
    return MongoEventStore(database)


async def walk(store: MongoEventStore, scope: TenantScope, query: EventQuery, limit: int) -> AsyncIterator[list[str]]:
    """The ids of page after page."""
    after: Position | None = None
    while True:
        page = await store.find(scope, query, after=after, limit=limit, total_bound=1000)
        if not page.events:
            return
        yield [event.id for event in page.events]
        if len(page.events) < limit:
            return
        after = Position(getattr(page.events[-1], query.sort), page.events[-1].id)


async def all_of(store: MongoEventStore, scope: TenantScope, query: EventQuery, limit: int) -> list[str]:
    return [event_id async for page in walk(store, scope, query, limit) for event_id in page]


@on_every_backend
@given(st.lists(events(), min_size=5, max_size=12), st.lists(stored_queries, min_size=4, max_size=4))
async def test_find_answers_as_the_bytes_do(
    database: Database, some: list[dict[str, Any]], asked: list[EventQuery]
) -> None:
    scope, store = a_scope(), MongoEventStore(database)
    batch = [row(scope, body_of(scope.tenant_id, fields)) for fields in some]
    await store.insert([*batch, *rows(a_scope(), 1)])
    for query in asked:
        expected = brute.answer(query, [r.body for r in batch])
        page = await store.find(scope, query, after=None, limit=1000, total_bound=1000)
        assert [event.id for event in page.events] == expected
        assert (page.total, page.total_exact) == (len(expected), True)
        if query is asked[0]:
            assert await all_of(store, scope, query, 3) == expected


async def test_values_at_the_edges_are_told_apart(store: MongoEventStore) -> None:
    scope = a_scope()
    some: list[dict[str, Any]] = [{"user_id": text, "tags": [text]} for text in TEXTS]
    # Two elements that lie on either side of a prefix's range, and none in it.
    some += [{"tags": ["A", "\U0010ffff"]}, {"tags": []}, {"tags": ["", "a"]}]
    some += [{"ip_address": address} for address in (*ADDRESSES, "9.255.255.255", "10.0.2.0", "2001:db9::")]
    batch = [row(scope, body_of(scope.tenant_id, fields)) for fields in some]
    await store.insert(batch)
    texts = [Value(text, match) for text in TEXTS if text for match in (Match.EQUAL, Match.PREFIX)]
    addresses = [*(Value(a) for a in ADDRESSES), *(Value(network, Match.CIDR) for network in NETWORKS)]
    asked = [Condition(field, (value,)) for field in ("user_id", "tags") for value in texts]
    asked += [Condition("ip_address", (value,)) for value in addresses]
    asked += [Condition(field, (Value("", Match.EXISTS),)) for field in ("user_id", "tags", "ip_address")]
    during = Range(batch[0].timestamp, batch[-1].timestamp + 1)
    for condition in asked:
        query = EventQuery(conditions=(condition,), timestamp=during)
        page = await store.find(scope, query, after=None, limit=1000, total_bound=1000)
        assert [event.id for event in page.events] == brute.answer(query, [r.body for r in batch]), condition


async def test_real_events_are_found_as_their_bytes_say(store: MongoEventStore, audit_logs: Path) -> None:
    scope = a_scope()
    bodies = real_bodies(audit_logs, scope.tenant_id, 8)
    assert set(await store.insert([row(scope, body) for body in bodies])) == {InsertOutcome.STORED}

    def ask(field: str, *values: Value, negated: bool = False) -> Condition:
        return Condition(field, values, negated)

    for conditions in (
        (ask("source", Value("cloudtrail"), Value("k8s")),),
        (ask("tags", Value("n1")), ask("source", Value("windows", Match.PREFIX))),
        (ask("user_id", Value("", Match.EXISTS), negated=True), ask("action", Value("1"), negated=True)),
        (ask("ip_address", Value("10.1.0.0/16", Match.CIDR)), ask("tags", Value("n2"), Value("n3"), negated=True)),
    ):
        for sort, descending in (("timestamp", True), ("received_at", False)):
            query = EventQuery(conditions=conditions, sort=sort, descending=descending)
            expected = brute.answer(query, bodies)
            assert expected
            assert await all_of(store, scope, query, 40) == expected


async def test_ids_are_filtered_like_any_field(store: MongoEventStore) -> None:
    scope = a_scope()
    batch = rows(scope, 12)
    foreign = rows(a_scope(), 1)
    await store.insert([*batch, *foreign])
    some = tuple(Value(r.id) for r in (*batch[2:9], *foreign))
    few = Condition("id", some[3:])
    for conditions in ((Condition("id", some),), (Condition("id", some), few), (Condition("id", some, negated=True),)):
        for descending in (True, False):
            query = EventQuery(conditions=conditions, descending=descending, timestamp=Range(batch[1].timestamp))
            expected = brute.answer(query, [r.body for r in batch])
            assert await all_of(store, scope, query, 2) == expected
            page = await store.find(scope, query, after=None, limit=2, total_bound=100)
            assert (page.total, page.total_exact) == (len(expected), True)


@pytest.mark.parametrize("sort", ["timestamp", "received_at"])
@pytest.mark.parametrize("descending", [True, False])
async def test_pages_hold_each_event_once_while_others_arrive(
    store: MongoEventStore, sort: str, descending: bool
) -> None:
    scope, dice = a_scope(), random.Random(sort)
    moments = [START - 3 * 10**13, START, START, START, START + 1, START + 10**7, START + 10**10]
    present = [row(scope, body_of(scope.tenant_id, at=dice.choice(moments))) for _ in range(60)]
    await store.insert(present)
    query = EventQuery(sort=sort, descending=descending)
    seen: list[str] = []
    async for page in walk(store, scope, query, 7):
        seen += page
        await store.insert([row(scope, body_of(scope.tenant_id, at=dice.choice(moments))) for _ in range(3)])
        if len(seen) > 300:
            break
    assert len(seen) == len(set(seen))
    assert {r.id for r in present} <= set(seen)


@pytest.mark.parametrize("descending", [True, False])
async def test_a_position_outside_the_range_brings_nothing_from_outside(
    store: MongoEventStore, descending: bool
) -> None:
    scope = a_scope()
    batch = [row(scope, body_of(scope.tenant_id, at=START + n)) for n in range(6)]
    await store.insert(batch)
    query = EventQuery(timestamp=Range(START + 2, START + 4), descending=descending)
    outside = Position(START + (5 if descending else 0), "zzz" if descending else "")
    page = await store.find(scope, query, after=outside, limit=10, total_bound=10)
    assert [event.id for event in page.events] == brute.answer(query, [r.body for r in batch])


async def test_the_total_is_exact_up_to_its_bound(store: MongoEventStore) -> None:
    scope = a_scope()
    await store.insert(rows(scope, 8))
    for bound, limit, expected in ((8, 3, (8, True)), (7, 3, (7, False)), (7, 10, (7, False)), (9, 10, (8, True))):
        page = await store.find(scope, ALL, after=None, limit=limit, total_bound=bound)
        assert (page.total, page.total_exact) == expected


@pytest.mark.parametrize(
    "query",
    [
        EventQuery(text="login"),
        EventQuery(conditions=(Condition("metadata.a", (Value("b"),)),)),
        EventQuery(conditions=(Condition("message", (Value("b"),)),)),
        EventQuery(conditions=(Condition("ip_address", (Value("nowhere"),)),)),
        EventQuery(conditions=(Condition("$where", (Value("1"),)),)),
    ],
    ids=["full text", "free-form", "message", "no address", "no field"],
)
async def test_what_only_the_index_answers_is_refused(store: MongoEventStore, query: EventQuery) -> None:
    with pytest.raises(InvalidQuery):
        await store.find(a_scope(), query, after=None, limit=1, total_bound=1)


@pytest.mark.parametrize("order", [Order("timestamp", True), Order("received_at", False)])
async def test_what_takes_too_long_to_look_through_is_the_querys_fault(
    database: Database, backend: str, order: Order
) -> None:
    if backend == "memory":
        pytest.skip("mongomock knows no deadline")
    scope = a_scope()
    await MongoEventStore(database).insert(rows(scope, 3))
    plain = {"tenant_id": scope.tenant_id}
    span = (0, END_OF_TIME)
    narrowed = Reader(database["events"], plain | {"$and": [{"user_id": "x"}]}, order, span, deadline=1e-6)
    with pytest.raises(UnboundedQuery, match=r"narrow the time with `(received_)?from`") as refused:
        await narrowed.page(None, 10, 10, START)
    assert ("received_from" in refused.value.message) is (order.field == "received_at")
    with pytest.raises(Unavailable):  # a page by time alone is short: there it is the store that is slow
        await Reader(database["events"], plain, order, span, deadline=1e-6).page(None, 10, 10, START)


async def test_times_are_plain_integers(store: MongoEventStore) -> None:
    """The driver's own kind of integer has no place in a cursor: every page of the store's would fail."""
    scope = a_scope()
    await store.insert(rows(scope, 2))
    found = (await store.find(scope, ALL, after=None, limit=2, total_bound=10)).events
    found += (await store.fetch(scope, [found[0].id])).values()
    assert len(found) == 3
    assert {type(moment) for event in found for moment in (event.timestamp, event.received_at)} == {int}
