"""The consumer on ports in memory: what becomes of each event and each message, whatever fails."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from consumer.jobs.outbox import OutboxDrain
from consumer.loop import Loop
from consumer.outcome import Fate, outcome_of
from consumer.pipeline import Delivery, Pipeline
from core.envelope import Record
from core.errors import Blocked, Invalid, InvalidEvent, Unavailable, UndecodableEnvelope
from tests.unit.ports import TENANT, Index, Ledger, Outbox, Parking, Queue, Store, anything, envelope, record

X1, X2, X3 = (f"00000000-0000-7000-8000-00000000000{n}" for n in (1, 2, 3))


class World:
    """A pipeline and all that it stands on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.store, self.index, self.parking = Store(), Index(), Parking()
        self.outbox, self.ledger = Outbox(), Ledger()
        self.pipeline = Pipeline(
            store=anything(self.store), index=anything(self.index), parking=anything(self.parking),
            outbox=anything(self.outbox), ledger=anything(self.ledger), index_patience=60.0, clock=lambda: self.now,
        )  # fmt: skip

    async def take(self, *bodies: bytes) -> list[Exception | None]:
        return await self.pipeline.process([Delivery(body, 1) for body in bodies])

    def parked(self) -> list[str]:
        return sorted(item.reason for item in self.parking.items.values())


@pytest.fixture
def world() -> World:
    return World()


def id_of(each: Record) -> str:
    return str(json.loads(each.body)["id"])


async def test_an_envelope_is_stored_indexed_and_receipted(world: World) -> None:
    records = [record(1), record(2), record(3, tenant_id="bbbbbbbb")]
    assert await world.take(envelope(1, *records)) == [None]
    assert {row.body for row in world.store.rows.values()} == {each.body for each in records}
    assert set(world.index.documents.values()) == {each.body for each in records}
    assert [receipt.sequence for receipt in world.ledger.receipts] == [1]
    assert world.ledger.receipts[0].events == {TENANT: 2, "bbbbbbbb": 1}


async def test_what_comes_again_changes_nothing(world: World) -> None:
    message = envelope(1, record(1), record(2))
    await world.take(message)
    before = dict(world.store.rows), dict(world.index.documents)
    assert await world.take(message, message) == [None, None]
    assert (world.store.rows, world.index.documents) == before
    assert world.parked() == []


async def test_a_retry_by_key_is_indexed_as_it_was_stored_first(world: World) -> None:
    first, again = record(1, content=b"c", event_id=X1), record(2, content=b"c", event_id=X1)
    world.index.fail = Unavailable("index")
    with pytest.raises(Unavailable):
        await world.take(envelope(1, first))
    world.index.fail = None
    assert await world.take(envelope(2, again)) == [None]
    assert world.index.documents[X1] == first.body


async def test_a_conflict_is_parked_and_the_first_stays(world: World) -> None:
    first, other = record(1, content=b"c1", event_id=X1), record(2, content=b"c2", event_id=X1)
    assert await world.take(envelope(1, first), envelope(2, other, record(3))) == [None, None]
    assert world.parked() == ["conflict"]
    [item] = world.parking.items.values()
    assert (item.body, item.event_id, item.tenant_id) == (other.body, X1, TENANT)
    assert world.store.rows[X1].body == first.body
    assert len(world.store.rows) == 2


async def test_only_the_event_at_fault_is_parked(world: World) -> None:
    no_event = Record(TENANT, "202605", b'{"action":"x"}')
    unstorable, unindexable, good = record(1), record(2), record(3)
    world.store.refuses.add(id_of(unstorable))
    world.index.refuses.add(id_of(unindexable))
    message = envelope(1, no_event, unstorable, unindexable, good)
    assert await world.take(message) == [None]
    assert world.parked() == ["not_indexable", "not_storable", "undecodable_event"]
    assert id_of(good) in world.index.documents
    assert id_of(unindexable) in world.store.rows
    await world.take(message)
    assert len(world.parking.items) == 3
    assert {item.body for item in world.parking.items.values()} == {no_event.body, unstorable.body, unindexable.body}


async def test_what_is_no_envelope_fails_alone(world: World) -> None:
    results = await world.take(b"nonsense", envelope(1, record(1)), envelope(2, record(2))[:-5])
    assert [type(result) for result in results] == [UndecodableEnvelope, type(None), UndecodableEnvelope]
    assert len(world.store.rows) == 1
    assert [receipt.sequence for receipt in world.ledger.receipts] == [1]


