"""Packing the parts of a file."""

from __future__ import annotations

import zlib
from typing import Final, Protocol

import zstandard

PACKINGS: Final = ("gzip", "zstd")
EXTENSIONS: Final = {None: "", "gzip": ".gz", "zstd": ".zst"}


class Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes:
        """What is left; the packer is used up."""


def packer(name: str) -> Packer:
    """A packer of one of `PACKINGS`. Its output may follow another's: members and frames make one file."""
    if name == "gzip":
        return zlib.compressobj(4, zlib.DEFLATED, 31)
    return zstandard.ZstdCompressor(level=3).compressobj()
