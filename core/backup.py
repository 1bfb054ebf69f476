"""Backups: every document of the store in files with checksums, and back again.

A backup is a folder of the archive's kind: for each collection a zstd file of its documents as BSON, one after another
(what `mongorestore` reads too, unpacked), and at last `manifest.json`. Without that file there is no backup.

A backup is taken while the service works. What an event leaves behind is read before the events, and what takes events
away after them: so no restored receipt speaks of an event that the backup lacks, and an event that retention took out
meanwhile is in the backup or in a file of the archive that a restored record names.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, Protocol

import msgspec
import zstandard

from core import instant
from core.errors import Conflict, NotFound
from core.migration import LAYOUT
from core.ports import Archive

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
EVENTS: Final = "events"
BEFORE_EVENTS: Final = ("receipts", "producers", "holes", "accounts", "outbox", "rebuilds", "usage")
"""Collections that tell of events; all others come after the events."""
_LEVEL: Final = 3
_PIECE: Final = 1024 * 1024
_MAX_DOCUMENT: Final = 17 * 1024 * 1024
BATCH_DOCUMENTS = 500
_BATCH_BYTES: Final = 4 * 1024 * 1024
_MODULUS: Final = 1 << 256


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """One collection of a backup. `digest` is the sum of the documents' SHA-256, whatever their order."""

    name: str
    file: str
    documents: int
    bytes: int
    sha256: str
    """Of the unpacked file."""
    digest: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    id: str
    database: str
    layout: int
    began_at: str
    ended_at: str
    altered: int
    """Events whose bytes were not those that their hash covers, when they were read."""
    collections: list[Contents]


_read_manifest: Final = msgspec.json.Decoder(Manifest).decode


class Dump(Protocol):
    """The whole store, as documents in BSON."""

    name: str
    """Of the database."""

    async def collections(self) -> list[str]:
        """The names of those that belong into a backup."""

    async def size(self, collection: str) -> int:
        """About how many bytes its documents have."""

    def documents(self, collection: str) -> AsyncIterator[list[bytes]]:
        """All that are there when the call begins, in batches, in no order; of later ones some."""

    def is_altered(self, document: bytes) -> bool:
        """Whether an event's bytes are not those that its hash covers."""

    async def begin(self, backup_id: str) -> None:
        """Keep services from starting on this store until `end`. Raises `Conflict` for a store that has anything but
        what a service makes at its first start, unless the same restore began before."""

    async def put(self, collection: str, documents: Sequence[bytes]) -> None:
        """Harmless for those that are there."""

    async def end(self) -> None: ...


class Sum:
    """Counts and checksums of one collection."""

    def __init__(self) -> None:
        self.documents = self.bytes = 0
        self._file = hashlib.sha256()
        self._digest = 0

    def add(self, document: bytes) -> None:
        self.documents += 1
        self.bytes += len(document)
        self._file.update(document)
        self._digest = (self._digest + int.from_bytes(hashlib.sha256(document).digest())) % _MODULUS

    @property
    def digest(self) -> str:
        return f"{self._digest:064x}"

    def contents(self, name: str, file: str) -> Contents:
        sha256 = self._file.hexdigest()
        return Contents(
            name=name, file=file, documents=self.documents, bytes=self.bytes, sha256=sha256, digest=self.digest
        )


Told = Callable[[Contents], None]


