"""What `core.ports.Queue` promises, on every adapter."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import Invalid, Unavailable
from core.ports import Depth, Lease, Message
from tests.conftest import LIVE_SQS
from tests.contracts.queues import Backend, FileBackend, SqsBackend, drain

BYTES = bytes(range(256))


@pytest.fixture(params=["file", pytest.param("sqs", marks=pytest.mark.live)])
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Backend]:
    made: Backend
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")  # so that no client looks for AWS's metadata service first
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    if request.param == "file":
        made = FileBackend(tmp_path)
    elif LIVE_SQS:
        made = SqsBackend(LIVE_SQS)
    else:
        pytest.skip("no SQS (OCELOT_TEST_SQS_ENDPOINT_URL)")
    yield made
    await made.aclose()


async def test_what_was_sent_is_received_after_reopening(backend: Backend) -> None:
    first = await backend.open()
    assert await first.send([Message(b"one", "tenant01"), Message(b"two")]) == [None, None]
    await first.aclose()
    received = await drain(await backend.open(), 2)
    assert {lease.body for lease in received} == {b"one", b"two"}
    assert [lease.receives for lease in received] == [1, 1]


@pytest.mark.parametrize("size", [1, 255, 256, 65_537, 768 * 1024])
async def test_a_body_comes_back_byte_for_byte(backend: Backend, size: int) -> None:
    queue = await backend.open()
    body = (BYTES * (size // 256 + 1))[:size]
    assert await queue.send([Message(body)]) == [None]
    assert [lease.body for lease in await drain(queue, 1)] == [body]


async def test_a_send_has_one_result_for_each_message(backend: Backend) -> None:
    queue = await backend.open()
    bodies = [os.urandom(100_000) for _ in range(23)]
    messages = [Message(body, f"tenant{number % 3}") for number, body in enumerate(bodies)]
    messages.insert(7, Message(bytes(768 * 1024 + 1)))
    messages.insert(15, Message(b""))
    messages.insert(16, Message(b"group", "a b"))
    results = await queue.send(messages)
    assert len(results) == 26
    assert [number for number, result in enumerate(results) if isinstance(result, Invalid)] == [7, 15, 16]
    assert sum(result is None for result in results) == 23
    assert Counter(lease.body for lease in await drain(queue, 23)) == Counter(bodies)
    assert await queue.send([]) == []


async def test_calls_at_once_do_not_disturb_each_other(backend: Backend) -> None:
    queue = await backend.open()
    sends = [[Message(f"{caller}-{number}".encode()) for number in range(4)] for caller in range(8)]
    assert await asyncio.gather(*map(queue.send, sends)) == [[None] * 4] * 8
    received = await drain(queue, 32)
    assert Counter(lease.body for lease in received) == Counter(message.body for each in sends for message in each)


async def test_a_receive_takes_no_more_than_asked(backend: Backend) -> None:
    queue = await backend.open()
    await queue.send([Message(b"a")] * 5)
    assert 1 <= len(await queue.receive(2, 1, 30)) <= 2


async def test_a_lease_keeps_others_away(backend: Backend) -> None:
    one, other = await backend.open(), await backend.open()
    await one.send([Message(b"mine")])
    before = time.monotonic()
    (lease,) = await one.receive(10, 2, 30)
    assert before + 29 <= lease.expires_at <= time.monotonic() + 30
    assert await other.receive(10, 0.5, 30) == []
    assert await other.depth() == Depth(waiting=0, leased=1, dead=0)


async def test_a_lapsed_lease_is_delivered_again_to_anyone(backend: Backend) -> None:
    one, other = await backend.open(), await backend.open()
    await one.send([Message(b"again")])
    (first,) = await one.receive(10, 2, backend.short)
    (second,) = await other.receive(10, backend.short + 3, 30)
    assert (second.body, second.receives) == (b"again", 2)
    assert second.handle != first.handle


async def test_extending_holds_on_to_a_message(backend: Backend) -> None:
    one, other = await backend.open(), await backend.open()
    await one.send([Message(b"long work")])
    leases = await one.receive(10, 2, 2 * backend.short)
    before = time.monotonic()
    (extended,) = await one.extend(leases, 30)
    assert before + 30 <= extended.expires_at <= time.monotonic() + 30
    assert (extended.body, extended.receives) == (b"long work", 1)
    assert await other.receive(10, 3 * backend.short, 30) == []
    assert await one.ack([extended]) == 1
    assert await one.depth() == Depth(waiting=0, leased=0, dead=0)


async def test_a_lease_lost_to_another_changes_nothing_any_more(backend: Backend) -> None:
    one, other = await backend.open(), await backend.open()
    await one.send([Message(b"contested")])
    stale = await one.receive(10, 2, backend.short)
    (held,) = await other.receive(10, backend.short + 3, 3 * backend.short)
    assert await one.extend(stale, 30) == []
    await one.ack(stale)
    await one.release(stale)
    assert await one.receive(10, 0, 30) == []
    assert await other.depth() == Depth(waiting=0, leased=1, dead=0)
    (third,) = await one.receive(10, 3 * backend.short + 3, 30)
    assert (third.body, third.receives) == (b"contested", 3)
    await other.ack([held])
    assert await one.ack([third]) == 1


async def test_an_acked_message_is_gone_for_good(backend: Backend) -> None:
    queue = await backend.open()
    await queue.send([Message(str(number).encode()) for number in range(25)])
    leases = await drain(queue, 25, lease=backend.short + 4, ack=False)
    assert await queue.ack(leases) == 25
    assert await queue.depth() == Depth(waiting=0, leased=0, dead=0)
    assert await queue.extend(leases[:1], 30) == []
    await queue.ack(leases)
    await queue.release(leases)
    assert await queue.receive(10, 0.5, 30) == []


async def test_a_released_message_is_delivered_again_at_once(backend: Backend) -> None:
    one, other = await backend.open(), await backend.open()
    await one.send([Message(b"back")])
    await one.release(await one.receive(10, 2, 30))
    (lease,) = await other.receive(10, 2, 30)
    assert (lease.body, lease.receives) == (b"back", 2)


async def test_a_message_released_with_delay_comes_after_it(backend: Backend) -> None:
    queue = await backend.open()
    await queue.send([Message(b"later")])
    leases = await queue.receive(10, 2, 30)
    released = time.monotonic()
    await queue.release(leases, 2 * backend.short)
    assert await queue.receive(10, 0, 30) == []
    (lease,) = await queue.receive(10, 5, 30)
    assert lease.receives == 2
    # SQS counts in whole seconds of its own clock.
    assert time.monotonic() - released > 0.9 * backend.short


async def test_consumers_at_once_never_hold_the_same_message(backend: Backend) -> None:
    sender = await backend.open()
    consumers = [await backend.open() for _ in range(3)]
    held: Counter[bytes] = Counter()

    async def consume(index: int) -> None:
        while leases := await consumers[index % 3].receive(3, 0.5, 60):
            held.update(lease.body for lease in leases)
            if index % 2:
                await consumers[index % 3].ack(leases)

    bodies = [f"message {number}".encode() for number in range(60)]
    await sender.send([Message(body) for body in bodies])
    await asyncio.gather(*map(consume, range(6)))
    assert held == Counter(bodies)


async def test_a_message_received_too_often_is_a_dead_letter(backend: Backend) -> None:
    queue = await backend.open(max_receives=2)
    await queue.send([Message(b"poison")])
    for receives in (1, 2):
        (lease,) = await queue.receive(10, 2, 30)
        assert lease.receives == receives
        await queue.release([lease])
    assert await queue.receive(10, 0.5, 30) == []
    assert await queue.depth() == Depth(waiting=0, leased=0, dead=1)


async def test_depth_counts_waiting_and_leased(backend: Backend) -> None:
    queue = await backend.open()
    assert await queue.depth() == Depth(waiting=0, leased=0, dead=0)
    await queue.send([Message(b"x")] * 5)
    leases: list[Lease] = []
    while len(leases) < 2:
        leases += await queue.receive(2 - len(leases), 2, 30)
    assert await queue.depth() == Depth(waiting=3, leased=2, dead=0)


async def test_a_waiting_receive_returns_when_a_message_comes(backend: Backend) -> None:
    consumer, sender = await backend.open(), await backend.open()
    waiting = asyncio.create_task(consumer.receive(10, 15, 30))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await sender.send([Message(b"awaited")])
    async with asyncio.timeout(5):
        assert [lease.body for lease in await waiting] == [b"awaited"]


async def test_an_empty_receive_returns_after_its_wait(backend: Backend) -> None:
    queue = await backend.open()
    started = time.monotonic()
    assert await queue.receive(10, 1, 30) == []
    assert 0.8 <= time.monotonic() - started < 5


async def test_nothing_to_do_is_no_error(backend: Backend) -> None:
    queue = await backend.open()
    assert await queue.extend([], 30) == []
    assert await queue.ack([]) == 0
    await queue.release([])
    await queue.ping()


async def test_out_of_reach_is_unavailable(backend: Backend) -> None:
    queue = await backend.unreachable()
    lease = Lease(b"x", "1.1", 1, time.monotonic() + 30)
    results = await queue.send([Message(b"x"), Message(b"")])
    assert [type(result) for result in results] == [Unavailable, Invalid]
    for call in (
        queue.receive(1, 0, 30), queue.extend([lease], 30), queue.ack([lease]), queue.release([lease]),
        queue.depth(), queue.ping(),
    ):  # fmt: skip
        with pytest.raises(Unavailable) as caught:
            await call
        assert caught.value.dependency == "queue"


async def test_closed_is_unavailable(backend: Backend) -> None:
    queue = await backend.open()
    await queue.ping()
    await queue.aclose()
    await queue.aclose()
    (result,) = await queue.send([Message(b"x")])
    assert isinstance(result, Unavailable)
    with pytest.raises(Unavailable):
        await queue.receive(1, 0, 30)
