"""Answers packed as gzip or zstd for clients that ask for it: pure ASGI, nothing held back.

An answer in one piece is packed whole; a stream is packed piece by piece, each flushed, so that what was written is on
its way. Server-sent events pass as they are. A pack of more than `_IN_THREAD` bytes is made off the event loop.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import zstandard
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MIN_BYTES: Final = 1024
"""Smaller answers gain nothing."""
UNPACKED: Final = {"Cache-Control": "no-store, no-transform"}
"""Headers of an answer that carries a credential: see docs/api.md on packed answers."""
# A page of a megabyte takes zlib 16 ms at this level and 21 ms at its default, for a twentieth less; zstd takes 2 ms,
# and at its own default 7 ms for nothing less.
_GZIP_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 1
_GZIP: Final = 31
"""zlib's window bits for the gzip format."""
_IN_THREAD: Final = 32 * 1024
_KINDS: Final = re.compile(
    rb"application/(?:[a-z.+-]*\+)?json|application/(?:x-)?ndjson|application/xml|image/svg\+xml"
    rb"|(?:text|application)/javascript|text/(?!event-stream)[a-z-]+"
)
_WEIGHT: Final = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
_Headers = list[tuple[bytes, bytes]]


_Piece = Callable[[bytes, bool], bytes]
"""Packs the next piece of a stream, the last one or not: what it returns makes all so far readable."""


class Packing:
    """Wraps the application; a request without `Accept-Encoding` does not notice it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _header(scope, b"accept-encoding") if scope["type"] == "http" else b""
        if not asked:
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Answer(send, chosen(asked.decode("latin-1"))).send)


class _Answer:
    """One answer on its way."""

    def __init__(self, send: Send, encoding: str | None) -> None:
        self._send = send
        self._encoding = encoding
        self._start: Message | None = None
        self._piece: _Piece | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] != "http.response.body":
            await self._send(message)
        elif self._start is not None:
            await self._first(message)
        elif self._piece is not None:
            await self._next(message)
        else:
            await self._send(message)

    async def _begin(self, start: Message) -> None:
        """Keep the start until the first piece of the body tells how much there is, unless nothing can be packed."""
        headers: _Headers = start["headers"]
        if start["status"] == 304:
            _vary(headers)
        if not _is_packable(start["status"], headers):
            await self._send(start)
            return
        _vary(headers)
        if self._encoding is None:
            await self._send(start)
            return
        self._start = start

    async def _first(self, message: Message) -> None:
        start, self._start = self._start, None
        assert start is not None and self._encoding is not None  # noqa: S101, PT018 - `_begin` kept it
        body, more = message.get("body", b""), message.get("more_body", False)
        if not more:
            packed = await _run(_WHOLES[self._encoding], body) if len(body) >= MIN_BYTES else body
            if len(packed) < len(body):
                _mark(start["headers"], self._encoding, len(packed))
                message = {**message, "body": packed}
            await self._send(start)
            await self._send(message)
            return
        self._piece = _STREAMS[self._encoding]()
        _mark(start["headers"], self._encoding, None)
        await self._send(start)
        await self._next(message)

    async def _next(self, message: Message) -> None:
        assert self._piece is not None  # noqa: S101 - the caller looked
        body, more = message.get("body", b""), message.get("more_body", False)
        if more and not body:
            return
        packed = await _run(self._piece, body, not more)
        await self._send({**message, "body": packed})


@lru_cache(maxsize=64)
def chosen(accepted: str) -> str | None:
    """The encoding that an `Accept-Encoding` prefers (RFC 9110, section 12.5.3); None for none that is packed here.

    Of equal ones zstd comes first. What is not well formed is not accepted.
    """
    weights: dict[str, float] = {}
    for item in accepted.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weight = _WEIGHT.fullmatch(parameters[0]) if len(parameters) == 1 else None
        weights[name.removeprefix("x-")] = float(weight[1]) if weight else 0.0 if parameters else 1.0
    others = weights.get("*", 0.0)
    best = max(_WHOLES, key=lambda name: weights.get(name, others))
    weight_of_best = weights.get(best, others)
    return best if weight_of_best and weight_of_best >= weights.get("identity", 0.0) else None


def is_packed(size: int, accepted: str) -> bool:
    """Whether a JSON answer of so many bytes, in one piece, comes packed to who sends this `Accept-Encoding`."""
    return size >= MIN_BYTES and bool(accepted) and chosen(accepted) is not None


def _header(scope: Scope, name: bytes) -> bytes:
    return b",".join(value for key, value in scope["headers"] if key == name)


def _is_packable(status: int, headers: _Headers) -> bool:
    named = dict(headers)
    if status in (204, 206, 304) or b"content-encoding" in named or b"no-transform" in named.get(b"cache-control", b""):
        return False
    kind = named.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return _KINDS.fullmatch(kind) is not None


def _mark(headers: _Headers, encoding: str, length: int | None) -> None:
    """Make the headers those of the packed form. Its bytes are others, so a strong ETag becomes a weak one."""
    kept = [(name, value) for name, value in headers if name not in (b"content-length", b"accept-ranges")]
    headers[:] = [(name, _weak(value) if name == b"etag" else value) for name, value in kept]
    headers.append((b"content-encoding", encoding.encode()))
    if length is not None:
        headers.append((b"content-length", str(length).encode()))


def _weak(etag: bytes) -> bytes:
    return etag if etag.startswith(b"W/") else b"W/" + etag


def _vary(headers: _Headers) -> None:
    for name, value in headers:
        if name == b"vary" and b"accept-encoding" in value.lower():
            return
    headers.append((b"vary", b"Accept-Encoding"))


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, _GZIP_LEVEL, _GZIP)


def _zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(body)


def _gzip_stream() -> _Piece:
    made = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
    return lambda body, last: made.compress(body) + made.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


def _zstd_stream() -> _Piece:
    made = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()
    block, end = zstandard.COMPRESSOBJ_FLUSH_BLOCK, zstandard.COMPRESSOBJ_FLUSH_FINISH
    return lambda body, last: made.compress(body) + made.flush(end if last else block)


_WHOLES: Final = {"zstd": _zstd, "gzip": _gzip}
_STREAMS: Final = {"zstd": _zstd_stream, "gzip": _gzip_stream}


async def _run(work: Callable[..., bytes], body: bytes, *more: bool) -> bytes:
    if len(body) > _IN_THREAD:
        return await asyncio.to_thread(work, body, *more)
    return work(body, *more)
