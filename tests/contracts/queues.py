"""The queues that the contract suite runs on: each backend opens any number of adapters on one queue of its own."""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

from core.adapters.queue.file import FileQueue
from core.adapters.queue.sqs import SqsQueue
from core.adapters.queue.sqs_client import delete_queue, ensure_queue
from core.ports import Lease, Queue
from infra.local.servers import free_port

REGION = "us-east-1"


class Backend(Protocol):
    short: float
    """The shortest lease there is, in seconds."""

    async def open(self, max_receives: int = 100) -> Queue:
        """Another adapter on the same queue; closed at the end of the test."""

    async def unreachable(self) -> Queue:
        """An adapter on a queue that cannot be reached."""

    async def aclose(self) -> None: ...


class FileBackend:
    short = 0.25

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened = AsyncExitStack()

    async def open(self, max_receives: int = 100) -> Queue:
        return await self._opened.enter_async_context(FileQueue(self._folder / "queue.db", max_receives))

    async def unreachable(self) -> Queue:
        blocker = self._folder / "not-a-folder"
        blocker.touch()
        queue = FileQueue(blocker / "queue.db")
        self._opened.push_async_callback(queue.aclose)
        return queue

    async def aclose(self) -> None:
        await self._opened.aclose()


class SqsBackend:
    short = 1.0

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._name = f"contract-{uuid.uuid4().hex}"
        self._opened = AsyncExitStack()

    async def open(self, max_receives: int = 100) -> Queue:
        url = await ensure_queue(self._endpoint, REGION, self._name, max_receives=max_receives)
        return await self._opened.enter_async_context(SqsQueue(url, REGION, self._endpoint))

    async def unreachable(self) -> Queue:
        await self.open()
        endpoint = f"http://127.0.0.1:{free_port()}"
        return await self._opened.enter_async_context(SqsQueue(f"{endpoint}/0/{self._name}", REGION, endpoint))

    async def aclose(self) -> None:
        await self._opened.aclose()
        await delete_queue(self._endpoint, REGION, self._name)


async def drain(queue: Queue, expected: int, *, lease: float = 30, ack: bool = True) -> list[Lease]:
    """Receive (and ack) until `expected` messages have come or none comes for 2 seconds."""
    received: list[Lease] = []
    while len(received) < expected:
        leases = await queue.receive(10, 2, lease)
        if not leases:
            break
        received += leases
        if ack:
            await queue.ack(leases)
    return received
