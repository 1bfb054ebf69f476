"""`Parking` on every backend."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from core.adapters.store.client import Database
from core.adapters.store.parking import MongoParking
from core.ports import Parked

ITEM = Parked(
    id="p1",
    tenant_id="tenant01",
    event_id=None,
    reason="invalid_event",
    detail="the record is no event",
    body=bytes(range(256)),
    placement="202606",
    content=b"\x00\xff",
    envelope="e1",
    attempts=1,
    parked_at=1_780_000_000_000_000,
)


@pytest.fixture
def parking(database: Database) -> MongoParking:
    return MongoParking(database)


async def test_what_is_parked_comes_back_whole(parking: MongoParking) -> None:
    other = dataclasses.replace(ITEM, id="p2", event_id="x", content=None, attempts=7)
    await parking.park([ITEM, other])
    assert await parking.get("p1") == ITEM
    assert await parking.get("p2") == other
    assert await parking.get("p3") is None


async def test_parking_again_changes_nothing_but_the_attempts(parking: MongoParking) -> None:
    await parking.park([ITEM])
    await parking.park([dataclasses.replace(ITEM, body=b"other", reason="other", parked_at=5)])
    await asyncio.gather(*(parking.park([ITEM]) for _ in range(5)))
    assert await parking.get("p1") == dataclasses.replace(ITEM, attempts=7)
    assert len(await parking.listing()) == 1


async def test_the_listing_is_one_tenants_or_everyones_latest_first(parking: MongoParking) -> None:
    items = [
        dataclasses.replace(ITEM, id=f"p{n}", tenant_id=f"tenant0{n % 2}", parked_at=ITEM.parked_at + n)
        for n in range(6)
    ]
    await parking.park(items)
    assert await parking.listing() == items[::-1]
    assert await parking.listing("tenant01") == items[5::-2]
    assert await parking.listing("tenant01", limit=2) == [items[5], items[3]]
    assert await parking.listing("tenant99") == []


async def test_what_is_removed_is_gone(parking: MongoParking) -> None:
    await parking.park([ITEM])
    assert await parking.remove("p1")
    assert not await parking.remove("p1")
    assert await parking.listing() == []
