"""Letting requests in, or refusing them before their bodies are read: bounded bytes, a fair share, an early no."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from core import telemetry
from core.errors import Overloaded

FLOOR: Final = 1024 * 1024
"""How far the bound on what is in flight comes down."""
TARGET: Final = 1.0
"""Seconds that what was let in may wait: past them, less is let in."""
_TICK: Final = 0.1
_LESS: Final = 0.7
_MORE: Final = 1.2


class Admission:
    """Bounds the bytes of bodies in flight, over all and per tenant.

    A tenant may hold as much as is free, so that of many greedy ones each gets the same, and one that holds nothing
    finds as much free as each of them has. `limit` is the bound over all for now: `total`, or less while what was let
    in has to wait. A lone request always gets in.
    """

    def __init__(self, total: int, per_tenant: int) -> None:
        self._total = total
        self._per_tenant = per_tenant
        self.limit = total
        self.in_flight = 0
        self._by_tenant: Counter[str] = Counter()
        self._lessens_at = 0.0

    @contextmanager
    def admit(self, tenant_id: str, size: int) -> Iterator[Callable[[int], None]]:
        """Hold `size` bytes while the request is worked on; raises `Overloaded`.

        What it yields takes the size that the body turned out to have.
        """
        self._require_room(tenant_id, size)
        self._add(tenant_id, size)
        held = size

        def known(actual: int) -> None:
            nonlocal held
            self._add(tenant_id, actual - held)
            held = actual

        try:
            yield known
        finally:
            self._add(tenant_id, -held)
            if not self._by_tenant[tenant_id]:
                del self._by_tenant[tenant_id]

    def pace(self, waited: float, now: float) -> None:
        """Let in less when what was let in has waited `waited` seconds, more when it goes through; `now` is monotonic.

        Less than what is in flight, once in `TARGET` seconds: only after that long can it show.
        """
        if waited <= TARGET:
            self.limit = min(self._total, int(self.limit * _MORE))
        elif now >= self._lessens_at:
            self._lessens_at = now + TARGET
            self.limit = min(self._total, max(FLOOR, int(min(self.limit, self.in_flight) * _LESS)))
        telemetry.ADMISSION_LIMIT.set(self.limit)

    def _require_room(self, tenant_id: str, size: int) -> None:
        if not self.in_flight:
            return
        held = self._by_tenant[tenant_id]
        # Who holds little gets past a bound that has come down under what others hold.
        is_small = not held or held + size <= self.limit // (len(self._by_tenant) + 1)
        if self.in_flight >= (2 * self.limit if is_small else self.limit) or self.in_flight + size > self._total:
            raise Overloaded("too much is in flight")
        over = held + size > self._per_tenant or (not is_small and held + size > self.limit - self.in_flight)
        if held and over:
            raise Overloaded("too much is in flight for this tenant")

    def _add(self, tenant_id: str, size: int) -> None:
        self.in_flight += size
        self._by_tenant[tenant_id] += size


async def pace_forever(admission: Admission, waiting: Callable[[], float]) -> None:
    """Pace it by how long the oldest of what was let in has been waiting, and by how late this task gets its turn."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(_TICK)
        now = time.monotonic()
        admission.pace(max(waiting(), now - began - _TICK), now)
