"""The consumer's main loop: what becomes of each message, whatever its processing ends with."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from consumer.loop import Loop
from consumer.outcome import Fate, outcome_of
from consumer.pipeline import Delivery
from core.errors import Blocked, Invalid, InvalidEvent, Unavailable, UndecodableEnvelope
from tests.unit.ports import Queue, anything


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
        anything(queue), anything(processor), probe, workers=options.get("workers", 1),
        lease=options.get("lease", 120), grace=options.get("grace", 10),
    )  # fmt: skip
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


async def test_work_that_does_not_end_when_it_stops_goes_back_whole() -> None:
    queue = Queue(b"one", b"two", b"three")
    started, cut = asyncio.Event(), []

    async def act(body: bytes) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.append(body)
            raise

    await run(queue, act, started.is_set, grace=0.05)
    assert cut == [b"one"]
    assert queue.acked == []
    assert queue.released == [(b"one", 0.0), (b"two", 0.0), (b"three", 0.0)]


async def test_a_queue_that_hangs_is_asked_to_take_all_back_at_once() -> None:
    queue = Queue(b"one", b"two", b"three")
    waiting: list[int] = []

    async def release(leases: Any, delay: float = 0) -> None:
        waiting.append(len(leases))
        while sum(waiting) < 3:
            await asyncio.sleep(0.001)

    queue.release = release  # type: ignore[method-assign]
    await run(queue, lambda body: Unavailable("index"), lambda: sum(waiting) == 3)


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
        (Invalid("x"), Fate.DEAD), (InvalidEvent("x"), Fate.DEAD), (UndecodableEnvelope("x"), Fate.DEAD),
        (Unavailable("index"), Fate.RETRY), (Blocked("index"), Fate.RETRY), (ValueError("x"), Fate.RETRY),
        (MemoryError(), Fate.RETRY), (TimeoutError(), Fate.RETRY),
    ],
    ids=repr,
)  # fmt: skip
def test_the_class_of_an_error_decides(error: Exception, fate: Fate) -> None:
    assert outcome_of(error, 1).fate is fate


@pytest.mark.parametrize("error", [ValueError(), Invalid("x"), UndecodableEnvelope("x"), Unavailable("index")])
def test_the_delay_doubles_to_a_minute_with_half_of_it_by_chance(error: Exception) -> None:
    for receives in range(1, 100):
        full = min(60.0, 0.5 * 2 ** (receives - 1))
        delays = {outcome_of(error, receives, random.Random(seed)).delay for seed in range(20)}
        assert len(delays) > 10
        assert all(full / 2 <= delay <= full for delay in delays)
