"""Runs the consumer as it is, with faults at its ports: python -m tests.faults.breaking.

OCELOT_BREAK is JSON: `step` (`receive`, `store`, `index` or `ack`) and `times`: the process kills itself right after
that many ends of the step (`ack`: before it would tell the queue). `again`: the share of messages that are delivered
a second time, at any later moment and to any consumer. `late`: the share that is put back for a moment, so that others
overtake it. `refuses`: an action whose events it takes for undecodable, as a consumer with a fault of its own would.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import consumer.main
import consumer.pipeline
from core.envelope import Record
from core.errors import InvalidEvent
from core.ports import Lease, Message, StoreRow
from core.settings import Settings
from core.wiring import Backends, open_backends


class Plan:
    """What goes wrong, and when."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.step: str = given.get("step", "")
        self.left: int = given.get("times", 1)
        self.again: float = given.get("again", 0.0)
        self.late: float = given.get("late", 0.0)
        self.refuses: str = given.get("refuses", "")

    def passed(self, step: str) -> None:
        """Die if it is time to."""
        if step == self.step:
            self.left -= 1
            if self.left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Broken:
    """`port` with some methods replaced by those of its subclass."""

    def __init__(self, port: Any, plan: Plan) -> None:
        self._port = port
        self._plan = plan

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)


class BrokenQueue(Broken):
    async def receive(self, count: int, wait: float, lease: float) -> list[Lease]:
        leases: list[Lease] = await self._port.receive(count, wait, lease)
        if not leases:
            return leases
        self._plan.passed("receive")
        random.shuffle(leases)
        again = [Message(each.body) for each in leases if random.random() < self._plan.again]
        late = [each for each in leases if random.random() < self._plan.late]
        if again:
            await self._port.send(again)
        if late:
            await self._port.release(late, random.uniform(0, 2))
        return [each for each in leases if each not in late]

    async def ack(self, leases: Sequence[Lease]) -> int:
        self._plan.passed("ack")
        done: int = await self._port.ack(leases)
        return done


class BrokenStore(Broken):
    async def insert(self, rows: Any, **named: Any) -> Any:
        outcomes = await self._port.insert(rows, **named)
        self._plan.passed("store")
        return outcomes


class BrokenIndex(Broken):
    async def index(self, *arguments: Any, **named: Any) -> Any:
        outcomes = await self._port.index(*arguments, **named)
        self._plan.passed("index")
        return outcomes


def main() -> None:
    plan = Plan(json.loads(os.environ["OCELOT_BREAK"]))

    @asynccontextmanager
    async def opened(settings: Settings) -> AsyncIterator[Backends]:
        async with open_backends(settings) as backends:
            yield replace(
                backends,
                queue=BrokenQueue(backends.queue, plan),
                store=BrokenStore(backends.store, plan),
                index=BrokenIndex(backends.index, plan),
            )

    right = consumer.pipeline.row_of

    def row_of(record: Record, envelope: str) -> StoreRow:
        if plan.refuses and f'"action":"{plan.refuses}"'.encode() in record.body:
            raise InvalidEvent("a fault of this consumer's own")
        return right(record, envelope)

    consumer.main.open_backends = opened  # type: ignore[attr-defined]
    consumer.pipeline.row_of = row_of  # type: ignore[attr-defined]
    consumer.main.serve()


if __name__ == "__main__":
    main()
