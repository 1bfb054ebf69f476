"""Moving each producer's frontier forward: the ground of the watermark that every answer carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from core import instant
from core.ports import Ledger, Queue

# What was indexed this long ago is visible to search: the refresh interval of 1 s and its own time.
_SETTLE_US: Final = 1_500_000
# How often the queue's depth is asked for, and how long it must have been empty before a crashed producer's envelopes
# that never came are given up: longer than any estimate of SQS lags behind.
_LOOK_US: Final = 10_000_000
_EMPTY_US: Final = 120_000_000


class Frontier:
    def __init__(self, ledger: Ledger, queue: Queue, clock: Callable[[], int] = instant.now_us) -> None:
        self._ledger = ledger
        self._queue = queue
        self._clock = clock
        self._looked_at = 0
        self._empty_since: int | None = None

    async def run(self) -> None:
        """One step; call it every second."""
        now = self._clock()
        await self._ledger.advance(now - _SETTLE_US)
        if now - self._looked_at < _LOOK_US:
            return
        self._looked_at = now
        depth = await self._queue.depth()
        if depth.waiting or depth.leased:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        elif now - self._empty_since >= _EMPTY_US:
            await self._ledger.give_up(self._empty_since)
