"""No archive: `ARCHIVE_URL` is not set."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from core.errors import Unset


class NoArchive:
    """Holds nothing and refuses everything, so that nothing is written where nobody looks for it."""

    async def put(self, name: str, data: bytes) -> None:
        raise _unset()

    async def keep(self, name: str, data: bytes) -> None:
        raise _unset()

    async def put_stream(self, name: str, pieces: AsyncIterator[bytes], size: int) -> None:
        raise _unset()

    async def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        raise _unset()
        yield b""

    async def size(self, name: str) -> int | None:
        raise _unset()

    async def files(self, folder: str) -> int:
        return 0

    async def remove(self, folder: str) -> None:
        raise _unset()


def _unset() -> Unset:
    return Unset("archive", "ARCHIVE_URL")
