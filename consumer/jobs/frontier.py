"""Moving each producer's frontier forward: the ground of the watermark that every answer carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from core import instant
from core.ports import Ledger, Queue

# What was indexed this long ago is visible to search: the refresh interval of 1 s and its own time.
_SETTLE_US: Final = 1_500_000
_LOOK_US: Final = 10_000_000
"""How often crashed producers are looked for, and the queue's depth is asked for."""
EMPTY_US: Final = 120_000_000
"""How long the queue must have been empty before their missing envelopes are given up: no estimate of SQS lags so."""
OVERTAKEN_US: Final = 900_000_000
"""How much later than their last sign of life all that the living have sealed must have arrived, to the same end. A
busy queue is never empty. Longer than a message takes that a consumer held until its lease ran out, a few times over.
"""


class Frontier:
    """What a crashed producer sealed and, as far as can be told, never sent is given up: it would hold the mark back
    for ever.
    """

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
        delivered = await self._ledger.delivered_through()
        if delivered is not None:
            await self._ledger.give_up(delivered - OVERTAKEN_US)
        depth = await self._queue.depth()
        if depth.waiting or depth.leased:
            self._empty_since = None
        elif self._empty_since is None:
            self._empty_since = now
        elif now - self._empty_since >= EMPTY_US:
            await self._ledger.give_up(self._empty_since)