async def test_nothing_is_receipted_before_it_is_parked(world: World) -> None:
    world.parking.fail = Unavailable("store")
    world.store.refuses.add(X1)
    with pytest.raises(Unavailable):
        await world.take(envelope(1, record(1, event_id=X1)))
    assert world.ledger.receipts == []


@pytest.mark.parametrize("error", [Unavailable("index"), Blocked("index")])
async def test_an_index_that_stays_down_is_waited_for_then_left_to_the_outbox(world: World, error: Unavailable) -> None:
    world.index.fail = error
    for moment in (0.0, 30.0, 59.9):
        world.now = moment
        with pytest.raises(Unavailable):
            await world.take(envelope(1, record(1, event_id=X1)))
    assert world.outbox.entries == {}
    world.now = 60.0
    assert await world.take(envelope(1, record(1, event_id=X1))) == [None]
    assert await world.take(envelope(2, record(2, event_id=X2))) == [None]
    assert set(world.outbox.entries) == {X1, X2}
    assert set(world.store.rows) == {X1, X2}
    assert world.parked() == []
    assert world.index.calls == 3  # not asked again for every message


async def test_the_outbox_drains_oldest_first_and_opens_the_index_again(world: World) -> None:
    world.index.fail = Unavailable("index")
    with pytest.raises(Unavailable):
        await world.take(envelope(1, record(1)))
    world.now = 100.0
    await world.take(envelope(1, record(1, event_id=X1)), envelope(2, record(2, event_id=X2)))
    drain = OutboxDrain(
        anything(world.outbox), anything(world.store), anything(world.index), world.pipeline.index_answers
    )
    with pytest.raises(Unavailable):
        await drain.run()
    assert set(world.outbox.entries) == {X1, X2}
    world.index.fail = None
    world.index.refuses.add(X2)
    assert await drain.run() == 2
    assert world.outbox.entries == {}
    assert list(world.index.documents) == [X1]
    await world.take(envelope(3, record(3, event_id=X3)))
    assert X3 in world.index.documents


# The loop ------------------------------------------------------------------------------------------------------------


class Processor:
    """A pipeline that does what `act` says of each message."""

    def __init__(self, act: Callable[[bytes], Any]) -> None:
        self.act = act
        self.batches: list[list[bytes]] = []

    async def process(self, deliveries: list[Delivery]) -> list[Exception | None]:
        self.batches.append([delivery.body for delivery in deliveries])
        results = []
        for delivery in deliveries:
            result = self.act(delivery.body)
            if asyncio.iscoroutine(result):
                result = await result
            results.append(result)
        return results


async def run(queue: Queue, act: Callable[[bytes], Any], until: Callable[[], bool], **options: Any) -> Processor:
    """Run a loop until the condition holds, then stop it; fails when it does not end."""
    processor = Processor(act)

    async def probe() -> None:
        queue.probes = getattr(queue, "probes", 0) + 1  # type: ignore[attr-defined]
        if options.get("down", lambda: False)():
            raise Unavailable("store")

    loop = Loop(
        anything(queue), anything(processor), probe, workers=options.get("workers", 1), lease=options.get("lease", 120)
    )
    task = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(10):
            while not until():
                await asyncio.sleep(0.001)
            loop.stop()
            await task
    finally:
        task.cancel()
    return processor


async def test_what_is_done_is_acknowledged_and_what_failed_comes_back_later() -> None:
    queue = Queue(b"good", b"bad", b"fine")
    await run(queue, lambda body: UndecodableEnvelope("x") if body == b"bad" else None, lambda: bool(queue.released))
    assert queue.acked == [b"good", b"fine"]
    [(body, delay)] = queue.released
    assert body == b"bad"
    assert 0.25 <= delay <= 0.5


async def test_one_bad_message_does_not_take_the_others_back() -> None:
    def act(body: bytes) -> None:
        if body == b"bad":
            raise ZeroDivisionError

    queue = Queue(b"one", b"bad", b"two")
    processor = await run(queue, act, lambda: bool(queue.released))
    assert queue.acked == [b"one", b"two"]
    assert [body for body, _ in queue.released] == [b"bad"]
    assert processor.batches == [[b"one", b"bad", b"two"], [b"one"], [b"bad"], [b"two"]]


