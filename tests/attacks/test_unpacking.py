"""Packed bodies that explode, at the unpacking itself: how much of each is ever in memory."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from typing import Final

import pytest
import zstandard

from api import bodies
from core.errors import Invalid, OcelotError, TooLarge
from tests.figures import record

MIB: Final = 1024 * 1024
LIMIT: Final = 4 * MIB


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 9)


def _zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=19).compress(data)


BOMBS: Final[dict[str, tuple[str, Callable[[], bytes]]]] = {
    "gzip, 64 MiB of zeros": ("gzip", lambda: _gzip(bytes(64 * MIB))),
    "gzip, in 17 members": ("gzip", lambda: _gzip(bytes(MIB // 4)) * 17),
    "gzip, in 20,000 members": ("gzip", lambda: _gzip(b"a") * 20_000),
    "gzip in gzip": ("gzip", lambda: _gzip(_gzip(bytes(64 * MIB)) + _gzip(bytes(64 * MIB)))),
    "zstd, 256 MiB of zeros": ("zstd", lambda: _zstd(bytes(256 * MIB))),
    "zstd, in 5 frames": ("zstd", lambda: _zstd(bytes(MIB)) * 5),
    "zstd, in 20,000 frames": ("zstd", lambda: _zstd(b"a") * 20_000),
    "zstd, a window of 2 GiB": ("zstd", lambda: b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00"),
    "zstd in gzip": ("gzip", lambda: _gzip(_zstd(bytes(64 * MIB)))),
}
SMALL: Final = {"gzip in gzip", "zstd in gzip"}
"""One layer is taken off and no second one: what is left is small, and no JSON."""


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_never_fills_memory(request: pytest.FixtureRequest, kind: str) -> None:
    encoding, make = BOMBS[kind]
    bomb = make()
    tracemalloc.start()
    try:
        if kind in SMALL:
            assert len(bodies.unpack(encoding, bomb, LIMIT)) < MIB
        else:
            with pytest.raises((TooLarge, Invalid)):
                bodies.unpack(encoding, bomb, LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The body at its bound, the piece that went over it (4 MiB of zstd at most), and what the buffer grew by.
    assert peak < 4 * LIMIT, f"{peak // MIB} MiB"
    record(request, "bombs", bomb=kind, packed=f"{len(bomb):,}", peak_MiB=f"{peak / MIB:.1f}")


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,zstd", "zstd, gzip", "compress", "br", ""])
def test_one_layer_of_two_kinds_is_taken_and_nothing_else(encoding: str) -> None:
    with pytest.raises(OcelotError) as refused:
        bodies.unpack(encoding, _gzip(_gzip(b"{}")), LIMIT)
    assert refused.value.code == "unsupported_encoding"


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", _gzip), ("zstd", _zstd)])
def test_what_is_at_the_bound_is_taken_and_a_byte_more_is_not(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    assert bodies.unpack(encoding, pack(bytes(LIMIT)), LIMIT) == bytes(LIMIT)
    with pytest.raises(TooLarge):
        bodies.unpack(encoding, pack(bytes(LIMIT + 1)), LIMIT)
