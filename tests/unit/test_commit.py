"""Group commit: what shares a send, what a failure does to whom, and that nothing goes missing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import commit as commit_module
from core import envelope
from core.commit import GroupCommit
from core.envelope import Record
from core.errors import Invalid, Overloaded, Unavailable
from core.ports import Message


class ScriptedQueue:
    """Answers each send from a script (then takes all), and holds sends back while `gate` is closed."""

    def __init__(self, *script: Exception | list[Exception | None]) -> None:
        self.script = list(script)
        self.sends: list[list[Message]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, messages: Sequence[Message]) -> list[Exception | None]:
        self.sends.append(list(messages))
        await self.gate.wait()
        if not self.script:
            return [None] * len(messages)
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def records(tenant_id: str, count: int, size: int = 200) -> list[Record]:
    """Records that do not pack, so that the packed size is the raw size."""
    return [Record(tenant_id, "202611", os.urandom(size)) for _ in range(count)]


def sent_bodies(queue: ScriptedQueue) -> list[bytes]:
    messages = [message for send in queue.sends for message in send]
    return [record.body for message in messages for record in envelope.unpack(message.body)[1]]


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_an_event_alone_is_sent_at_once():
    queue = ScriptedQueue()
    assert await GroupCommit(queue).submit(records("aaaaaaaa", 1)) == []
    assert len(queue.sends) == 1


async def test_requests_of_one_turn_share_one_envelope():
    queue = ScriptedQueue()
    commit = GroupCommit(queue)
    await asyncio.gather(*(commit.submit(records(f"tenant{n:02d}", 1)) for n in range(50)))
    assert [len(send) for send in queue.sends] == [1]
    header, packed = envelope.unpack(queue.sends[0][0].body)
    assert len(packed) == 50
    assert header.events == {f"tenant{n:02d}": 1 for n in range(50)}
    assert queue.sends[0][0].group is None


async def test_while_all_sends_are_under_way_the_next_envelope_fills():
    queue = ScriptedQueue()
    queue.gate.clear()
    commit = GroupCommit(queue, sends_in_flight=2)
    first = []
    for _ in range(2):
        first.append(asyncio.create_task(commit.submit(records("aaaaaaaa", 1))))
        await until(lambda: len(queue.sends) == len(first))
    rest = [asyncio.create_task(commit.submit(records("aaaaaaaa", 1))) for _ in range(30)]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(queue.sends) == 2
    queue.gate.set()
    await asyncio.gather(*first, *rest)
    assert len(queue.sends) == 3
    assert len(envelope.unpack(queue.sends[2][0].body)[1]) == 30


async def test_a_tenant_with_much_waiting_gets_envelopes_of_its_own():
    queue = ScriptedQueue()
    commit = GroupCommit(queue)
    await asyncio.gather(commit.submit(records("bigbigbig", 2000)), commit.submit(records("smallsmall", 1)))
    groups = {message.group for send in queue.sends for message in send}
    assert groups == {"bigbigbig", None}
    for message in (message for send in queue.sends for message in send):
        header, _ = envelope.unpack(message.body)
        assert len(header.events) == 1


async def test_a_noisy_tenant_does_not_make_others_wait_for_all_of_it():
    queue = ScriptedQueue()
    commit = GroupCommit(queue, sends_in_flight=1)
    noisy = asyncio.create_task(commit.submit(records("noisynoisy", 50_000)))
    quiet = asyncio.create_task(commit.submit(records("quietquiet", 1)))
    await quiet
    order = [message.group for send in queue.sends for message in send]
    assert None in order[: commit_module.ENVELOPES_A_SEND]
    assert await noisy == []


async def test_an_envelope_that_may_not_have_arrived_is_sent_again_with_the_same_bytes():
    queue = ScriptedQueue(Unavailable("queue"), TimeoutError())
    assert await GroupCommit(queue).submit(records("aaaaaaaa", 3)) == []
    assert len(queue.sends) == 3
    assert queue.sends[0] == queue.sends[1] == queue.sends[2]


async def test_only_the_failed_message_of_a_send_is_sent_again():
    queue = ScriptedQueue([None, Unavailable("queue"), None])
    commit = GroupCommit(queue)
    # One send of three envelopes: three tenants with much waiting each.
    names = ["aaaaaaaa", "bbbbbbbb", "cccccccc"]
    await asyncio.gather(*(commit.submit(records(name, 400)) for name in names))
    assert [len(send) for send in queue.sends] == [3, 1]
    assert queue.sends[1][0] == queue.sends[0][1]


async def test_after_the_deadline_the_events_are_given_back_as_unavailable(monkeypatch):
    monkeypatch.setattr(commit_module, "_LAST_TRY", 0.0)
    queue = ScriptedQueue(*[Unavailable("queue")] * 100)
    commit = GroupCommit(queue, deadline=0.2)
    [(start, end, error)] = await commit.submit(records("aaaaaaaa", 3))
    assert (start, end) == (0, 3)
    assert isinstance(error, Unavailable)
    assert commit.pending_bytes == 0
    assert commit.heartbeat().voided == (1,)


async def test_what_the_queue_refuses_for_good_fails_alone():
    queue = ScriptedQueue([Invalid("too large")])
    [(start, end, error)] = await GroupCommit(queue).submit(records("aaaaaaaa", 2))
    assert (start, end, type(error)) == (0, 2, Invalid)
    assert len(queue.sends) == 1


async def test_a_client_that_goes_away_cancels_nothing():
    queue = ScriptedQueue()
    queue.gate.clear()
    commit = GroupCommit(queue)
    gone = asyncio.create_task(commit.submit(records("aaaaaaaa", 2)))
    stays = asyncio.create_task(commit.submit(records("bbbbbbbb", 2)))
    await until(lambda: queue.sends)
    gone.cancel()
    queue.gate.set()
    assert await stays == []
    assert len(sent_bodies(queue)) == 4
    await commit.drain()
    assert commit.pending_bytes == 0


async def test_past_the_bound_nothing_more_is_taken():
    queue = ScriptedQueue()
    queue.gate.clear()
    commit = GroupCommit(queue, max_pending_bytes=1000)
    taken = asyncio.create_task(commit.submit(records("aaaaaaaa", 4)))
    await until(lambda: queue.sends)
    with pytest.raises(Overloaded):
        await commit.submit(records("aaaaaaaa", 2))
    queue.gate.set()
    assert await taken == []
    assert await commit.submit(records("aaaaaaaa", 2)) == []


async def test_a_lone_request_over_the_bound_is_taken():
    queue = ScriptedQueue()
    assert await GroupCommit(queue, max_pending_bytes=10).submit(records("aaaaaaaa", 4)) == []


async def test_drain_waits_for_what_is_under_way():
    queue = ScriptedQueue()
    queue.gate.clear()
    commit = GroupCommit(queue)
    waiting = asyncio.create_task(commit.submit(records("aaaaaaaa", 1)))
    await until(lambda: queue.sends)
    draining = asyncio.create_task(commit.drain())
    await asyncio.sleep(0.05)
    assert not draining.done()
    queue.gate.set()
    await asyncio.wait_for(draining, 5)
    assert await waiting == []


async def test_sequences_count_from_one_without_a_gap():
    queue = ScriptedQueue()
    commit = GroupCommit(queue)
    for _ in range(3):
        await asyncio.gather(*(commit.submit(records(f"tenant{n:02d}", 400)) for n in range(5)))
    headers = [envelope.peek(message.body) for send in queue.sends for message in send]
    assert sorted(header.sequence for header in headers) == list(range(1, len(headers) + 1))
    assert {header.producer for header in headers} == {commit.producer}
    assert commit.heartbeat().sequence == len(headers)


@given(
    st.lists(
        st.tuples(st.sampled_from(["aaaaaaaa", "bbbbbbbb", "cccccccc"]), st.integers(1, 40), st.integers(10, 20_000)),
        min_size=1,
        max_size=12,
    )
)
def test_every_record_is_sent_once_and_in_its_tenants_order(requests):
    async def run() -> None:
        queue = ScriptedQueue()
        commit = GroupCommit(queue)
        bodies = [
            [Record(name, "202611", f"{n}/{m}".encode().ljust(size, b".")) for m in range(count)]
            for n, (name, count, size) in enumerate(requests)
        ]
        results = await asyncio.gather(*(commit.submit(batch) for batch in bodies))
        assert results == [[]] * len(requests)
        expected = [record.body for batch in bodies for record in batch]
        sent = sent_bodies(queue)
        assert sorted(sent) == sorted(expected)
        for name in {name for name, _, _ in requests}:
            own = [r.body for batch in bodies for r in batch if r.tenant_id == name]
            messages = [envelope.unpack(m.body)[1] for send in queue.sends for m in send]
            assert [r.body for packed in messages for r in packed if r.tenant_id == name] == own
        assert commit.pending_bytes == 0
        for message in (message for send in queue.sends for message in send):
            assert len(message.body) <= 768 * 1024

    asyncio.run(run())


async def test_no_heartbeat_and_no_envelope_is_ahead_of_an_event_that_waits():
    """The watermark stands on both: a moment that they name must have no event of before it still to come."""
    queue = ScriptedQueue()
    queue.gate.clear()
    commit = GroupCommit(queue, sends_in_flight=1)
    with commit.stamping() as first:
        await asyncio.sleep(0.002)
        assert commit.heartbeat().at <= first
        one = asyncio.create_task(commit.submit(records("aaaaaaaa", 1), first))
        await until(lambda: queue.sends)
    with commit.stamping() as second:
        two = asyncio.create_task(commit.submit(records("bbbbbbbb", 1), second))
        await asyncio.sleep(0.002)
    two.cancel()  # the client went away; its event stays
    with commit.stamping() as third:
        three = asyncio.create_task(commit.submit(records("cccccccc", 1), third))
        await asyncio.sleep(0.002)
    assert commit.heartbeat().at <= first
    queue.gate.set()
    await asyncio.gather(one, three)
    headers = [envelope.peek(message.body) for send in queue.sends for message in send]
    assert [header.made_at <= moment for header, moment in zip(headers, (first, second), strict=True)] == [True, True]
    assert headers[1].made_at >= headers[0].made_at
    await commit.drain()
    await asyncio.sleep(0)
    assert commit.heartbeat().at > third
