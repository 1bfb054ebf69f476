"""`Outbox` on every backend."""

from __future__ import annotations

import random

import pytest

from core.adapters.store.client import Database
from core.adapters.store.outbox import MongoOutbox
from core.ports import OutboxEntry

ENTRIES = [OutboxEntry(f"event-{n}", "tenant01", "202606", 1_780_000_000_000_000 + n) for n in range(130)]


@pytest.fixture
def outbox(database: Database) -> MongoOutbox:
    return MongoOutbox(database)


async def test_the_oldest_come_first_and_each_entry_is_there_once(outbox: MongoOutbox) -> None:
    assert (await outbox.oldest(5, "tenant01"), await outbox.size()) == ([], 0)
    await outbox.add(random.Random(1).sample(ENTRIES, 130))
    await outbox.add(ENTRIES[:20])
    assert await outbox.size() == 130
    assert await outbox.oldest(7, "tenant01") == ENTRIES[:7]
    assert await outbox.oldest(1000, "tenant01") == ENTRIES


async def test_what_is_removed_is_gone_and_the_rest_stays(outbox: MongoOutbox) -> None:
    await outbox.add(ENTRIES)
    await outbox.remove([entry.event_id for entry in ENTRIES[5:]] + ["unknown"])
    await outbox.remove([])
    assert await outbox.oldest(1000, "tenant01") == ENTRIES[:5]
    assert await outbox.size() == 5


async def test_an_entry_added_again_is_as_it_was(outbox: MongoOutbox) -> None:
    await outbox.add(ENTRIES[:1])
    await outbox.add([OutboxEntry("event-0", "tenant02", "209901", 9), ENTRIES[1]])
    await outbox.add([])
    assert await outbox.oldest(10, "tenant01") == ENTRIES[:2]


async def test_each_tenant_has_its_own_oldest_and_a_placement_may_be_left_out(outbox: MongoOutbox) -> None:
    assert await outbox.tenants() == []
    others = [OutboxEntry(f"other-{n}", "tenant02", f"20260{1 + n % 3}", 1_700_000_000_000_000 + n) for n in range(9)]
    await outbox.add([*ENTRIES, *others])
    assert await outbox.tenants() == ["tenant01", "tenant02"]
    assert await outbox.oldest(3, "tenant01") == ENTRIES[:3]
    assert await outbox.oldest(2, "tenant02", beside=["202601"]) == [others[1], others[2]]
    assert await outbox.oldest(9, "tenant02", beside=["202601", "202603"]) == others[1::3]
    assert await outbox.oldest(9, "tenant03") == []
    await outbox.remove([entry.event_id for entry in others])
    assert await outbox.tenants() == ["tenant01"]
