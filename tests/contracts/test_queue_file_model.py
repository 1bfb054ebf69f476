"""The file queue's database against a model of it in Python, under any order of calls."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, consumes, invariant, multiple, rule

from core.adapters.queue.file_database import Held, QueueDatabase
from core.ports import Depth, Message

MAX_RECEIVES = 2


class Database(QueueDatabase):
    """The database on a clock of its own."""

    now = 1_000_000

    def now_us(self) -> int:
        return self.now


@dataclass
class Modelled:
    until: int = 0
    receives: int = 0
    holder: Held | None = None


class QueueModel(RuleBasedStateMachine):
    leases = Bundle[Held]("leases")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "queue.db"
        self.database = Database(self.path, MAX_RECEIVES, 5)
        self.messages: dict[bytes, Modelled] = {}
        self.dead: set[bytes] = set()
        self.sent = 0

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    @rule(groups=st.lists(st.sampled_from(["a", "b", None]), max_size=4))
    def send(self, groups: list[str | None]) -> None:
        bodies = [f"{self.sent + number}".encode() for number in range(len(groups))]
        self.sent += len(groups)
        self.database.send([Message(body, group) for body, group in zip(bodies, groups, strict=True)])
        self.messages |= {body: Modelled() for body in bodies}

    @rule(target=leases, count=st.integers(1, 5), lease=st.integers(1, 50))
    def claim(self, count: int, lease: int) -> MultipleResults[Held]:
        now = self.database.now
        free = {body for body, message in self.messages.items() if message.until <= now}
        spent = {body for body in free if self.messages[body].receives >= MAX_RECEIVES}
        claims = self.database.claim(count, lease)
        assert len(claims) == min(count, len(free - spent))
        assert {claim.body for claim in claims} <= free - spent
        for claim in claims:
            message = self.messages[claim.body]
            assert claim.receives == message.receives + 1
            self.messages[claim.body] = Modelled(now + lease, claim.receives, (claim.id, claim.token))
        dead = self.dead_letters()
        assert dead - self.dead <= spent
        for body in dead - self.dead:
            del self.messages[body]
        self.dead = dead
        return multiple(*((claim.id, claim.token) for claim in claims))

    @rule(passed=st.integers(1, 60))
    def wait(self, passed: int) -> None:
        self.database.now += passed

    @rule(held=leases, lease=st.integers(1, 50))
    def extend(self, held: Held, lease: int) -> None:
        body = self.holding(held)
        assert self.database.extend([held], lease) == [body is not None]
        if body is not None:
            self.messages[body].until = self.database.now + lease

    @rule(held=consumes(leases))
    def ack(self, held: Held) -> None:
        body = self.holding(held)
        assert self.database.ack([held]) == (body is not None)
        if body is not None:
            del self.messages[body]

    @rule(held=leases, delay=st.integers(0, 30))
    def release(self, held: Held, delay: int) -> None:
        body = self.holding(held)
        self.database.release([held], delay)
        if body is not None:
            self.messages[body].until = self.database.now + delay
            self.messages[body].holder = None

    @rule()
    def reopen(self) -> None:
        now = self.database.now
        self.database.close()
        self.database = Database(self.path, MAX_RECEIVES, 5)
        self.database.now = now

    @invariant()
    def counts_agree(self) -> None:
        depth = self.database.depth()
        leased = sum(message.until > self.database.now for message in self.messages.values())
        assert depth == Depth(len(self.messages) - leased, leased, len(self.dead))

    def dead_letters(self) -> set[bytes]:
        rows = self.database._connection.execute("SELECT bytes FROM body JOIN dead USING (id)")
        return {body for (body,) in rows}

    def holding(self, held: Held) -> bytes | None:
        return next((body for body, message in self.messages.items() if message.holder == held), None)


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
