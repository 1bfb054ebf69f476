"""A process of its own on a file queue: `python -m tests.contracts.queue_process send|consume PATH`."""

from __future__ import annotations

import asyncio
import sys
from itertools import count
from pathlib import Path

from core.adapters.queue.file import FileQueue
from core.ports import Message

BATCH = 3


async def send(path: Path) -> None:
    """Send numbered messages for ever; print a number once it was acknowledged."""
    async with FileQueue(path) as queue:
        for start in count(0, BATCH):
            numbers = range(start, start + BATCH)
            results = await queue.send([Message(f"{number} ".encode() * 2000) for number in numbers])
            for number, result in zip(numbers, results, strict=True):
                if result is None:
                    print(number, flush=True)


async def consume(path: Path) -> None:
    """Print and ack what comes, until nothing has come for half a second."""
    async with FileQueue(path) as queue:
        while leases := await queue.receive(2, 0.5, 30):
            for lease in leases:
                print(lease.body.decode(), flush=True)
            await queue.ack(leases)


if __name__ == "__main__":
    asyncio.run({"send": send, "consume": consume}[sys.argv[1]](Path(sys.argv[2])))
