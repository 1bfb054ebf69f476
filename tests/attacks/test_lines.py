"""What others write reaches a log line, a request's id or an origin's check as a value and nothing more."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.websockets import WebSocket

from api.middleware import _ids
from api.routes.stream import refuse_foreign_origin
from core import telemetry
from core.errors import Forbidden


@given(st.text(max_size=80), st.text(max_size=20))
@example('a\r\n{"level": "CRITICAL", "message": "forged"}', "x")
@example("\x1b[2K\x1b[1Aerased", "\u2028\u2029\x85\x0b\x0c")
@example("\u202egnihtemos", "\0")
def test_no_text_forges_a_line_of_the_log(text: str, name: str) -> None:
    formatter = telemetry._JsonLines()
    record = logging.LogRecord("a", logging.INFO, "", 0, "parked %s of %r", (text, name), None)
    try:
        raise ValueError(text)
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    line = formatter.format(record)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f"parked {text} of {name!r}"


def _with(**headers: bytes) -> dict[str, Any]:
    return {"headers": [(name.replace("_", "-").encode(), value) for name, value in headers.items()]}


@given(st.binary(max_size=150))
@example(b"good-1.2:3_4")
@example(b"a\r\nX-Evil: 1")
@example(b"a" * 129)
@example(b"")
def test_a_clients_request_id_is_plain_or_replaced(value: bytes) -> None:
    made, _ = _ids(_with(x_request_id=value))
    assert made.isascii()
    assert made.isprintable()
    assert not set(made) & set(" \r\n\t,;\"'<>")
    assert 1 <= len(made) <= 128
    if value == b"good-1.2:3_4":
        assert made == value.decode()


def _opens(origin: str, host: str = "log.example", allowed: str | None = None, public: str | None = None) -> bool:
    scope = {"type": "websocket", "headers": [(b"host", host.encode()), (b"origin", origin.encode("latin-1"))]}
    settings = SimpleNamespace(stream_origins=allowed, public_url=public)
    try:
        refuse_foreign_origin(
            WebSocket(scope, cast(Any, None), cast(Any, None)), cast(Any, SimpleNamespace(settings=settings))
        )
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "log.example", "https://log.example.evil", "https://evil.example/log.example",
     "https://log.example@evil.example", "https://log.example:444", "http://[", "http://]", "http://[::1", "https://",
     "file://", "https://evil.example#log.example", "https://evil.example?log.example", "\xff", "https://LOG.EXAMPLE.evil"],
)  # fmt: skip
def test_a_page_of_another_origin_opens_no_stream(origin: str) -> None:
    assert not _opens(origin, allowed="https://app.example,https://other.example", public="https://log.example:8443")


def test_a_page_of_an_origin_that_is_named_opens_one() -> None:
    assert _opens("https://log.example")
    assert _opens("https://app.example", allowed="https://other.example, https://app.example/")
    assert _opens("https://api.example", public="https://api.example/base")
    assert not _opens("https://app.example")


@given(st.text(st.characters(max_codepoint=255), max_size=30))
def test_any_origin_is_refused_or_the_own(origin: str) -> None:
    assert not _opens("https://" + origin) or origin.lower().split("/")[0].split("?")[0].split("#")[0] == "log.example"
