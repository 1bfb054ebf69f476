"""The archive: files that are written once and read whole, such as exports and what retention takes out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol


class Archive(Protocol):
    """Files by name, in a bucket or a folder. A name is `/`-separated steps of letters, digits, `.`, `-` and `_`.

    Every call raises `Unavailable` (dependency `archive`) when the archive is down, slow or refusing.
    """

    async def put(self, name: str, data: bytes) -> None:
        """On return the file is there, whole; it replaces one of that name."""

    async def keep(self, name: str, data: bytes) -> None:
        """As `put`, of a file that stays, of a new name: in the class and under the lock that this archive keeps by,
        and on return it outlives a power failure."""

    async def put_stream(self, name: str, pieces: AsyncIterator[bytes], size: int) -> None:
        """As `put`, of a file of about `size` bytes, with flat memory. If `pieces` raises, no file appears."""

    def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of the file from `start` to `end`, exclusive; raises `NotFound` when there is no file."""

    async def size(self, name: str) -> int | None:
        """Bytes of the file; None when there is none."""

    async def files(self, folder: str) -> int:
        """How many files `remove` would remove."""

    async def remove(self, folder: str) -> None:
        """Remove every file whose name begins with `folder` and a `/`; harmless when there is none."""
