"""A steady load for long: memory, file descriptors, lag and answers' times stay as they are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from core.ports import Depth
from core.wiring import Backends
from tests import census, figures
from tests.faults import stack as stacks
from tests.faults.stack import Stack
from tests.service import Client, Process

T = TypeVar("T", int, float)
SECONDS = float(os.environ.get("OCELOT_SOAK_SECONDS", "180"))
BULK = 20
_PAUSE = 0.2


@dataclass
class Third:
    """What was seen in a third of the time."""

    took: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)


class Steady(threading.Thread):
    """Sends one event and a bulk, and searches, again and again until `over`."""

    def __init__(self, client: Client, thirds: list[Third], began: float, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.client, self.thirds, self.began, self.over = client, thirds, began, over
        self.accepted = 0
        self.refused: list[str] = []

    def run(self) -> None:
        while not self.over.wait(_PAUSE):
            began = time.monotonic()
            try:
                one = self.client.post("/logs", json={"action": "steady"})
                took = time.monotonic() - began
                bulk = self.client.post("/logs/bulk", json=[{"action": "steady", "user_id": "u1"}] * BULK)
                found = self.client.get("/logs", params={"user_id": "u1", "from": "-1m", "limit": 10})
            except httpx.HTTPError as error:
                self.refused.append(repr(error))
                continue
            self.accepted += (one.status_code == 202) + (BULK if bulk.status_code == 202 else 0)
            self.refused += [answer.text[:200] for answer in (one, bulk, found) if answer.status_code not in (200, 202)]
            third(self.thirds, self.began).took.append(took)


@pytest.mark.slow
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_nothing_grows(servers: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with getattr(stacks, servers)(tmp_path) as stack:
        clients = [stack.service.tenant(f"steady{n}") for n in range(2)]
        thirds = [Third() for _ in range(3)]
        over, began = threading.Event(), time.monotonic()
        senders = [Steady(client, thirds, began, over) for client in clients]
        for sender in senders:
            sender.start()
        while time.monotonic() - began < SECONDS:
            time.sleep(1)
            look(stack, third(thirds, began))
        over.set()
        for sender in senders:
            sender.join(60)
        census.settle(stack.service, clients)
        accepted = sum(sender.accepted for sender in senders)
        stored = sum(len(census.take(stack.service, client).stored) for client in clients)
    for n, seen in enumerate(thirds, 1):
        figures.record(
            request, f"Soak, {servers}, {SECONDS:.0f} s", third=n, events=accepted if n == len(thirds) else "",
            memory=f"{middle(seen.memory)} MiB", descriptors=middle(seen.descriptors), waiting=middle(seen.waiting),
            p50=f"{1000 * middle(seen.took):.0f} ms", p99=f"{1000 * high(seen.took):.0f} ms",
        )  # fmt: skip
    _, second, last = thirds
    assert [refused for sender in senders for refused in sender.refused] == []
    assert stored == accepted > 0
    assert middle(last.memory) < 1.1 * middle(second.memory) + 16
    assert middle(last.descriptors) <= middle(second.descriptors) + 10
    assert middle(last.waiting) <= middle(second.waiting) + 10
    # A busy machine makes one third slower than another; what grows with time makes it many times slower.
    assert high(last.took) < 5 * high(second.took) + 1


def third(thirds: list[Third], began: float) -> Third:
    return thirds[min(2, int(3 * (time.monotonic() - began) / SECONDS))]


def look(stack: Stack, seen: Third) -> None:
    processes = stack.service.api, stack.service.consumer
    seen.memory.append(sum(map(resident, processes)))
    seen.descriptors.append(sum(len(list(Path(f"/proc/{pid(each)}/fd").iterdir())) for each in processes))

    async def depth(backends: Backends) -> Depth:
        return await backends.queue.depth()

    seen.waiting.append(stack.service.with_backends(depth).waiting)


def pid(process: Process) -> int:
    assert process.popen is not None
    return process.popen.pid


def resident(process: Process) -> int:
    """MiB."""
    return int(Path(f"/proc/{pid(process)}/status").read_text().split("VmRSS:")[1].split()[0]) // 1024


def middle(values: Sequence[T]) -> T:
    return sorted(values)[len(values) // 2]


def high(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
