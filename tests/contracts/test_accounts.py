"""`Accounts` on every backend, and what else completeness is counted from: the store, the outbox, what is parked."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from core.adapters.store.accounts import MongoAccounts
from core.adapters.store.client import Database
from core.adapters.store.events import MongoEventStore
from core.adapters.store.outbox import MongoOutbox
from core.adapters.store.parking import MongoParking
from core.ports import Account, OutboxEntry, Parked, Tally
from core.ports.accounts import SECOND
from tests.contracts.stores import START, a_scope, backend, body_of, database, row

__all__ = ["backend", "database"]


@pytest.fixture
def accounts(database: Database) -> MongoAccounts:
    return MongoAccounts(database)


async def test_accounts_add_up_by_range_and_by_source(accounts: MongoAccounts) -> None:
    scope, other = a_scope(), a_scope()
    kept = [
        Account("p-1", scope.tenant_id, 0, Tally(10, duplicates=2)),
        Account("p-1", scope.tenant_id, SECOND, Tally(1)),
        Account("p-2", scope.tenant_id, SECOND, Tally(5, parked=1, quarantined=1)),
        Account("erasure", scope.tenant_id, SECOND, Tally(erased=2)),
        Account("retention", scope.tenant_id, 0, Tally(archived=8)),
        Account("restore", scope.tenant_id, 0, Tally(archived=-3)),
        Account("p-1", other.tenant_id, 0, Tally(100)),
    ]
    await accounts.write(kept)
    assert await accounts.tally(scope, 0, SECOND) == Tally(10, duplicates=2, archived=5)
    assert await accounts.tally(scope, SECOND, 2 * SECOND) == Tally(6, parked=1, quarantined=1, erased=2)
    whole = await accounts.tally(scope, 0, 2 * SECOND)
    assert whole == sum([each.tally for each in kept[:-1]], Tally())
    assert whole.due == 16 - 2 - 1 - 1 - 5 - 2
    assert await accounts.tally(scope, 2 * SECOND, 9 * SECOND) == Tally()
    assert await accounts.by_source(scope, SECOND, 2 * SECOND) == {
        "p-1": Tally(1),
        "p-2": Tally(5, parked=1, quarantined=1),
        "erasure": Tally(erased=2),
    }


async def test_an_account_is_there_once_as_it_was_written_first(accounts: MongoAccounts) -> None:
    scope = a_scope()
    first = Account("p-1", scope.tenant_id, 0, Tally(3))
    await accounts.write([first])
    await accounts.write([replace(first, tally=Tally(9)), Account("p-2", scope.tenant_id, 0, Tally(1))])
    await accounts.write([])
    assert await accounts.tally(scope, 0, SECOND) == Tally(4)


async def test_the_store_counts_and_lists_by_when_events_were_accepted(database: Database) -> None:
    store, scope = MongoEventStore(database), a_scope()
    # Many of one moment, as a bulk has them, and some far apart.
    moments = [*[START] * 7, START + 1, START + 5, *[START + 90_000_000] * 4, START + 86_400_000_000]
    rows = [
        msgspec.structs.replace(row(scope, body_of(scope.tenant_id, at=at)), envelope=f"p-{n % 3}")
        for n, at in enumerate(moments)
    ]
    await store.insert(rows)
    await store.insert([row(other, body_of(other.tenant_id, at=START)) for other in (a_scope(), a_scope())])
    expected = sorted((each.received_at, each.id) for each in rows)
    for start, end in [(0, 1 << 60), (START, START + 1), (START + 1, START + 90_000_000), (START + 6, START + 7)]:
        within = [each for each in expected if start <= each[0] < end]
        assert await store.count(scope, start=start, end=end) == len(within)
        found = [(each.us, each.id) async for batch in store.ids(scope, start=start, end=end) for each in batch]
        assert found == within
        envelopes = [each.envelope for each in rows if start <= each.received_at < end]
        counts = {name: envelopes.count(name) for name in envelopes}
        assert await store.by_envelope(scope, start=start, end=end) == counts
    assert await store.count(scope) == len(rows)
    assert (await store.get(scope, rows[3].id)).envelope == rows[3].envelope  # type: ignore[union-attr]


async def test_ids_come_in_batches_without_a_gap(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.adapters.store.events._IDS", 5)
    store, scope = MongoEventStore(database), a_scope()
    rows = [row(scope, body_of(scope.tenant_id, at=START + n // 7 * 1000)) for n in range(40)]
    await store.insert(rows)
    batches = [batch async for batch in store.ids(scope, start=0, end=1 << 60)]
    assert [(p.us, p.id) for batch in batches for p in batch] == sorted((r.received_at, r.id) for r in rows)
    assert {len(batch) for batch in batches[:-1]} == {5}


async def test_what_waits_and_what_the_index_refuses_is_counted_by_when_it_was_accepted(database: Database) -> None:
    outbox, parking, tenant_id = MongoOutbox(database), MongoParking(database), a_scope().tenant_id
    await outbox.add([OutboxEntry(f"e{n}", tenant_id, "202606", START + n) for n in range(5)])
    assert await outbox.waiting(tenant_id, START + 1, START + 4) == 3
    assert await outbox.waiting(a_scope().tenant_id, 0, 1 << 60) == 0
    item = Parked("i", tenant_id, "e", "not_indexable", "", b"{}", "202606", None, "p-1", 1, START, START + 1)
    changes = ({}, {"id": "j"}, {"id": "k", "reason": "conflict"}, {"id": "l", "received_at": None})
    await parking.park([replace(item, **change) for change in changes])
    assert await parking.unindexed(tenant_id, START, START + 2) == 2
    assert await parking.unindexed(tenant_id, START + 2, 1 << 60) == 0
    assert await parking.get("i") == item
