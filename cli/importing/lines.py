"""The lines of a file or of stdin, plain, gzip or zstd (told by the first bytes), in constant memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, cast

import zstandard

from cli.context import MISUSED, UserError
from core.event import MAX_EVENT_BYTES

STDIN: Final = "-"
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_BOM: Final = b"\xef\xbb\xbf"
_CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank, without its ending. `data` is None where it is longer than an event may be."""

    number: int
    data: bytes | None


class Lines:
    """Iterates the lines of `name` (`-` for stdin); raises `UserError` where it cannot be read to its end.

    `size` is the bytes of the file as stored, None for a pipe; `position` how many of these have been read.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        try:
            # A reader of its own: the interpreter's stdin would be waited for when it exits.
            raw = open(0, "rb", buffering=0, closefd=False) if name == STDIN else open(name, "rb", buffering=0)  # noqa: SIM115, PTH123
        except OSError as error:
            raise UserError(f"{name}: {error.strerror}", MISUSED) from None
        self._raw = raw
        self.size = Path(name).stat().st_size if name != STDIN and Path(name).is_file() else None
        self._stream = self._unpacked(raw)

    @property
    def position(self) -> int:
        return self._raw.tell() if self.size is not None else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # A pipe may have a thread waiting in it, and closing would wait for that thread.
        if self.size is not None:
            self._stream.close()
            self._raw.close()

    def __iter__(self) -> Iterator[Line]:
        number = 0
        try:
            while data := self._stream.readline(MAX_EVENT_BYTES + 2):
                number += 1
                whole = data.endswith(b"\n") or len(data) < MAX_EVENT_BYTES + 2
                if not whole:
                    self._skip_to_next()
                if number == 1:
                    data = data.removeprefix(_BOM)
                data = data.strip(b" \t\r\n")
                if not whole or len(data) > MAX_EVENT_BYTES:
                    yield Line(number, None)
                elif data:
                    yield Line(number, data)
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise UserError(f"{self._name}: damaged after line {number}: {error}") from None
        except OSError as error:
            raise UserError(f"{self._name}: {error.strerror or error}") from None

    def _skip_to_next(self) -> None:
        while (rest := self._stream.readline(_CHUNK)) and not rest.endswith(b"\n"):
            pass

    @staticmethod
    def _unpacked(raw: io.FileIO) -> IO[bytes]:
        buffered = io.BufferedReader(raw, _CHUNK)
        head = buffered.peek(4)[:4]
        if head.startswith(_GZIP):
            return cast("IO[bytes]", gzip.GzipFile(fileobj=buffered))
        if head == _ZSTD:
            return io.BufferedReader(_Zstd(buffered), _CHUNK)
        return buffered


class _Zstd(io.RawIOBase):
    """The contents of zstd frames one after another.

    zstandard's own stream_reader takes a file that was cut off for one that ended: part of a log would be imported
    as if it were all of it.
    """

    # Small, since what it unpacks to is held whole: real logs pack 10 to 40 times.
    _READ: Final = 16 * 1024

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._within = False
        self._left = memoryview(b"")
        self._unread = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._left:
            packed = self._unread or self._packed.read(self._READ)
            if not packed:
                if self._within:
                    raise EOFError("the file ends within a zstd frame")
                return 0
            self._left = memoryview(self._frame.decompress(packed))
            self._within, self._unread = True, b""
            if self._frame.eof:
                self._unread = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._within = False
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count
