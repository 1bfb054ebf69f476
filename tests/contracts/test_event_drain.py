"""`EventStore.drain` on every backend: every event once, in order, whatever the ties, gaps, sizes and restarts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import instant
from core.adapters.store import drain
from core.adapters.store.client import Database
from core.adapters.store.events import MongoEventStore
from core.adapters.store.indexes import EVENTS
from core.errors import InvalidQuery
from core.event import decode_stored
from core.ports import Drained
from core.query import Condition, EventQuery, Position, Range, Value
from core.tenant import TenantScope
from tests import brute
from tests.contracts.stores import START, a_scope, body_of, row, rows
from tests.queries import events, stored_queries

END = START + 10**13
DAY = 86_400_000_000


@pytest.fixture
def store(database: Database) -> MongoEventStore:
    return MongoEventStore(database)


@dataclass
class Log:
    """A tenant's events and the query for all of them."""

    scope: TenantScope
    bodies: list[bytes]

    async def drained(self, store: MongoEventStore, query: EventQuery, after: Position | None = None) -> list[Drained]:
        return [batch async for batch in store.drain(self.scope, query, after=after)]

    def expected(self, query: EventQuery) -> list[str]:
        return brute.answer(msgspec.structs.replace(query, sort="received_at", descending=False), self.bodies)


async def a_log(store: MongoEventStore, bodies: list[bytes], scope: TenantScope) -> Log:
    await store.insert(
        [*(row(scope, body) for body in random.Random(1).sample(bodies, len(bodies))), *rows(a_scope(), 3)]
    )
    return Log(scope, bodies)


def ids(batches: list[Drained]) -> list[str]:
    return [event.id for batch in batches for event in batch.events]


def place(position: Position) -> tuple[int, str]:
    return position.us, position.id


