"""`EventStore`: every backend, every answer compared with one computed from the bytes."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.adapters.store.client import Database
from core.adapters.store.events import MongoEventStore
from core.errors import Invalid, InvalidQuery
from core.ports import InsertOutcome, StoreRow
from core.query import Condition, EventQuery, Match, Position, Range, Value
from core.tenant import TenantScope
from tests import brute
from tests.contracts.stores import START, a_scope, body_of, real_bodies, row, rows
from tests.queries import ADDRESSES, NETWORKS, TEXTS, events, stored_queries

STORED, DUPLICATE, CONFLICT = InsertOutcome.STORED, InsertOutcome.DUPLICATE, InsertOutcome.CONFLICT
ALL = EventQuery()
on_every_backend = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
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
        after = Position(getattr(page.events[-1], query.sort), page.events[-1].id)


async def all_of(store: MongoEventStore, scope: TenantScope, query: EventQuery, limit: int) -> list[str]:
    return [event_id async for page in walk(store, scope, query, limit) for event_id in page]


# Insert


async def test_the_exact_bytes_come_back(store: MongoEventStore) -> None:
    scope = a_scope()
    numbers = b'"n": 123456789012345678901234567890,"e":1e400,"a":1,"a":1.0'
    odd = b'{"a.b":{"$set":"\\u00e9\\ud83d\\ude00"}, "z":"\xe2\x80\xa8",' + numbers + b"}"
    body = body_of(scope.tenant_id)[:-1] + b',"metadata":' + odd + b"}"
    stored = row(scope, body)
    assert await store.insert([stored]) == [STORED]
    found = await store.get(scope, stored.id)
    assert found is not None
    assert found.body == body
    assert (found.hash, found.timestamp, found.received_at, found.placement) == (
        stored.hash, stored.timestamp, stored.received_at, stored.placement
    )  # fmt: skip
    # Not the driver's Int64, which msgspec does not encode.
    assert type(found.timestamp) is type(found.received_at) is int


async def test_a_repeated_insert_is_a_duplicate(store: MongoEventStore) -> None:
    scope = a_scope()
    batch = rows(scope, 5)
    assert await store.insert(batch) == [STORED] * 5
    assert await store.insert([*batch, *rows(scope, 1)]) == [DUPLICATE] * 5 + [STORED]
    assert await store.count(scope) == 6


async def test_the_content_of_a_retry_decides_and_the_first_stays(store: MongoEventStore) -> None:
    scope = a_scope()
    first = dataclasses.replace(rows(scope, 1)[0], content=b"c" * 32)
    later = {"id": first.id, "action": "user.logout"}
    retry = row(scope, body_of(scope.tenant_id, later), b"c" * 32)
    other = row(scope, body_of(scope.tenant_id, later), b"d" * 32)
    without = row(scope, body_of(scope.tenant_id, later))
    assert await store.insert([first]) == [STORED]
    assert await store.insert([retry]) == [DUPLICATE]
    assert await store.insert([other]) == [CONFLICT]
    assert await store.insert([without]) == [CONFLICT]
    found = await store.get(scope, first.id)
    assert found is not None
    assert found.body == first.body


async def test_two_rows_without_content_are_no_duplicates(store: MongoEventStore) -> None:
    scope = a_scope()
    first = rows(scope, 1)[0]
    other = row(scope, body_of(scope.tenant_id, {"id": first.id, "action": "x"}))
    assert await store.insert([first]) == [STORED]
    assert await store.insert([other]) == [CONFLICT]


async def test_of_one_id_twice_in_a_batch_the_first_wins(store: MongoEventStore) -> None:
    scope = a_scope()
    first = rows(scope, 1)[0]
    other = row(scope, body_of(scope.tenant_id, {"id": first.id, "action": "x"}))
    assert await store.insert([first, first, other]) == [STORED, DUPLICATE, CONFLICT]
    assert (await store.fetch(scope, [first.id]))[first.id].body == first.body


async def test_an_id_of_another_tenant_is_a_conflict_even_with_the_same_digests(store: MongoEventStore) -> None:
    mine, theirs = a_scope(), a_scope()
    first = dataclasses.replace(rows(mine, 1)[0], content=b"c" * 32)
    assert await store.insert([first]) == [STORED]
    assert await store.insert([dataclasses.replace(first, tenant_id=theirs.tenant_id)]) == [CONFLICT]
    assert await store.get(theirs, first.id) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: dataclasses.replace(good, body=b'{"\xff"}'),
        lambda good: dataclasses.replace(good, named={"user_id": "\ud800"}),
        lambda good: dataclasses.replace(good, named={"a\0b": "x"}),
        lambda good: dataclasses.replace(good, timestamp=1 << 64),
        lambda good: dataclasses.replace(good, body=b'"' + b"x" * (16 << 20) + b'"'),
    ],
    ids=["no text", "lone surrogate", "NUL in a key", "no int64", "over 16 MiB"],
)
async def test_what_cannot_be_stored_spoils_its_own_place_alone(
    store: MongoEventStore, spoil: Callable[[StoreRow], StoreRow], backend: str
) -> None:
    scope = a_scope()
    good = rows(scope, 4)
    bad = spoil(good[1])
    if len(bad.body) > 1 << 20 and backend == "memory":
        pytest.skip("mongomock takes documents of any size")
    outcomes = await store.insert([good[0], bad, good[2], good[3]])
    # What went out before the fault was seen may be told as a duplicate of itself: it is stored all the same.
    assert [outcome in (STORED, DUPLICATE) for outcome in outcomes] == [True, False, True, True]
    assert isinstance(outcomes[1], Invalid)
    assert (await store.fetch(scope, [r.id for r in good])).keys() == {good[0].id, good[2].id, good[3].id}


async def test_nothing_to_insert(store: MongoEventStore) -> None:
    assert await store.insert([]) == []


# Fetch


async def test_fetch_gives_the_tenants_own_and_no_others(store: MongoEventStore) -> None:
    mine, theirs = a_scope(), a_scope()
    own, foreign = rows(mine, 230), rows(theirs, 3)
    await store.insert([*own, *foreign])
    asked = [r.id for r in (*own, *foreign, own[0])] + ["00000000-0000-7000-8000-000000000000"]
    found = await store.fetch(mine, asked)
    assert {event_id: event.body for event_id, event in found.items()} == {r.id: r.body for r in own}
    assert await store.fetch(mine, []) == {}
    assert (await store.count(mine), await store.count(theirs), await store.count(a_scope())) == (230, 3, 0)


# Find


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
    assert set(await store.insert([row(scope, body) for body in bodies])) == {STORED}

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
            assert await all_of(store, scope, query, 19) == expected


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


# Scan


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("batch", [1, 7, 1000])
async def test_scan_gives_each_event_of_the_range_once(store: MongoEventStore, descending: bool, batch: int) -> None:
    scope, dice = a_scope(), random.Random(batch)
    moments = [START + dice.choice([0, 1, 2, 61, 10**8]) * 1_000_000 for _ in range(40)]
    stored = [row(scope, body_of(scope.tenant_id, at=at)) for at in moments]
    await store.insert([*stored, *rows(a_scope(), 3)])
    start, end = START + 1_000_000, START + 10**15
    got = [b async for b in store.scan(scope, start=start, end=end, descending=descending, batch=batch)]
    expected = sorted(((r.received_at, r.id) for r in stored if r.received_at >= start), reverse=descending)
    assert [(event.received_at, event.id) for events in got for event in events] == expected
    assert all(len(events) <= batch for events in got)
    assert {event.id: event.body for events in got for event in events}.items() <= {
        r.id: r.body for r in stored
    }.items()


async def test_the_end_of_a_scan_is_not_in_it(store: MongoEventStore) -> None:
    scope = a_scope()
    await store.insert([row(scope, body_of(scope.tenant_id, at=START + n)) for n in range(4)])
    got = [e.received_at async for b in store.scan(scope, start=START + 1, end=START + 3) for e in b]
    assert got == [START + 2, START + 1]


async def test_a_store_serves_many_callers_at_once(store: MongoEventStore) -> None:
    scope = a_scope()
    same = rows(scope, 20)
    outcomes = await asyncio.gather(*(store.insert(same) for _ in range(4)))
    flat = [outcome for several in outcomes for outcome in several]
    assert (flat.count(STORED), flat.count(DUPLICATE)) == (20, 60)
    await store.ping()
