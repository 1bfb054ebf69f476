"""Moving each producer's frontier forward: the ground of the watermark that every answer carries."""

from __future__ import annotations

from typing import Final

from core import instant
from core.ports import Ledger

# What was indexed this long ago is visible to search: the refresh interval of 1 s and its own time.
_SETTLE_US: Final = 1_500_000


class Frontier:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def run(self) -> None:
        await self._ledger.advance(instant.now_us() - _SETTLE_US)
