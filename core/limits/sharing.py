"""What processes tell each other of what they have used, once a second, and what they go by when they cannot.

A round: record our parts, say that we live, read the others' parts. A process whose last round is too old, or that does
not hear of another any more, gives out shares: docs/limits.md derives what that bounds.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from core import telemetry
from core.errors import OcelotError
from core.limits.limiter import STALE_AFTER, Limiter
from core.limits.meter import DAY
from core.ports.usage import Usage

log = logging.getLogger(__name__)
ROUND: Final = 1.0
"""Seconds from one round's start to the next."""
ACCOUNT: Final = 5.0
"""Seconds between recordings of what nobody has to know at once: the usage of tenants without quotas."""
KEY_ROUNDS: Final = 2
"""Quotas of keys are read in every second round: they hold within 5 seconds of their change."""
GONE_AFTER: Final = 60.0
"""Seconds of silence after which a process counts as ended."""
_WINDOW_US: Final = 10 * 1_000_000
"""How far back a round reads: clocks may differ by some seconds, and reading a part again is harmless."""
_LAST_TRIES: Final = 5


@dataclass(slots=True)
class _Peer:
    beat: int
    changed_at: float
    is_silent: bool = False
    is_back: bool = False
    """It was silent until this round."""


class Sharing:
    """Keeps a process's limiter and the account of usage up to date with each other."""

    def __init__(
        self,
        limiter: Limiter,
        usage: Usage,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._limiter = limiter
        self._usage = usage
        self._clock = clock
        self._wall = wall
        self._beat = 0
        self._peers: dict[str, _Peer] = {}
        self._round_at: float | None = None
        self._read_from = 0

    async def run_forever(self) -> None:
        """Make rounds, and accounts of the rest between them."""
        await asyncio.gather(self._every(ROUND, self.round), self._every(ACCOUNT, self.account))

    async def round(self) -> None:
        """Exchange what processes must know of each other; raises when that was not possible."""
        started, wall_us = self._clock(), int(self._wall() * 1_000_000)
        await self._record(limited=True)
        await self._meet(started)
        # The first time all of the day, for the quotas of days.
        since = self._read_from or wall_us - wall_us % (DAY * 1_000_000)
        parts = await self._usage.recent(min(since, wall_us - _WINDOW_US))
        if self._beat % KEY_ROUNDS == 1:
            found = await self._usage.key_quotas()
            self._limiter.key_quotas = {f"key:{key}": quotas for key, quotas in found.items()}
        was_away = self._round_at is not None and started - self._round_at > STALE_AFTER
        back = {name for name, peer in self._peers.items() if peer.is_back}
        self._limiter.learn(parts, wall_us - _WINDOW_US, lambda process: was_away or process in back)
        self._read_from = wall_us - _WINDOW_US
        self._round_at = started
        silent = sum(peer.is_silent for peer in self._peers.values())
        processes = 1 + len(self._peers)
        share = (processes - silent) / processes
        self._limiter.synced(started, share, 1 / processes)
        telemetry.QUOTA_SHARE.set(share)

    async def account(self) -> None:
        """Record what tenants without quotas have used."""
        await self._record(limited=False)

    async def end(self) -> None:
        """Record everything, and that this process is no more; with the store away, what it can within seconds."""
        for attempt in range(_LAST_TRIES):
            try:
                await self._record(limited=True)
                await self._record(limited=False)
                await self._usage.ended(self._limiter.process)
                return
            except OcelotError as error:
                log.warning("usage not recorded: %s", error.message)
                await asyncio.sleep(0.2 * 2**attempt)

    async def _record(self, *, limited: bool) -> None:
        dirty = self._limiter.dirty(limited=limited)
        parts = self._limiter.parts(dirty)
        await self._usage.record(parts, shared=limited)
        self._limiter.recorded(dirty, parts)

    async def _meet(self, started: float) -> None:
        """Tell the others that we live, and see which of them do."""
        self._beat += 1
        beats = await self._usage.beat(self._limiter.process, self._beat)
        beats.pop(self._limiter.process, None)  # another may just have taken us for gone
        self._peers = {name: peer for name, peer in self._peers.items() if name in beats}
        for name, beat in beats.items():
            peer = self._peers.setdefault(name, _Peer(beat, started))
            peer.is_back = peer.is_silent and beat != peer.beat
            if beat != peer.beat:
                peer.beat, peer.changed_at = beat, started
            peer.is_silent = started - peer.changed_at > STALE_AFTER
            if started - peer.changed_at > GONE_AFTER:
                del self._peers[name]
                with suppress(OcelotError):
                    await self._usage.ended(name, beat)

    async def _every(self, seconds: float, work: Callable[[], object]) -> None:
        while True:
            started = self._clock()
            try:
                await work()  # type: ignore[misc]
            except OcelotError as error:
                telemetry.QUOTA_SHARE.set(self._limiter.share(self._clock()))
                log.warning("usage not exchanged: %s", error.message)
            except Exception:
                log.exception("usage not exchanged")
            rest = seconds * random.uniform(0.9, 1.0) - (self._clock() - started)  # noqa: S311
            await asyncio.sleep(max(0.05, rest))
