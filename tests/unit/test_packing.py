"""Packed answers: the client's choice, its headers, and streams that are not held back."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from api.packing import MIN_BYTES, Packing, chosen

JSON = (b"content-type", b"application/json")
LONG = b'{"a":"' + b"x" * 5000 + b'"}'


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd", "zstd"), ("GZip", "gzip"), ("x-gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"), ("gzip;q=1.0, zstd;q=0.9", "gzip"), ("gzip ; q=0.5", "gzip"),
        ("zstd;q=0, gzip;q=0.001", "gzip"), ("*", "zstd"), ("*;q=0.5, gzip;q=1", "gzip"), ("*;q=0", None),
        ("zstd;q=0, *", "gzip"), ("gzip;q=0", None), ("br", None), ("identity", None), ("", None), (",,", None),
        ("identity, gzip;q=0.5", None), ("identity;q=0.5, gzip;q=0.5", "gzip"), ("identity;q=0, gzip", "gzip"),
        ("gzip;q=1.1", None), ("gzip;q=x", None), ("gzip;q=0.0001", None), ("gzip;q", None), ("gzip;a=b", None),
        ("gzip;q=1;q=0", None), ("gzip;Q=0.3", "gzip"), ("gzipped", None),
    ],
)  # fmt: skip
def test_the_clients_weights_decide(accepted: str, encoding: str | None) -> None:
    assert chosen(accepted) == encoding


@given(st.text(st.sampled_from('gzipstd*q=;, 0.15"identity'), max_size=40))
def test_any_wish_is_understood_somehow(accepted: str) -> None:
    assert chosen(accepted) in (None, "gzip", "zstd")


class Exchange:
    """What came out of `Packing` for an answer in these pieces."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []

    @property
    def body(self) -> bytes:
        return unpacked(self.headers.get("content-encoding"), self.pieces)


def unpacked(encoding: str | None, pieces: list[bytes]) -> bytes:
    """What a client has read after these pieces."""
    if encoding not in ("gzip", "zstd"):
        return b"".join(pieces)
    reader: Any = zlib.decompressobj(31) if encoding == "gzip" else zstandard.ZstdDecompressor().decompressobj()
    return b"".join(reader.decompress(piece) for piece in pieces)


async def answered(
    pieces: list[bytes],
    *headers: tuple[bytes, bytes],
    accepted: str | None = "gzip",
    status: int = 200,
) -> Exchange:
    found = Exchange()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for n, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": n + 1 < len(pieces)})
            if piece:
                # Nothing that was written is held back.
                assert found.body == b"".join(pieces[: n + 1])

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.status = message["status"]
            found.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            assert len(found.headers) == len(message["headers"])
        else:
            found.pieces.append(message["body"])

    asked = [] if accepted is None else [(b"accept-encoding", accepted.encode())]
    await Packing(app)({"type": "http", "headers": asked}, None, send)  # type: ignore[arg-type]
    assert found.body == b"".join(pieces)
    return found


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [MIN_BYTES, 40_000, 400_000])
async def test_an_answer_in_one_piece(encoding: str, size: int) -> None:
    body = b'{"n":[' + b"1," * (size // 2) + b"1]}"
    length = (b"content-length", str(len(body)).encode())
    found = await answered([body], JSON, length, (b"etag", b'"abc"'), accepted=encoding)
    assert found.headers["content-encoding"] == encoding
    assert found.headers["content-length"] == str(len(found.pieces[0]))
    assert (found.headers["etag"], found.headers["vary"]) == ('W/"abc"', "Accept-Encoding")
    assert len(found.pieces[0]) < len(body) / 5


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@given(pieces=st.lists(st.binary(max_size=200) | st.just(b"x" * 50_000), min_size=2, max_size=8))
async def test_a_stream_goes_out_as_it_comes_in(encoding: str, pieces: list[bytes]) -> None:
    kind = (b"content-type", b"application/x-ndjson")
    found = await answered(pieces, kind, (b"content-length", b"7"), accepted=encoding)
    assert found.headers == {
        "content-type": "application/x-ndjson", "content-encoding": encoding, "vary": "Accept-Encoding",
    }  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-type", b"text/event-stream; charset=utf-8")],
        [(b"content-type", b"application/vnd.apache.parquet")],
        [(b"content-type", b"image/png")],
        [],
        [JSON, (b"content-encoding", b"br")],
        [JSON, (b"cache-control", b"private, no-transform")],
    ],
)
async def test_what_is_not_to_be_packed_passes_as_it_is(headers: list[tuple[bytes, bytes]]) -> None:
    for pieces in ([LONG], [LONG, LONG]):
        found = await answered(pieces, *headers)
        assert found.pieces == pieces
        assert found.headers == {name.decode(): value.decode() for name, value in headers}


KINDS = (
    "application/json", "application/problem+json", "application/x-ndjson", "text/csv", "text/plain; version=0.0.4",
    "text/html", "text/javascript", "image/svg+xml",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_text_is_packed(kind: str) -> None:
    assert (await answered([LONG], (b"content-type", kind.encode()))).headers["content-encoding"] == "gzip"


async def test_small_answers_and_those_that_grow_stay_as_they_are() -> None:
    import os

    for body in (LONG[: MIN_BYTES - 1], os.urandom(MIN_BYTES), b""):
        found = await answered([body], JSON, (b"etag", b'"abc"'))
        assert found.pieces == [body]
        assert found.headers == {"content-type": "application/json", "etag": '"abc"', "vary": "Accept-Encoding"}


async def test_who_does_not_ask_gets_it_as_it_is() -> None:
    for accepted in (None, ""):
        assert (await answered([LONG], JSON, accepted=accepted)).headers == {"content-type": "application/json"}
    found = await answered([LONG], JSON, (b"vary", b"accept-encoding"), accepted="br")
    assert found.headers == {"content-type": "application/json", "vary": "accept-encoding"}


async def test_what_has_not_changed_keeps_its_name() -> None:
    found = await answered([b""], (b"etag", b'"abc"'), status=304)
    assert (found.status, found.headers) == (304, {"etag": '"abc"', "vary": "Accept-Encoding"})
