"""The server's protocol on a socket: what is no HTTP, or does not come in time, is refused in Ocelot's own form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import websockets
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from api.bodies import WHOLE
from api.protocol import BoundedProtocol, OneWrite

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
MALFORMED = [
    b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /a HTTP/9.9\r\n\r\n", b"GET\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost x\r\n\r\n", b"GET /a HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", POST + b"zz\r\n",
    b"POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
]  # fmt: skip


class Swift(BoundedProtocol):
    head_seconds = 0.2


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the whole body; `/slow` after a while more. A WebSocket gets a word."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        await asyncio.sleep(0.5)
        await send({"type": "websocket.send", "text": "word"})
        return
    body, whole = b"", WHOLE in scope
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message.get("more_body"):
            break
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    answer = b"answer %d" % len(body)
    if scope["path"] == "/whole":
        answer = b"whole" if whole else b"parts"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(answer))]})
    if scope["path"] == "/late":
        await asyncio.sleep(0.5)
    await send({"type": "http.response.body", "body": answer})


@asynccontextmanager
async def serving(protocol: type[BoundedProtocol]) -> AsyncIterator[int]:
    """The port of a server with this protocol."""
    config = Config(echo, http=protocol, log_config=None, access_log=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def connected(protocol: type[BoundedProtocol] = BoundedProtocol) -> AsyncIterator[Any]:
    async with serving(protocol) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(20):
                yield reader, writer
        finally:
            writer.close()


def refusal(answer: bytes, status: int, code: str) -> None:
    """The whole of `answer` is one refusal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert headers["content-type"] == "application/problem+json"
    assert (headers["connection"], headers["content-length"]) == ("close", str(len(body)))
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == headers["x-request-id"]
    assert problem["title"] != "Error"


@pytest.mark.parametrize("data", MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_no_http_is_a_problem(data: bytes) -> None:
    async with connected() as (reader, writer):
        writer.write(data)
        refusal(await reader.read(), 400, "bad_request")


async def test_a_head_too_large_is_a_problem() -> None:
    async with connected() as (reader, writer):
        for part in (GET[:-2] + b"X-A: ", b"a" * 40_000, b"a" * 40_000):
            writer.write(part)
            await asyncio.sleep(0.05)
        refusal(await reader.read(), 431, "head_too_large")


@pytest.mark.parametrize("start", [b"G", GET[:-1], GET[:-2] + b"X-A: a"], ids=["a byte", "all but one", "a header"])
async def test_a_head_that_stays_away_is_refused(start: bytes) -> None:
    async with connected(Swift) as (reader, writer):
        writer.write(start)
        refusal(await reader.read(), 408, "head_timeout")


async def test_a_head_a_byte_at_a_time_gets_no_more_time() -> None:
    async with connected(Swift) as (reader, writer):
        answer = asyncio.create_task(reader.read())
        for byte in GET * 1000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.05)
            if answer.done():
                break
        refusal(await answer, 408, "head_timeout")


@pytest.mark.parametrize("start", [b"", b"\r\n"], ids=["silent", "an empty line"])
async def test_a_connection_without_a_request_ends_without_a_word(start: bytes) -> None:
    async with connected(Swift) as (reader, writer):
        writer.write(start)
        assert await reader.read() == b""


async def test_a_second_head_has_its_deadline_too() -> None:
    async with connected(Swift) as (reader, writer):
        writer.write(GET)
        assert (await reader.readuntil(b"answer 0")).startswith(b"HTTP/1.1 200")
        writer.write(GET[:9])
        refusal(await reader.read(), 408, "head_timeout")


async def test_bodies_and_answers_may_take_longer_than_a_head() -> None:
    async with connected(Swift) as (reader, writer):
        writer.write(POST)
        for _ in range(3):
            await asyncio.sleep(0.15)
            writer.write(b"1\r\na\r\n")
        writer.write(b"0\r\n\r\n")
        await reader.readuntil(b"answer 3")
        writer.write(GET.replace(b"/a", b"/slow") + GET[:-2])
        await reader.readuntil(b"answer 0")  # the second was not whole all that time
        writer.write(b"\r\n")
        await reader.readuntil(b"answer 0")


async def test_an_answer_under_way_is_completed_before_the_end() -> None:
    async with connected() as (reader, writer):
        writer.write(GET.replace(b"/a", b"/slow"))
        await asyncio.sleep(0.1)
        writer.write(b"nonsense\r\n\r\n" + GET)
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"answer 0")


async def test_a_websocket_is_left_alone() -> None:
    async with serving(Swift) as port, websockets.connect(f"ws://127.0.0.1:{port}/a") as socket:
        assert await socket.recv() == "word"


async def test_head_and_body_leave_in_one_write_and_a_late_body_does_not_hold_its_head() -> None:
    sent: list[bytes] = []
    transport: Any = SimpleNamespace(write=sent.append, close=lambda: sent.append(b"closed"), is_closing=lambda: False)
    answer = OneWrite(transport, asyncio.get_running_loop())
    for piece in (b"head,", b"body,", b"more"):
        answer.write(piece)
    assert sent == [b"head,body,", b"more"]
    OneWrite(transport, asyncio.get_running_loop()).write(b"alone")
    await asyncio.sleep(0)
    assert sent[2:] == [b"alone"]
    cut = OneWrite(transport, asyncio.get_running_loop())
    cut.write(b"head")
    cut.close()
    await asyncio.sleep(0)
    assert sent[3:] == [b"head", b"closed"]
    async with connected() as (reader, writer):
        writer.write(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(0.4):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(len(b"answer 0")) == b"answer 0"


async def test_a_body_that_came_with_its_head_is_known_to_be_whole() -> None:
    head = b"POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
    async with connected() as (reader, writer):
        writer.write(head + b"abcd")
        assert (await reader.readuntil(b"whole")).startswith(b"HTTP/1.1 200 ")
        writer.write(head + b"ab")
        await asyncio.sleep(0.1)
        writer.write(b"cd")
        assert (await reader.readuntil(b"parts")).startswith(b"HTTP/1.1 200 ")
