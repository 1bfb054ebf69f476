"""Runs a service as it is, but for its clock or its queue: python -m tests.faults.altered api.main.

OCELOT_ALTER is JSON: `clock`: a file that says how many seconds its wall clock is ahead, looked at again and again;
`rate`: how many bytes a second the queue takes of it, one send after another.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

ALTER: dict[str, Any] = json.loads(os.environ["OCELOT_ALTER"])


def _shift(clock: Path) -> None:
    """Before anything else is imported, so that nobody has the right clock by another name."""
    wall, wall_ns, steady = time.time, time.time_ns, time.monotonic
    known = looked = 0.0

    def ahead() -> float:
        nonlocal known, looked
        if steady() - looked > 0.05:
            known, looked = float(clock.read_text()), steady()
        return known

    time.time = lambda: wall() + ahead()
    time.time_ns = lambda: wall_ns() + int(ahead() * 1e9)


class SlowQueue:
    """`queue` with sends that take as long as their bytes at `rate` a second."""

    def __init__(self, queue: Any, rate: float) -> None:
        self._queue = queue
        self._rate = rate
        self._turn = asyncio.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def send(self, messages: Sequence[Any]) -> Any:
        async with self._turn:
            await asyncio.sleep(sum(len(message.body) for message in messages) / self._rate)
            return await self._queue.send(messages)


def main(name: str) -> None:
    if clock := ALTER.get("clock"):
        _shift(Path(clock))
    module = importlib.import_module(name)
    if rate := ALTER.get("rate"):
        lifespan = importlib.import_module("api.lifespan")
        open_backends = lifespan.open_backends

        @asynccontextmanager
        async def opened(settings: Any) -> AsyncIterator[Any]:
            async with open_backends(settings) as backends:
                yield replace(backends, queue=SlowQueue(backends.queue, rate))

        lifespan.open_backends = opened  # type: ignore[attr-defined]
    module.serve()


if __name__ == "__main__":
    main(sys.argv[1])
