"""`Ledger` on every backend: above all, that its watermark never claims too much."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import instant
from core.adapters.store.client import Database
from core.adapters.store.holes import SLACK
from core.adapters.store.ledger import FORGOTTEN_AFTER, SILENT_AFTER, STILL, MongoLedger
from core.adapters.store.outbox import MongoOutbox
from core.ports import Heartbeat, Hole, OutboxEntry, Rebuilding, Receipt
from core.ports.ledger import KEPT_FOR

EVER = 1 << 60


@dataclass
class Clock:
    now: int = 1_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(database: Database, clock: Clock) -> MongoLedger:
    return MongoLedger(database, clock)


def receipt(producer: str, sequence: int, made_at: int, done_at: int | None = None) -> Receipt:
    return Receipt(producer, sequence, f"{producer}-{sequence}", made_at, {"tenant01": 1}, done_at or made_at + 5)


async def test_nothing_is_known_without_a_producer(ledger: MongoLedger) -> None:
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") is None


async def test_an_idle_producer_is_complete_through_its_heartbeat(ledger: MongoLedger) -> None:
    await ledger.beat(Heartbeat("a", 0, 100))
    assert await ledger.complete_through("tenant01") == 100
    await ledger.beat(Heartbeat("a", 0, 200))
    await ledger.beat(Heartbeat("a", 0, 150))
    assert await ledger.complete_through("tenant01") == 200


async def test_a_mark_is_a_plain_number_that_every_codec_takes(ledger: MongoLedger) -> None:
    for made_at in (100, 1 << 50):
        await ledger.beat(Heartbeat("a", 0, made_at))
        assert type(await ledger.complete_through("tenant01")) is int


async def test_a_producer_first_heard_of_late_claims_nothing(ledger: MongoLedger) -> None:
    await ledger.beat(Heartbeat("a", 1, 100))
    assert await ledger.complete_through("tenant01") == 0


async def test_a_hole_holds_the_mark_at_the_envelope_before_it(ledger: MongoLedger) -> None:
    await ledger.beat(Heartbeat("a", 0, 100))
    await ledger.beat(Heartbeat("a", 4, 500))
    await ledger.record([receipt("a", 1, 110), receipt("a", 2, 210), receipt("a", 4, 410)])
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 210
    await ledger.record([receipt("a", 3, 310)])
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 500


async def test_a_receipt_counts_once_it_has_settled(ledger: MongoLedger) -> None:
    await ledger.beat(Heartbeat("a", 0, 100))
    await ledger.beat(Heartbeat("a", 2, 500))
    await ledger.record([receipt("a", 1, 110, 120), receipt("a", 2, 310, 320)])
    await ledger.advance(320)
    # The second has arrived, but searches may not see it yet: the mark is where it was made.
    assert await ledger.complete_through("tenant01") == 310
    await ledger.advance(321)
    assert await ledger.complete_through("tenant01") == 500


async def test_voided_sequences_are_passed_over(ledger: MongoLedger) -> None:
    await ledger.beat(Heartbeat("a", 0, 100))
    await ledger.record([receipt("a", 1, 110), receipt("a", 4, 410)])
    await ledger.beat(Heartbeat("a", 5, 500, voided=(2,)))
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 110
    await ledger.beat(Heartbeat("a", 5, 600, voided=(3, 5)))
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 600


async def test_an_envelope_that_no_heartbeat_named_holds_the_mark_too(ledger: MongoLedger) -> None:
    await ledger.beat(Heartbeat("a", 0, 100))
    await ledger.record([receipt("a", 2, 210)])
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 100
    await ledger.record([receipt("b", 2, 90)])
    assert await ledger.complete_through("tenant01") == 0


async def test_every_producer_bounds_the_mark_until_it_is_gone(ledger: MongoLedger, clock: Clock) -> None:
    await ledger.beat(Heartbeat("a", 0, 100))
    await ledger.beat(Heartbeat("b", 0, 300))
    assert await ledger.complete_through("tenant01") == 100
    clock.now = 100 + SILENT_AFTER
    assert await ledger.complete_through("tenant01") == 100
    clock.now += 1
    assert await ledger.complete_through("tenant01") == 100  # it may have another time, and beat
    clock.now += STILL
    assert await ledger.complete_through("tenant01") == 300
    clock.now += SILENT_AFTER
    assert await ledger.complete_through("tenant01") == 300


async def test_a_producer_whose_clock_is_behind_bounds_the_mark_while_it_beats(
    ledger: MongoLedger, clock: Clock
) -> None:
    behind = 90_000_000
    start = 10 * behind
    for second in range(0, 20_000_000, 1_000_000):
        clock.now = start + second
        await ledger.beat(Heartbeat("right", 0, clock.now))
        await ledger.beat(Heartbeat("late", 0, clock.now - behind))
        assert await ledger.complete_through("tenant01") == clock.now - behind
    last = clock.now
    for second in range(0, STILL + 2_000_000, 1_000_000):
        clock.now = last + second
        await ledger.beat(Heartbeat("right", 0, clock.now))
        mark = await ledger.complete_through("tenant01")
    assert mark == clock.now


async def test_a_producer_that_was_silent_for_long_is_gone_at_once(ledger: MongoLedger, clock: Clock) -> None:
    await ledger.beat(Heartbeat("crashed", 0, 100))
    clock.now = 101 + FORGOTTEN_AFTER
    await ledger.beat(Heartbeat("right", 0, clock.now))
    assert await ledger.complete_through("tenant01") == clock.now


async def test_a_producer_that_said_that_it_ended_holds_nothing_back(ledger: MongoLedger, clock: Clock) -> None:
    clock.now = 1_000
    await ledger.beat(Heartbeat("old", 1, 500, ended=True))
    await ledger.beat(Heartbeat("new", 0, 900))
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 0  # what it sealed has not arrived
    await ledger.record([receipt("old", 1, 400)])
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 900
    await ledger.beat(Heartbeat("old", 1, 450))  # one that was overtaken takes nothing back
    assert await ledger.complete_through("tenant01") == 900


async def test_a_producer_that_ended_may_begin_again(ledger: MongoLedger, clock: Clock) -> None:
    """As one that now and then has something to record: until it has ended again, it holds the mark."""
    clock.now = 1_000
    await ledger.beat(Heartbeat("now and then", 1, 500, ended=True))
    await ledger.record([receipt("now and then", 1, 400)])
    await ledger.beat(Heartbeat("always", 0, 900))
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 900
    await ledger.beat(Heartbeat("now and then", 1, 950))
    await ledger.beat(Heartbeat("always", 0, 990))
    assert await ledger.complete_through("tenant01") == 950
    await ledger.beat(Heartbeat("now and then", 2, 960, ended=True))
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") < 960, "its second has not arrived"
    await ledger.record([receipt("now and then", 2, 955)])
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 990


async def test_what_is_settled_and_old_is_forgotten_and_nothing_else(
    ledger: MongoLedger, database: Database, clock: Clock
) -> None:
    await ledger.beat(Heartbeat("gone", 2, 600, ended=True))
    await ledger.record([receipt("gone", 1, 500), receipt("gone", 2, 550)])
    await ledger.beat(Heartbeat("crashed", 3, 700))
    await ledger.record([receipt("crashed", 1, 650), receipt("crashed", 3, 690)])  # the second never came
    await ledger.beat(Heartbeat("here", 1, 800))
    await ledger.record([receipt("here", 1, 750)])
    await ledger.advance(EVER)
    clock.now = 560 + KEPT_FOR
    await ledger.prune()
    assert await receipts(database) == {"crashed:1", "crashed:3", "here:1"}
    clock.now = 10_000 + KEPT_FOR
    await ledger.beat(Heartbeat("here", 1, clock.now))
    await ledger.record([receipt("here", 1, 750)])  # delivered once more
    await ledger.prune()
    assert await receipts(database) == {"crashed:3"}, "what is behind a hole shows the hole"
    assert [hole.first for hole in await ledger.holes(0, EVER, 10)] == [2]
    assert {d["_id"] async for d in database["producers"].find()} == {"crashed", "here"}


async def test_an_envelope_of_a_forgotten_producer_holds_no_mark_and_opens_no_hole(
    ledger: MongoLedger, database: Database, clock: Clock
) -> None:
    """A dead letter that somebody puts back after a month."""
    await ledger.beat(Heartbeat("gone", 9, 600, ended=True))
    await ledger.record([receipt("gone", n, 500 + n) for n in range(1, 10)])
    await ledger.advance(EVER)
    clock.now = 10_000 + KEPT_FOR
    await ledger.prune()
    await ledger.beat(Heartbeat("here", 0, clock.now))
    await ledger.record([receipt("gone", 7, 507, clock.now)])
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == clock.now
    assert await ledger.holes(0, EVER, 10) == []
    clock.now += KEPT_FOR + 1
    await ledger.prune()
    assert await receipts(database) == set()


async def receipts(database: Database) -> set[str]:
    return {document["_id"] async for document in database["receipts"].find()}


async def test_a_silent_producer_with_a_hole_is_never_passed_over(ledger: MongoLedger, clock: Clock) -> None:
    await ledger.beat(Heartbeat("a", 0, 100))
    await ledger.beat(Heartbeat("a", 1, 110))
    clock.now = 10 * SILENT_AFTER
    await ledger.beat(Heartbeat("b", 0, clock.now))
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 100


async def test_a_crashed_producers_hole_is_closed_once_the_queue_was_seen_empty(
    ledger: MongoLedger, clock: Clock
) -> None:
    await ledger.beat(Heartbeat("crashed", 0, 100))
    await ledger.beat(Heartbeat("crashed", 3, 1_000))
    await ledger.record([receipt("crashed", 1, 900), receipt("crashed", 3, 990)])
    await ledger.beat(Heartbeat("alive", 0, 5_000))
    await ledger.advance(EVER)
    await ledger.give_up(1_000)  # it was heard of at this very moment: not silent since then
    assert await ledger.complete_through("tenant01") == 900
    await ledger.give_up(1_001)
    clock.now = 5_000 + SILENT_AFTER
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 1_000
    clock.now += STILL
    await ledger.beat(Heartbeat("alive", 0, 6_000 + STILL))
    assert await ledger.complete_through("tenant01") == 6_000 + STILL


async def test_the_oldest_event_of_the_outbox_bounds_its_tenants_mark(ledger: MongoLedger, database: Database) -> None:
    outbox = MongoOutbox(database)
    await ledger.beat(Heartbeat("a", 0, 500))
    await outbox.add([OutboxEntry("e1", "tenant01", "202606", 400), OutboxEntry("e2", "tenant01", "202606", 300)])
    assert await ledger.complete_through("tenant01") == 300
    assert await ledger.complete_through("tenant02") == 500
    await outbox.remove(["e2"])
    assert await ledger.complete_through("tenant01") == 400
    await outbox.remove(["e1"])
    assert await ledger.complete_through("tenant01") == 500


async def test_several_consumers_record_and_advance_at_once(
    ledger: MongoLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.adapters.store.ledger._STRIDE", 60)
    await ledger.beat(Heartbeat("a", 0, 1))
    await ledger.beat(Heartbeat("a", 200, 9_000, voided=(60,)))
    receipts = [receipt("a", n, 10 + n, 20 + n) for n in range(1, 201) if n != 60]
    halves = (receipts[::2], receipts[1::2], receipts[:50])
    await asyncio.gather(*(ledger.record(some) for some in halves), *(ledger.advance(n * 70) for n in range(4)))
    assert await ledger.complete_through("tenant01") != 9_000
    await asyncio.gather(*(ledger.advance(EVER) for _ in range(3)))
    assert await ledger.complete_through("tenant01") == 9_000


async def test_a_rebuild_is_known_per_tenant(ledger: MongoLedger) -> None:
    await ledger.set_rebuilding("tenant01", True)
    await ledger.set_rebuilding("tenant01", True)
    assert await ledger.rebuilding("tenant01")
    assert not await ledger.rebuilding("tenant02")
    await ledger.set_rebuilding("tenant01", False)
    assert not await ledger.rebuilding("tenant01")


async def test_a_rebuild_beside_the_live_index_is_told_apart_and_its_mark_goes_by_itself(ledger: MongoLedger) -> None:
    await ledger.set_rebuilding_beside("tenant01", instant.now_us() + 60_000_000)
    assert await ledger.rebuilding("tenant01") is Rebuilding.BESIDE
    assert await ledger.rebuilding("tenant02") is Rebuilding.NO
    await ledger.set_rebuilding("tenant01", True)
    assert await ledger.rebuilding("tenant01") is Rebuilding.BEHIND
    await ledger.set_rebuilding("tenant01", False)
    assert await ledger.rebuilding("tenant01") is Rebuilding.BESIDE
    await ledger.set_rebuilding_beside("tenant01", None)
    assert await ledger.rebuilding("tenant01") is Rebuilding.NO
    await ledger.set_rebuilding_beside("tenant01", 5)
    assert await ledger.rebuilding("tenant01") is Rebuilding.NO


async def test_late_arrivals_are_known_by_their_receipts(ledger: MongoLedger) -> None:
    await ledger.record([receipt("a", 1, 300, 900), receipt("a", 2, 100, 800), receipt("a", 3, 200, 700)])
    other = Receipt("a", 4, "a-4", 150, {"tenant02": 1}, 900)
    await ledger.record([other])
    assert await ledger.arrived("tenant01", since=0, made_before=1000) == [100, 200, 300]
    assert await ledger.arrived("tenant01", since=800, made_before=1000) == [100, 300]
    assert await ledger.arrived("tenant01", since=800, made_before=300) == [100]
    assert await ledger.arrived("tenant02", since=0, made_before=1000) == [150]
    assert await ledger.arrived("tenant03", since=0, made_before=1000) == []


async def test_what_never_arrived_is_a_hole_until_it_comes(ledger: MongoLedger, clock: Clock) -> None:
    await ledger.beat(Heartbeat("crashed", 0, 100))
    await ledger.beat(Heartbeat("crashed", 9, 1_000, voided=(5,)))
    arrived = [receipt("crashed", n, 100 * n) for n in (1, 4, 8)]
    await ledger.record(arrived)
    await ledger.advance(EVER)
    holes = [
        Hole("crashed", 2, 3, 100, 400 + SLACK),
        Hole("crashed", 6, 7, 400, 800 + SLACK),
        Hole("crashed", 9, 9, 800, 1_000 + SLACK),
    ]
    assert await ledger.holes(0, EVER, 10) == holes  # awaited
    assert await ledger.holes(0, EVER, 2) == holes[:2]
    assert await ledger.holes(0, 400, 10) == holes[:1]
    assert await ledger.holes(400 + SLACK, EVER, 10) == holes[1:]
    assert await ledger.holes(1_000 + SLACK, EVER, 10) == []
    await ledger.give_up(1_001)
    await ledger.give_up(1_001)
    await ledger.advance(EVER)
    assert await ledger.complete_through("tenant01") == 1_000
    assert await ledger.holes(0, EVER, 10) == holes  # on record
    await ledger.record([receipt("crashed", 6, 600), receipt("crashed", 9, 900)])
    assert await ledger.holes(0, EVER, 10) == [holes[0], Hole("crashed", 7, 7, 600, 800 + SLACK)]
    await ledger.record([receipt("crashed", n, 100 * n) for n in (2, 3, 7)])
    assert await ledger.holes(0, EVER, 10) == []


@dataclass
class Model:
    """Two producers, their queue and the consumers' work, with the truth written down beside the ledger."""

    ledger: MongoLedger
    clock: Clock
    sealed: dict[str, int] = field(default_factory=lambda: {"a": 0, "b": 0})
    queue: list[Receipt] = field(default_factory=list)
    beats: list[Heartbeat] = field(default_factory=list)
    done: dict[tuple[str, int], int] = field(default_factory=dict)
    made: dict[tuple[str, int], int] = field(default_factory=dict)
    voided: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"a": (), "b": ()})
    settled: int = 0
    ended: set[str] = field(default_factory=set)

    async def step(self, action: str, producer: str, pick: int) -> None:
        self.clock.now += 1
        now = self.clock.now
        if action == "seal" and producer not in self.ended:
            self.sealed[producer] += 1
            self.made[producer, self.sealed[producer]] = now
            self.queue.append(receipt(producer, self.sealed[producer], now))
        elif action == "fail" and self.queue:
            lost = self.queue.pop(pick % len(self.queue))
            del self.made[lost.producer, lost.sequence]
            self.voided[lost.producer] += (lost.sequence,)
        elif action == "read":
            ended = producer in self.ended
            self.beats.append(Heartbeat(producer, self.sealed[producer], now, self.voided[producer], ended))
        elif action == "end":
            self.ended.add(producer)
        elif action == "beat" and self.beats:
            await self.ledger.beat(self.beats.pop(pick % len(self.beats)))
        elif action == "consume" and self.queue:
            taken = self.queue.pop(pick % len(self.queue))
            self.done[taken.producer, taken.sequence] = now
            await self.ledger.record([receipt(taken.producer, taken.sequence, taken.made_at, now)])
        elif action == "advance":
            self.settled = max(self.settled, now - pick)
            await self.ledger.advance(now - pick)

    async def whole_beat(self, producer: str) -> int:
        await self.step("read", producer, 0)
        at = self.beats[-1].at
        await self.step("beat", producer, len(self.beats) - 1)
        return at

    def missing_before(self, mark: int) -> list[tuple[str, int]]:
        """Unsettled envelopes that may have been accepted before `mark`: at the earliest when they were sealed."""
        return [key for key, made in self.made.items() if made < mark and self.done.get(key, EVER) >= self.settled]


ACTIONS = ["seal", "seal", "read", "beat", "consume", "consume", "advance", "fail", "end"]


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from("ab"), st.integers(0, 5)), min_size=8, max_size=30))
async def test_the_mark_never_claims_too_much(database: Database, steps: list[tuple[str, str, int]]) -> None:
    for name in ("producers", "receipts"):
        await database[name].delete_many({})
    clock = Clock()
    model = Model(MongoLedger(database, clock), clock)
    for producer in "ab":
        await model.ledger.beat(Heartbeat(producer, 0, clock.now))
    for action, producer, pick in steps:
        await model.step(action, producer, pick)
        mark = await model.ledger.complete_through("tenant01")
        assert mark is not None
        assert model.missing_before(mark) == []
    # And once everything has arrived, it claims all there is.
    for action in ["consume"] * len(model.queue) + ["beat"] * len(model.beats):
        await model.step(action, "a", 0)
    latest = {producer: await model.whole_beat(producer) for producer in "ab"}
    await model.step("advance", "a", -1)
    bounding = [at for producer, at in latest.items() if producer not in model.ended]
    assert await model.ledger.complete_through("tenant01") == min(bounding or [max(latest.values())])