ALL = EventQuery(received_at=Range(None, END))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a few events."""
    monkeypatch.setattr(drain, "_FIRST_BATCH", 5)
    monkeypatch.setattr(drain, "_BATCH", 7)
    monkeypatch.setattr(drain, "_STEP", 3)
    monkeypatch.setattr(drain.Drain, "__init__", _with_limit(drain.Drain.__init__, 5))


def _with_limit(init: Any, limit: int) -> Any:
    def made(self: Any, *given: Any) -> None:
        init(self, *given, limit=limit)

    return made


@pytest.mark.usefixtures("small")
async def test_ties_gaps_and_bursts_are_drained_once_and_in_order(store: MongoEventStore) -> None:
    scope = a_scope()
    times = (
        [START] * 23 + [START + n for n in range(40)] + [START + DAY * n for n in range(9)] + [END - 1, END, END + 1]
    )
    log = await a_log(store, [body_of(scope.tenant_id, at=at) for at in times], scope)
    batches = await log.drained(store, ALL)
    assert ids(batches) == log.expected(ALL)
    assert all(len(batch.events) <= 20 for batch in batches)
    assert place(batches[-1].reached) >= (END - 1, "")
    for batch in batches:
        assert all((event.received_at, event.id) <= place(batch.reached) for event in batch.events)


@pytest.mark.usefixtures("small")
async def test_it_goes_on_from_any_event_and_from_wherever_a_batch_reached(store: MongoEventStore) -> None:
    scope = a_scope()
    times = [START] * 12 + [START + 5] * 6 + [START + DAY] + [START + 2 * DAY + n for n in range(9)]
    log = await a_log(store, [body_of(scope.tenant_id, at=at) for at in times], scope)
    expected = log.expected(ALL)
    at = {decode_stored(body).id: body for body in log.bodies}
    for place, event_id in enumerate(expected):
        us = us_of(at[event_id])
        assert ids(await log.drained(store, ALL, Position(us, event_id))) == expected[place + 1 :]
    seen = 0
    for batch in await log.drained(store, ALL):
        seen += len(batch.events)
        assert ids(await log.drained(store, ALL, batch.reached)) == expected[seen:]


def us_of(body: bytes) -> int:
    return instant.from_text(decode_stored(body).received_at)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(events(), min_size=4, max_size=12), st.lists(stored_queries, min_size=3, max_size=3))
async def test_a_filter_is_answered_as_the_bytes_do(
    database: Database, some: list[dict[str, Any]], asked: list[EventQuery]
) -> None:
    scope, store = a_scope(), MongoEventStore(database)
    log = await a_log(store, [body_of(scope.tenant_id, fields) for fields in some], scope)
    for query in asked:
        bounded = msgspec.structs.replace(
            query, received_at=Range(query.received_at.start, query.received_at.end or END)
        )
        assert ids(await log.drained(store, bounded)) == log.expected(bounded)


async def test_named_ids_are_drained_past_a_tie(store: MongoEventStore) -> None:
    scope = a_scope()
    log = await a_log(store, [body_of(scope.tenant_id, at=START) for _ in range(6)], scope)
    named = sorted(ids(await log.drained(store, ALL)))[::2]
    query = EventQuery(
        conditions=(Condition("id", tuple(map(Value, [*named, "unknown"]))),), received_at=Range(None, END)
    )
    assert ids(await log.drained(store, query)) == named
    assert ids(await log.drained(store, query, Position(START, named[0]))) == named[1:]


async def test_a_batch_ends_at_its_bytes(store: MongoEventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "BATCH_BYTES", 20_000)
    scope = a_scope()
    fields = [{"message": "x" * (20 if n < 200 else 8_000)} for n in range(260)]
    log = await a_log(
        store, [body_of(scope.tenant_id, each, at=START + n // 50) for n, each in enumerate(fields)], scope
    )
    batches = await log.drained(store, ALL)
    assert ids(batches) == log.expected(ALL)
    assert max(sum(len(e.body) for e in batch.events) for batch in batches) < 2 * (64 * 8_500 + 40_000)


async def test_the_bytes_are_the_stored_ones(store: MongoEventStore) -> None:
    scope = a_scope()
    log = await a_log(store, [body_of(scope.tenant_id, {"message": "é\u2028\u0000"}) for _ in range(3)], scope)
    assert {e.body for batch in await log.drained(store, ALL) for e in batch.events} == set(log.bodies)


async def test_what_needs_the_index_is_refused(store: MongoEventStore) -> None:
    with pytest.raises(InvalidQuery):
        await Log(a_scope(), []).drained(store, EventQuery(text="x", received_at=Range(None, END)))


class Weighed:
    """A collection that adds up how many events lie within what each call asks for."""

    def __init__(self, collection: Any, times: list[int]) -> None:
        self._collection = collection
        self._times = times
        self.weight = 0

    def find(self, asked: dict[str, Any], *rest: Any) -> Any:
        self._weigh(asked)
        return self._collection.find(asked, *rest)

    async def count_documents(self, asked: dict[str, Any], **rest: Any) -> int:
        self._weigh(asked)
        return int(await self._collection.count_documents(asked, **rest))

    def _weigh(self, asked: dict[str, Any]) -> None:
        bounds = asked["received_at"]
        low, high = (bounds["$gte"], bounds["$lt"]) if isinstance(bounds, dict) else (bounds, bounds + 1)
        self.weight += sum(low <= at < high for at in self._times)


async def test_a_burst_behind_a_long_silence_is_found_without_looking_at_it_again_and_again(
    database: Database, store: MongoEventStore
) -> None:
    scope = a_scope()
    times = [START + DAY + 37 * n for n in range(1000)]
    log = await a_log(store, [body_of(scope.tenant_id, at=at) for at in times], scope)
    weighed = Weighed(database[EVENTS], times)
    drained = drain.Drain(weighed, {"tenant_id": scope.tenant_id}, START - DAY, END)  # type: ignore[arg-type]
    assert ids([batch async for batch in drained.batches()]) == log.expected(ALL)
    assert weighed.weight < 6 * len(times)


async def test_a_whole_event_has_what_its_row_had(store: MongoEventStore) -> None:
    scope = a_scope()
    made = [row(scope, body_of(scope.tenant_id, at=START + n), b"c" * 32 if n else None) for n in range(2)]
    await store.insert(made)
    for whole in (True, False):
        [found] = [batch.events async for batch in store.drain(scope, ALL, after=None, whole=whole) if batch.events]
        assert [(each.content, each.envelope) for each in found] == [
            (each.content if whole else None, each.envelope) for each in made
        ]
