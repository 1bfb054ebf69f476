"""Sends to a file queue, and receives and acknowledges, for ever; says after each call what is durable by then."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

from core.adapters.queue.file import FileQueue
from core.ports import Message


async def main(path: Path) -> None:
    random.seed(path.name)
    sent = 0
    acked: list[int] = []
    async with FileQueue(path) as queue:
        while True:
            bodies = [b"%d:" % (sent + n) + random.randbytes(random.randint(10, 9_000)) for n in range(2)]
            results = await queue.send([Message(body) for body in bodies])
            assert results == [None, None]
            sent += 2
            said(path, sent, acked)
            if random.random() < 0.4:
                leases = await queue.receive(1, 0, 600)
                assert await queue.ack(leases) == 1
                acked.append(int(leases[0].body.split(b":")[0]))
                said(path, sent, acked)


def said(path: Path, sent: int, acked: list[int]) -> None:
    log = path.with_name(f"{path.name}-wal").stat().st_size
    print(json.dumps({"sent": sent, "acked": acked, "log": log}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
