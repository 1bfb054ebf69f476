"""`EventStore`: insert, fetch and scan on every backend."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from pymongo.errors import NetworkTimeout

from core.adapters.store.client import Database
from core.adapters.store.events import MongoEventStore
from core.adapters.store.pages import Reader
from core.errors import Invalid, Unavailable
from core.ports import InsertOutcome, Stored, StoreRow
from tests.contracts.stores import START, a_scope, body_of, row, rows

STORED, DUPLICATE, CONFLICT = InsertOutcome.STORED, InsertOutcome.DUPLICATE, InsertOutcome.CONFLICT


@pytest.fixture
def store(database: Database) -> MongoEventStore:
    return MongoEventStore(database)


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
    first = msgspec.structs.replace(rows(scope, 1)[0], content=b"c" * 32)
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
    first = msgspec.structs.replace(rows(mine, 1)[0], content=b"c" * 32)
    assert await store.insert([first]) == [STORED]
    assert await store.insert([msgspec.structs.replace(first, tenant_id=theirs.tenant_id)]) == [CONFLICT]
    assert await store.get(theirs, first.id) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: msgspec.structs.replace(good, body=b'{"\xff"}'),
        lambda good: msgspec.structs.replace(good, named={"user_id": "\ud800"}),
        lambda good: msgspec.structs.replace(good, named={"a\0b": "x"}),
        lambda good: msgspec.structs.replace(good, timestamp=1 << 64),
        lambda good: msgspec.structs.replace(good, body=b'"' + b"x" * (16 << 20) + b'"'),
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
    assert await store.bodies(mine, asked) == {r.id: r.body for r in own}
    assert await store.fetch(mine, []) == await store.bodies(mine, []) == {}
    assert (await store.count(mine), await store.count(theirs), await store.count(a_scope())) == (230, 3, 0)


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


@pytest.mark.parametrize("descending", [True, False])
async def test_a_window_that_takes_the_server_too_long_is_asked_for_narrower(
    store: MongoEventStore, monkeypatch: pytest.MonkeyPatch, descending: bool
) -> None:
    scope, read = a_scope(), Reader.read
    moments = [START + 86_400_000_000 + n // 3 * 1000 for n in range(200)]
    stored = [row(scope, body_of(scope.tenant_id, at=at)) for at in moments]
    await store.insert(stored)
    refused = 0

    async def slow(self: Reader, *asked: Any) -> list[Stored]:
        nonlocal refused
        low, high = self.span
        if sum(low <= at < high for at in moments) > 60:
            refused += 1
            raise Unavailable("store") from NetworkTimeout()
        return await read(self, *asked)

    monkeypatch.setattr(Reader, "read", slow)
    end = START + 10 * 86_400_000_000
    got = [e async for b in store.scan(scope, start=START, end=end, descending=descending, batch=20) for e in b]
    expected = sorted(((r.received_at, r.id) for r in stored), reverse=descending)
    assert [(event.received_at, event.id) for event in got] == expected
    assert refused
    moments += [START] * 100
    with pytest.raises(Unavailable):  # a moment alone is no narrower
        assert [b async for b in store.scan(scope, start=START, end=end, descending=descending, batch=20)]


async def test_a_store_serves_many_callers_at_once(store: MongoEventStore) -> None:
    scope = a_scope()
    same = rows(scope, 20)
    outcomes = await asyncio.gather(*(store.insert(same) for _ in range(4)))
    flat = [outcome for several in outcomes for outcome in several]
    assert (flat.count(STORED), flat.count(DUPLICATE)) == (20, 60)
    await store.ping()


# Remove


async def test_what_is_removed_has_the_id_and_the_hash_of_the_tenants_event(store: MongoEventStore) -> None:
    scope, other = a_scope(), a_scope()
    mine, theirs = rows(scope, 250), rows(other, 3)
    await store.insert([*mine, *theirs])
    going = {each.id: each.hash for each in (*mine[:220], *theirs[:2])}
    going[mine[0].id] = b"\0" * 32  # others' bytes under its id: it is another event by now
    assert await store.remove(scope, going) == 219
    assert await store.remove(scope, going) == 0
    assert await store.remove(scope, {}) == 0
    left = await store.fetch(scope, [each.id for each in mine])
    assert sorted(left) == sorted(each.id for each in (mine[0], *mine[220:]))
    assert await store.count(other) == 3


async def test_what_was_removed_can_be_stored_again(store: MongoEventStore) -> None:
    scope = a_scope()
    [one] = rows(scope, 1)
    await store.insert([one])
    await store.remove(scope, {one.id: one.hash})
    assert await store.insert([one], again=True) == [STORED]
    assert await store.insert([one], again=True) == [DUPLICATE]
    found = await store.get(scope, one.id)
    assert found is not None
    assert (found.body, found.hash, found.content, found.envelope) == (one.body, one.hash, None, one.envelope)
