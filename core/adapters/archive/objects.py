"""The archive in S3 or in a folder: `core.ports.Archive`, by obstore."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from core.adapters.archive.keeping import Keeping, LockedBucket, SyncedFolder
from core.errors import NotFound, OcelotError, Unavailable

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_CHUNK: Final = 8 * 1024 * 1024
_PARTS: Final = 9_000
"""S3 takes 10,000 parts of an upload."""
_READ: Final = 1024 * 1024
_AT_ONCE: Final = 2
# Of an upload of hours one part may fail; to begin the whole again for that would never end. So here, and here alone,
# the driver repeats a call.
_RETRIES: Final[Any] = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}


def open_archive(
    url: str, *, region: str, endpoint: str | None = None, keeping: Keeping | None = None
) -> ObjectArchive:
    """The archive at `file:///path` or `s3://bucket/prefix`; raises ValueError for any other URL.

    S3's credentials come from where AWS's own tools take them: variables, a container's or an instance's role.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path and not parts.netloc:
        folder = Path(unquote(parts.path))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return ObjectArchive(LocalStore(folder, automatic_cleanup=True, mkdir=True), SyncedFolder(folder))
    if parts.scheme == "s3" and parts.netloc:
        config: dict[str, Any] = {"endpoint": endpoint, "virtual_hosted_style_request": False} if endpoint else {}
        options: Any = {"timeout": "60s", "connect_timeout": "5s", "allow_http": bool(endpoint)}
        prefix = parts.path.strip("/") or None
        store = S3Store(
            parts.netloc, prefix=prefix, region=region, client_options=options, retry_config=_RETRIES, **config
        )
        keeping = keeping or Keeping()
        return ObjectArchive(store, LockedBucket(parts.netloc, prefix, region, endpoint, keeping), keeping.attributes)
    raise ValueError("must be file:///folder or s3://bucket/prefix")


class ObjectArchive:
    """A folder's files appear by a rename, a bucket's when their upload is completed.

    A folder is synced to disk for what is kept alone: what a power failure takes from it of an export, the size and
    checksum kept with its job tell. `finish` is what makes a file one that is kept.
    """

    def __init__(
        self, store: LocalStore | S3Store, finish: SyncedFolder | LockedBucket, attributes: dict[str, str] | None = None
    ) -> None:
        self._store = store
        self._finish = finish
        self._attributes: Any = attributes or None

    async def put(self, name: str, data: bytes) -> None:
        with _calls(writing=True):
            await obstore.put_async(self._store, _checked(name), data, use_multipart=False)

    async def keep(self, name: str, data: bytes) -> None:
        with _calls(writing=True):
            await obstore.put_async(self._store, _checked(name), data, use_multipart=False, attributes=self._attributes)
            await self._finish(name)

    async def put_stream(self, name: str, pieces: AsyncIterator[bytes], size: int) -> None:
        chunk = max(_CHUNK, size // _PARTS)
        with _calls(writing=True):
            await obstore.put_async(
                self._store, _checked(name), pieces, use_multipart=True, chunk_size=chunk, max_concurrency=_AT_ONCE
            )

    async def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        if end is not None and end <= start:
            if await self.size(name) is None:
                raise NotFound("no such file in the archive")
            return  # stores refuse a range of nothing, and a file may hold nothing
        with _calls():
            bounds: Any = {"offset": start} if end is None else (start, end)
            options: Any = {"range": bounds} if start or end is not None else {}
            found = await obstore.get_async(self._store, _checked(name), options=options)
            pieces = found.stream(min_chunk_size=_READ)
        while True:
            with _calls():
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def size(self, name: str) -> int | None:
        try:
            with _calls():
                return (await obstore.head_async(self._store, _checked(name)))["size"]
        except NotFound:
            return None

    async def files(self, folder: str) -> int:
        with _calls():
            return sum([len(found) async for found in obstore.list(self._store, prefix=_checked(folder))])

    async def remove(self, folder: str) -> None:
        with _calls():
            async for found in obstore.list(self._store, prefix=_checked(folder), chunk_size=500):
                if names := [entry["path"] for entry in found]:
                    await obstore.delete_async(self._store, names)


@contextmanager
def _calls(*, writing: bool = False) -> Iterator[None]:
    """Calls whose errors become Ocelot's own; a message of the driver may name hosts and goes no further."""
    try:
        yield
    except FileNotFoundError as error:
        if writing:  # no such bucket
            raise Unavailable("archive", "archive: there is none") from error
        raise NotFound("no such file in the archive") from None
    except OcelotError:
        raise
    except (BaseError, OSError, ValueError) as error:
        raise Unavailable("archive", f"archive: {type(error).__name__}") from error


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise AssertionError(f"not a name in the archive: {name!r}")
    return name
