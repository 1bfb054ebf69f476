"""Events that may take long to mask, in a thread of their own: the loop goes on meanwhile.

A hostile event of 256 KiB takes up to 0.7 s, most of it in Python. In a thread it holds the loop up for the
interpreter's switch interval, 5 ms, at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from core.masking import may_hold_secret

T = TypeVar("T")
LARGE: Final = 16 * 1024
"""Bytes of one event from which on it is looked at first; nine in ten have under 4 KiB, and cost nothing here."""
LONG: Final = 0.02
"""Seconds for a slice of a bulk (64 KiB) after which the rest of the bulk goes aside; a usual one takes 2 ms."""


class Aside:
    """One thread: many would share the interpreter with the loop, and hold it up the longer."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="masking")

    def run(self) -> Run:
        """For the items of one request."""
        return Run(self._thread)


class Run:
    """Remembers whether the request's items took long so far."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._long = False

    async def __call__(self, work: Callable[[Sequence[bytes]], T], items: Sequence[bytes]) -> T:
        """`work(items)`, here or in the thread."""
        if self._long or any(len(item) >= LARGE and may_hold_secret(item) for item in items):
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, items)
        began = time.perf_counter()
        result = work(items)
        self._long = time.perf_counter() - began > LONG
        return result
