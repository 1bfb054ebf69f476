"""Events that take long to mask, in a thread of their own: the loop goes on meanwhile.

A hostile event of 256 KiB takes up to 0.7 s, most of it in Python. In a thread it holds the loop up for the
interpreter's switch interval, 5 ms, at a time.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from core.masking import DEFAULT, Found
from core.masking.own import OwnMasker

LARGE: Final = 16 * 1024
"""Bytes of one event that may hold a secret, from which on it goes aside; nine in ten events have under 4 KiB."""
LONG: Final = 0.005
"""Seconds after which the rest of a run goes aside; the 40 in 500 CloudTrail events that may hold one take 1.5 ms."""


class Aside:
    """One thread, and one for tenants' own rules, whose patterns may be slow: many would share the interpreter with the
    loop, and hold it up the longer."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masking")
        self._own_thread = ThreadPoolExecutor(1, thread_name_prefix="own-masking")

    async def mask(self, lines: list[bytes], own: OwnMasker | None = None) -> None:
        """Mask the lines in place, by the default rules and then by the tenant's own, if it has any."""
        found = DEFAULT.find_all(lines)
        began = time.perf_counter() if found else 0
        for at, (n, hits) in enumerate(found):
            if len(lines[n]) >= LARGE or time.perf_counter() - began > LONG:
                await asyncio.get_running_loop().run_in_executor(self._thread, _mask, lines, found[at:])
                break
            lines[n] = DEFAULT.mask_found(lines[n], hits)
        if own is not None:
            await self._mask_own(lines, own)

    async def _mask_own(self, lines: list[bytes], own: OwnMasker) -> None:
        began = time.perf_counter()
        for n, line in enumerate(lines):
            if own.is_slow or len(line) >= LARGE or time.perf_counter() - began > LONG:
                await asyncio.get_running_loop().run_in_executor(self._own_thread, _mask_by, lines, n, own)
                return
            one = time.perf_counter()
            lines[n] = own.mask(line)
            own.is_slow = time.perf_counter() - one > 4 * LONG


def _mask(lines: list[bytes], found: Found) -> None:
    for n, hits in found:
        lines[n] = DEFAULT.mask_found(lines[n], hits)


def _mask_by(lines: list[bytes], start: int, own: OwnMasker) -> None:
    for n in range(start, len(lines)):
        lines[n] = own.mask(lines[n])
