"""Sleeping until a file is written to: Linux's inotify, which Python's library does not have."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
from pathlib import Path
from typing import Final, Self

_IN_MODIFY: Final = 0x2


class Bell:
    """Lets one thread sleep until a watched file is written to or `ring` is called, by any process or thread."""

    def __init__(self, notify: int, own: int) -> None:
        self._notify = notify
        self._own = own

    @classmethod
    def make(cls) -> Self | None:
        """None where the system has no inotify (left): its user may then look again and again."""
        if sys.platform != "linux":
            return None
        notify = ctypes.CDLL(None).inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        return None if notify < 0 else cls(notify, os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def watch(self, path: Path) -> bool:
        """Watch a file that exists, besides those watched already; a deleted one is forgotten by itself."""
        watched: int = ctypes.CDLL(None).inotify_add_watch(self._notify, os.fsencode(path), _IN_MODIFY)
        return watched >= 0

    def ring(self) -> None:
        os.eventfd_write(self._own, 1)

    def wait(self, seconds: float) -> bool:
        """Whether, since the last wait or within `seconds`, a file was written to or the bell rung."""
        ready, _, _ = select.select([self._notify, self._own], [], [], seconds)
        for descriptor in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(descriptor, 4096)
        return bool(ready)

    def close(self) -> None:
        os.close(self._notify)
        os.close(self._own)
