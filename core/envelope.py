"""An envelope: the unit that the queue carries, many events of any tenants packed into one message.

Wire form, version 1: one byte of version, a big-endian u32 with the header's length, the header (MessagePack map),
then one zstd frame of the records (a MessagePack array of arrays). The header alone tells what is inside.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import msgspec
import zstandard

from core.errors import UndecodableEnvelope

VERSION: Final = 1
# 48 KiB of zstd is 64 KiB in base64: one billing unit of SQS.
TARGET_BYTES: Final = 48 * 1024
# Even incompressible records of this many bytes fit SQS's 1 MiB in base64, and a decoder's memory is bounded.
MAX_RAW_BYTES: Final = 640 * 1024
_MAX_UNPACKED_BYTES: Final = 2 * MAX_RAW_BYTES
_PREFIX: Final = struct.Struct(">BI")
# Level 1 packs real CloudTrail events 8.4 times; level 3 costs a third more and gains nothing. Its own window of
# 512 KiB does not fit the processor's second cache beside the rest: 256 KiB packs as well and takes a fifth less.
_PACKING: Final = zstandard.ZstdCompressionParameters.from_level(1, window_log=18)


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One event in an envelope. `content` is the digest of what the client sent, for events with a client's key."""

    tenant_id: str
    placement: str
    body: bytes
    content: bytes | None = None


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Who made the envelope and what is in it.

    A producer's `sequence` counts from 1 without a gap, which makes a lost envelope provable.
    """

    id: str
    producer: str
    sequence: int
    made_at: int
    """Microseconds; no event in this envelope, or in a later one of the same producer, was received before it."""
    events: dict[str, int]
    """Events per tenant."""
    trace: str | None = None
    """W3C `traceparent`."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_header: Final = msgspec.msgpack.Decoder(Header).decode
_decode_records: Final = msgspec.msgpack.Decoder(list[Record]).decode


def pack(header: Header, records: Sequence[Record]) -> bytes:
    """The message of an envelope; the same arguments always give the same bytes."""
    head = _encode(header)
    # A compressor is not safe to share between threads, and making one costs 1 us an envelope.
    body = zstandard.ZstdCompressor(compression_params=_PACKING).compress(_encode(records))
    return _PREFIX.pack(VERSION, len(head)) + head + body


def unpack(message: bytes) -> tuple[Header, list[Record]]:
    """The inverse of `pack`; raises `UndecodableEnvelope` for anything else, in bounded memory."""
    header, offset = _header(message)
    try:
        raw = zstandard.ZstdDecompressor().decompress(message[offset:], max_output_size=_MAX_UNPACKED_BYTES)
        records = _decode_records(raw)
    except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableEnvelope(f"damaged records: {error}") from None
    if len(records) != sum(header.events.values()):
        raise UndecodableEnvelope("the header counts other events than there are")
    return header, records


def peek(message: bytes) -> Header:
    """The header alone; raises `UndecodableEnvelope`."""
    return _header(message)[0]


def _header(message: bytes) -> tuple[Header, int]:
    if len(message) < _PREFIX.size:
        raise UndecodableEnvelope("too short for an envelope")
    version, length = _PREFIX.unpack_from(message)
    if version != VERSION:
        raise UndecodableEnvelope(f"envelope version {version} is not known")
    end = _PREFIX.size + length
    try:
        return _decode_header(message[_PREFIX.size : end]), end
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableEnvelope(f"damaged header: {error}") from None
