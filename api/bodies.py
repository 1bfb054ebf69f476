"""Reading a request's body within bounds: unpacking that cannot explode."""

from __future__ import annotations

import asyncio
import codecs
import io
import zlib
from typing import Final

import zstandard
from starlette.requests import ClientDisconnect, Request

from api import audit
from core.bulk import MAX_EVENTS, Form
from core.errors import Invalid, TooLarge

# A body that stops coming holds what it was admitted with, and four of unknown length shut their tenant out.
STALL_SECONDS: Final = 30.0
WHOLE: Final = "ocelot.whole_body"
"""In a request's ASGI scope, when its body had come whole with its head: reading it needs no patience."""
_CHUNK: Final = 64 * 1024
_GZIP_READ: Final = 16 * 1024
# Four bytes of zstd can stand for 128 KiB: a piece of this size unpacks to 4 MiB at most.
_ZSTD_READ: Final = 128
_MAX_WINDOW: Final = 8 * 1024 * 1024
_JSON_TYPES: Final = frozenset({"", "application/json"})
_NDJSON_TYPES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})


def declared_size(request: Request, limit: int) -> int:
    """How many bytes to hold for the body: what it declares (unpacked it may reach `limit`), else `limit`."""
    length = request.headers.get("content-length")
    if length is None or "content-encoding" in request.headers:
        return limit
    if not length.isdigit():
        raise Invalid("Content-Length is no number", code="bad_request")
    if int(length) > limit:
        raise _too_large(limit)
    return int(length)


async def read(request: Request, limit: int) -> bytes:
    """`unpacked`, of valid UTF-8."""
    body = await unpacked(request, limit)
    check_utf8(body)
    audit.asked(body)
    return body


async def unpacked(request: Request, limit: int) -> bytes:
    """The unpacked body, at most `limit` bytes; raises when it stops coming for `STALL_SECONDS`."""
    parts = await _received(request, limit)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    parts.clear()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        body = unpack(encoding, body, limit)
    return body


async def _received(request: Request, limit: int) -> list[bytes]:
    """The body as it came, in parts; raises when it is over `limit`, stops coming, or its client goes away."""
    if WHOLE in request.scope:  # a timer takes a tenth of the time of sending one event
        message = await request.receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            if len(message["body"]) > limit:
                raise _too_large(limit)
            return [message["body"]]
        raise _gone_away()
    parts: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STALL_SECONDS) as patience:
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                parts.append(chunk)
                patience.reschedule(loop.time() + STALL_SECONDS)
    except ClientDisconnect:
        raise _gone_away() from None
    except TimeoutError:
        raise Invalid(f"the body stopped for {STALL_SECONDS:.0f} seconds", code="body_timeout") from None
    return parts


def _gone_away() -> Invalid:
    return Invalid("the client went away", code="client_disconnected")


def unpack(encoding: str, packed: bytes, limit: int) -> bytes:
    """`packed` without its content encoding; stops at `limit` however small the bomb."""
    try:
        match encoding:
            case "gzip" | "x-gzip":
                return _gunzip(packed, limit)
            case "zstd":
                return _unzstd(packed, limit)
    except (zlib.error, zstandard.ZstdError):
        raise Invalid(f"the body is not valid {encoding}", code="bad_encoding") from None
    raise Invalid("Content-Encoding may be gzip or zstd", code="unsupported_encoding")


def check_utf8(body: bytes) -> None:
    """Raise unless `body` is UTF-8."""
    if not is_utf8(body):
        raise Invalid("the body is not UTF-8", code="invalid_utf8")


def is_utf8(body: bytes) -> bool:
    """Whether `body` is UTF-8; decodes a large one in pieces, so that no second copy of it stands in memory."""
    if len(body) <= _CHUNK:
        try:
            body.decode()
        except UnicodeDecodeError:
            return False
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(body)
    try:
        for start in range(0, len(body), _CHUNK):
            decoder.decode(view[start : start + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def media_type(request: Request) -> str:
    """The body's media type in lower case without parameters; "" when none is given."""
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()


def form_of(request: Request) -> Form:
    """The form that a bulk's Content-Type promises."""
    kind = media_type(request)
    if kind in _NDJSON_TYPES:
        return Form.LINES
    if kind in _JSON_TYPES:
        return Form.JSON
    raise Invalid("Content-Type may be application/json or application/x-ndjson", code="unsupported_media_type")


def _gunzip(packed: bytes, limit: int) -> bytes:
    """All members one after another; read in pieces, since what is left over is copied at the end of each member."""
    out = io.BytesIO()
    members, member = 0, None
    for start in range(0, len(packed), _GZIP_READ):
        rest = packed[start : start + _GZIP_READ]
        while rest:
            if member is None or member.eof:
                member, members = zlib.decompressobj(wbits=31), members + 1
                _check_members(members)
            out.write(member.decompress(rest, limit + 1 - out.tell()))
            if out.tell() > limit:
                raise _too_large(limit)
            rest = member.unused_data if member.eof else member.unconsumed_tail
    if member is not None and not member.eof:
        raise zlib.error("cut off")
    return out.getvalue()


def _unzstd(packed: bytes, limit: int) -> bytes:
    """All frames one after another. (zstandard's own reader takes a body that was cut off for one that ended.)"""
    out = io.BytesIO()
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    frames, frame = 0, None
    for start in range(0, len(packed), _ZSTD_READ):
        rest = packed[start : start + _ZSTD_READ]
        while rest:
            if frame is None or frame.eof:
                frame, frames = decompressor.decompressobj(), frames + 1
                _check_members(frames)
            out.write(frame.decompress(rest))
            if out.tell() > limit:
                raise _too_large(limit)
            rest = frame.unused_data if frame.eof else b""
    if frame is not None and not frame.eof:
        raise zstandard.ZstdError("cut off")
    return out.getvalue()


def _check_members(count: int) -> None:
    if count > MAX_EVENTS:
        raise Invalid(f"a packed body may have {MAX_EVENTS} members", code="bad_encoding")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"a body may have {limit} bytes, unpacked")