async def test_with_the_store_down_nothing_more_is_received_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.loop._PROBE", (0.001, 0.002))
    queue = Queue(b"one")
    state = {"down": True, "asked": 0}

    def down() -> bool:
        state["asked"] += 1
        if state["asked"] == 5:
            state["down"] = False
            state["received"] = queue.received
            queue.waiting.append((b"two", 1))
        return bool(state["down"])

    def act(body: bytes) -> None:
        if state["down"]:
            raise Unavailable("store")

    await run(queue, act, lambda: b"two" in queue.acked, down=down)
    assert [body for body, _ in queue.released] == [b"one"]
    assert state["received"] == 1


async def test_with_the_index_down_the_messages_go_back_and_receiving_goes_on() -> None:
    def act(body: bytes) -> None:
        raise Unavailable("index")

    queue = Queue(b"one")
    await run(queue, act, lambda: queue.received > 3)
    assert [body for body, _ in queue.released] == [b"one"]


async def test_a_queue_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.loop.random.uniform", lambda low, high: 0.001)
    queue = Queue(b"one")
    queue.fail = Unavailable("queue")

    def until() -> bool:
        if queue.received == 3:
            queue.fail = None
        return bool(queue.acked)

    await run(queue, lambda body: None, until)
    assert queue.acked == [b"one"]


async def test_leases_are_extended_while_the_work_goes_on_and_a_lost_one_hurts_no_other() -> None:
    queue = Queue(b"one", b"two")
    queue.lost.add("h1-1")

    async def act(body: bytes) -> None:
        while len(queue.extended) < 4:
            await asyncio.sleep(0.001)

    await run(queue, act, lambda: len(queue.acked) == 2, lease=0.02)
    assert {"h1-0", "h1-1"} <= set(queue.extended)
    assert queue.acked == [b"one", b"two"]


async def test_an_extension_that_fails_does_not_end_the_work() -> None:
    queue = Queue(b"one")
    failures = 0

    async def act(body: bytes) -> None:
        nonlocal failures
        queue.fail = Unavailable("queue")
        await asyncio.sleep(0.05)
        failures += 1
        queue.fail = None

    await run(queue, act, lambda: bool(queue.acked), lease=0.02)
    assert failures == 1


async def test_stopping_finishes_what_was_received() -> None:
    queue = Queue(b"one")
    started = asyncio.Event()

    async def act(body: bytes) -> None:
        started.set()
        await asyncio.sleep(0.05)

    await run(queue, act, started.is_set)
    assert queue.acked == [b"one"]
    assert queue.released == []


async def test_what_is_received_while_stopping_goes_back_at_once() -> None:
    queue = Queue()

    async def receive(count: int, wait: float, lease: float) -> Any:
        queue.received += 1
        await asyncio.sleep(0.05)
        return await Queue.receive(queue, count, wait, lease)

    queue.receive = receive  # type: ignore[method-assign]
    queue.waiting.append((b"late", 1))
    processor = await run(queue, lambda body: None, lambda: queue.received == 1)
    assert queue.released == [(b"late", 0.0)]
    assert processor.batches == []


async def test_stopping_while_the_store_is_down_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def act(body: bytes) -> None:
        raise Unavailable("store")

    queue = Queue(b"one")
    await run(queue, act, lambda: bool(queue.released), down=lambda: True)
    assert queue.acked == []


# Outcomes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (Invalid("x"), Fate.PARK), (InvalidEvent("x"), Fate.PARK), (UndecodableEnvelope("x"), Fate.DEAD),
        (Unavailable("index"), Fate.RETRY), (Blocked("index"), Fate.RETRY), (ValueError("x"), Fate.RETRY),
        (MemoryError(), Fate.RETRY), (TimeoutError(), Fate.RETRY),
    ],
    ids=repr,
)  # fmt: skip
def test_the_class_of_an_error_decides(error: Exception, fate: Fate) -> None:
    assert outcome_of(error, 1).fate is fate


def test_the_delay_doubles_to_a_minute_with_half_of_it_by_chance() -> None:
    for receives in range(1, 100):
        full = min(60.0, 0.5 * 2 ** (receives - 1))
        delays = {outcome_of(ValueError(), receives, random.Random(seed)).delay for seed in range(20)}
        assert len(delays) > 10
        assert all(full / 2 <= delay <= full for delay in delays)
