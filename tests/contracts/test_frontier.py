"""The watermark moves on after a producer has crashed, in quiet and in busy times, and not before it may."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from consumer.jobs.frontier import EMPTY_US, OVERTAKEN_US, Frontier
from core.adapters.store.client import Database
from core.adapters.store.ledger import MongoLedger
from core.ports import Depth, Heartbeat
from tests.unit.ports import Queue

CRASHED = 1_000_000
MINUTE = 60_000_000


@dataclass
class Clock:
    now: int = CRASHED

    def __call__(self) -> int:
        return self.now


class Deep(Queue):
    def __init__(self, waiting: int) -> None:
        self.waiting = waiting

    async def depth(self) -> Depth:
        return Depth(self.waiting, 0, 0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def ledger(database: Database, clock: Clock) -> MongoLedger:
    """One producer crashed with an envelope that never came; another lives."""
    made = MongoLedger(database, clock)
    await made.beat(Heartbeat("crashed", 0, 1))
    await made.beat(Heartbeat("crashed", 1, CRASHED))
    await made.beat(Heartbeat("alive", 0, CRASHED))
    return made


async def _live(ledger: MongoLedger, clock: Clock, frontier: Frontier, until: int) -> int | None:
    while clock.now < until:
        clock.now = min(until, clock.now + MINUTE // 2)
        await ledger.beat(Heartbeat("alive", 0, clock.now))
        await frontier.run()
        # Who is silent is told by a second look.
        await ledger.complete_through("tenant01")
    return await ledger.complete_through("tenant01")


async def test_with_a_busy_queue_its_hole_is_closed_once_the_living_have_overtaken_it(
    ledger: MongoLedger, clock: Clock
) -> None:
    frontier = Frontier(ledger, Deep(7), clock)
    assert await _live(ledger, clock, frontier, CRASHED + OVERTAKEN_US) == 1
    assert await ledger.holes(0, 1 << 60, 10) != []
    # Within the next look all is told apart, and the hole stays on record.
    mark = await _live(ledger, clock, frontier, CRASHED + OVERTAKEN_US + 3 * MINUTE)
    assert mark == clock.now
    assert await ledger.holes(0, 1 << 60, 10) != []


async def test_with_a_busy_queue_that_is_behind_nothing_is_given_up(ledger: MongoLedger, clock: Clock) -> None:
    frontier = Frontier(ledger, Deep(7), clock)
    # What it sealed just after the crash waits in the queue: so may what the crashed one has sent.
    await ledger.beat(Heartbeat("alive", 1, CRASHED + 5))
    while clock.now < CRASHED + 3 * OVERTAKEN_US:
        clock.now += MINUTE // 2
        await ledger.beat(Heartbeat("alive", 1, clock.now))
        await frontier.run()
    assert await ledger.complete_through("tenant01") == 1


async def test_with_an_empty_queue_its_hole_is_closed_after_minutes(ledger: MongoLedger, clock: Clock) -> None:
    frontier = Frontier(ledger, Deep(0), clock)
    assert await _live(ledger, clock, frontier, CRASHED + EMPTY_US) == 1
    assert await _live(ledger, clock, frontier, CRASHED + EMPTY_US + 3 * MINUTE) == clock.now


async def test_without_a_living_producer_a_busy_queue_gives_nothing_up(ledger: MongoLedger, clock: Clock) -> None:
    clock.now = CRASHED + 3 * OVERTAKEN_US
    assert await ledger.delivered_through() is None
    await Frontier(ledger, Deep(7), clock).run()
    assert await ledger.complete_through("tenant01") == 1