async def back_up(dump: Dump, archive: Archive, backup_id: str, told: Told) -> Manifest:
    """Write a backup; `told` hears of each collection that is written. Raises `Conflict` where there is one."""
    if await archive.size(MANIFEST) is not None:
        raise Conflict("there is a backup here already; name an empty place")
    began = instant.now_us()
    collections, altered = [], 0
    for name in _ordered(await dump.collections()):
        total, file = Sum(), f"{name}.bson.zst"
        check = dump.is_altered if name == EVENTS else None
        packed = _Packed(dump.documents(name), total, check)
        await archive.put_stream(file, packed.pieces(), await dump.size(name))
        altered += packed.altered
        collections.append(total.contents(name, file))
        told(collections[-1])
    manifest = Manifest(
        format=FORMAT,
        id=backup_id,
        database=dump.name,
        layout=LAYOUT,
        began_at=instant.to_text(began),
        ended_at=instant.to_text(instant.now_us()),
        altered=altered,
        collections=collections,
    )
    await archive.keep(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    return manifest


async def manifest_of(archive: Archive) -> Manifest:
    """Raises `NotFound` where there is no backup, `Conflict` for one that this version cannot read."""
    try:
        data = b"".join([piece async for piece in archive.read(MANIFEST)])
    except NotFound:
        raise NotFound(f"there is no backup here: no {MANIFEST}") from None
    try:
        manifest = _read_manifest(data)
    except msgspec.DecodeError as error:
        raise Conflict(f"{MANIFEST} is not one of a backup: {error}") from None
    if manifest.format != FORMAT or manifest.layout > LAYOUT:
        raise Conflict("the backup was made by a newer version; restore it by that")
    return manifest


async def verify(archive: Archive, manifest: Manifest, told: Told) -> None:
    """Read all of a backup; raises `Conflict` when a file is not as it was written."""
    for contents in manifest.collections:
        total = Sum()
        async for batch in _documents(archive, contents):
            await asyncio.to_thread(_add_all, total, batch)
        _require_same(total.contents(contents.name, contents.file), contents, "the file")
        told(contents)


async def restore(dump: Dump, archive: Archive, manifest: Manifest, told: Told) -> None:
    """Put a backup, which `verify` has found good, into an empty store; may be called again after it was broken off.

    On return the store was read again and holds what the manifest says. Services stay shut out until `dump.end`.
    """
    await dump.begin(manifest.id)
    for contents in manifest.collections:
        async for batch in _documents(archive, contents):
            await dump.put(contents.name, batch)
        total = Sum()
        async for batch in dump.documents(contents.name):
            await asyncio.to_thread(_add_all, total, batch)
        if (total.documents, total.digest) != (contents.documents, contents.digest):
            raise Conflict(f"the restored collection {contents.name} is not as it was backed up")
        told(contents)


def _ordered(names: Sequence[str]) -> list[str]:
    first = [name for name in BEFORE_EVENTS if name in names]
    events = [EVENTS] if EVENTS in names else []
    return [*first, *events, *sorted(set(names) - {*first, *events})]


class _Packed:
    """Documents as the pieces of a zstd file, summed up on their way; packing runs in a thread."""

    def __init__(
        self, batches: AsyncIterator[list[bytes]], total: Sum, is_altered: Callable[[bytes], bool] | None
    ) -> None:
        self._batches = batches
        self._total = total
        self._is_altered = is_altered
        self._packer = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
        self.altered = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        piece = b""
        async for batch in self._batches:
            piece += await asyncio.to_thread(self._pack, batch)
            if len(piece) >= _PIECE:
                yield piece
                piece = b""
        yield piece + self._packer.flush()

    def _pack(self, batch: list[bytes]) -> bytes:
        _add_all(self._total, batch)
        if self._is_altered is not None:
            self.altered += sum(map(self._is_altered, batch))
        return self._packer.compress(b"".join(batch))


async def _documents(archive: Archive, contents: Contents) -> AsyncIterator[list[bytes]]:
    """The documents of a file, in batches of bounded size; raises `Conflict` for a file that is damaged."""
    unpacker, rest = zstandard.ZstdDecompressor().decompressobj(), b""
    batch: list[bytes] = []
    size = 0
    try:
        async for piece in archive.read(contents.file):
            if unpacker.eof:
                raise ValueError("more follows")
            rest += await asyncio.to_thread(unpacker.decompress, piece)
            documents, rest = _split(rest)
            for document in documents:
                batch.append(document)
                size += len(document)
                if len(batch) >= BATCH_DOCUMENTS or size >= _BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
    except (zstandard.ZstdError, ValueError, NotFound) as error:
        raise Conflict(f"{contents.file} is damaged: {error}") from None
    if rest or not unpacker.eof or unpacker.unused_data:
        raise Conflict(f"{contents.file} is damaged: it ends elsewhere than it was written to")
    if batch:
        yield batch


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole documents at the beginning (each begins with its length), and what is left."""
    documents, at = [], 0
    while len(data) - at >= 5:
        length = int.from_bytes(data[at : at + 4], "little")
        if not 5 <= length <= _MAX_DOCUMENT:
            raise ValueError("not a document")
        if len(data) - at < length:
            break
        documents.append(data[at : at + length])
        at += length
    return documents, data[at:]


def _add_all(total: Sum, batch: Sequence[bytes]) -> None:
    for document in batch:
        total.add(document)


def _require_same(found: Contents, expected: Contents, what: str) -> None:
    if found != expected:
        raise Conflict(f"{what} {expected.file} is not as it was written")
