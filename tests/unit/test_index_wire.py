"""The connection to the index, against a server that answers byte by byte what a test tells it."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy.exceptions import ConnectionError as NotConnected
from opensearchpy.exceptions import ConnectionTimeout, TransportError

from core.adapters.index import wire
from core.adapters.index.wire import WireConnection

BODY = '{"name":"Zoë"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n" + BODY.encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n" + BODY.encode()[:6] + b"\r\n9\r\n"
CHUNKED += BODY.encode()[6:] + b"\r\n0\r\n\r\n"
TO_ITS_END = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + BODY.encode()
CLOSING = OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n", 1)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + OK
WHOLE = {"length": OK, "chunked": CHUNKED, "closing": CLOSING, "interim": INTERIM}


@dataclass
class Scripted:
    """Answers each request with the next script's pieces, the last one for ever; None in a script closes."""

    scripts: list[Sequence[bytes | None]]
    port: int = 0
    connections: int = 0
    open: int = 0
    requests: list[bytes] = field(default_factory=list)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                await self.may_answer.wait()
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                for piece in script:
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def scripted(*scripts: Sequence[bytes | None], **options: Any) -> AsyncIterator[tuple[Scripted, WireConnection]]:
    made = Scripted(list(scripts))
    made.may_answer.set()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    connection = WireConnection(host="127.0.0.1", port=made.port, **{"timeout": 10} | options)
    try:
        yield made, connection
    finally:
        made.may_answer.set()
        await connection.close()
        server.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", WHOLE.values(), ids=WHOLE)
async def test_an_answer_in_any_form_is_read_whole(answer: bytes) -> None:
    async with scripted([answer]) as (server, connection):
        for _ in range(2):
            status, headers, text = await connection.perform_request("GET", "/x")
            assert (status, text) == (200, BODY)
            assert all(name == name.lower() for name in headers)
        assert server.connections == (2 if answer is CLOSING else 1)


async def test_an_answer_may_end_with_its_connection() -> None:
    async with scripted([TO_ITS_END, None]) as (server, connection):
        for n in (1, 2):
            assert (await connection.perform_request("GET", "/x")).text == BODY
            assert server.connections == n


@given(
    answer=st.sampled_from([OK, CHUNKED, INTERIM]),
    cuts=st.lists(st.integers(0, max(len(OK), len(CHUNKED), len(INTERIM))), max_size=6),
)
async def test_an_answer_cut_anywhere_is_the_same(answer: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    pieces = [answer[start:end] for start, end in pairwise(places)]
    async with scripted(pieces) as (_, connection):
        assert (await connection.perform_request("GET", "/x")).text == BODY
        assert (await connection.perform_request("GET", "/x")).text == BODY


BROKEN: dict[str, Sequence[bytes | None]] = {
    "closed before the answer": [None],
    "cut off in the head": [OK[:30], None],
    "cut off in the body": [OK[:-1], None],
    "cut off between chunks": [CHUNKED[:-5], None],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.6\r\n"],
    "another protocol": [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
    "no UTF-8": [OK[:-1] + b"\xff"],
    "two lengths": [OK.replace(b"Content-Length", b"Content-Length: 3\r\nContent-Length")],
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
async def test_a_broken_answer_is_none_and_its_connection_is_not_used_again(script: Sequence[bytes | None]) -> None:
    async with scripted(script, [OK]) as (server, connection):
        with pytest.raises(NotConnected):
            await connection.perform_request("GET", "/x")
        assert (await connection.perform_request("GET", "/x")).text == BODY
        assert server.connections == 2
        await until(lambda: server.open == 1)


async def test_a_second_answer_is_nobodys() -> None:
    """What came after an answer must never be taken for the answer to the next request."""
    other = OK.replace(BODY.encode(), b'{"name":"other"}').replace(b"15", b"16")
    for script in ([OK + other], [OK + other[:40]], [OK, other]):
        async with scripted(script, [OK]) as (server, connection):
            assert (await connection.perform_request("GET", "/x")).text == BODY
            await asyncio.sleep(0.05)
            assert (await connection.perform_request("GET", "/x")).text == BODY
            assert server.connections == 2


async def test_a_second_answers_headers_are_not_the_firsts() -> None:
    async with scripted([OK + b"HTTP/1.1 500 X\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n"]) as (
        _,
        connection,
    ):
        answer = await connection.perform_request("GET", "/x")
        assert answer.headers["content-type"] == "application/json"


async def test_no_answer_in_time() -> None:
    async with scripted([OK]) as (server, connection):
        server.may_answer.clear()
        with pytest.raises(ConnectionTimeout):
            await connection.perform_request("GET", "/x", timeout=0.05)
        server.may_answer.set()
        assert (await connection.perform_request("GET", "/x")).text == BODY
        assert server.connections == 2
        await until(lambda: server.open == 1)


async def test_who_gives_up_takes_no_others_answer_away() -> None:
    async with scripted([OK]) as (server, connection):
        server.may_answer.clear()
        task = asyncio.create_task(connection.perform_request("GET", "/x"))
        await until(lambda: len(server.requests) == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        server.may_answer.set()
        assert (await connection.perform_request("GET", "/x")).text == BODY
        assert server.connections == 2


async def test_no_more_connections_than_may_be_and_each_is_used_again() -> None:
    async with scripted([OK], maxsize=3) as (server, connection):
        server.may_answer.clear()
        asked = [asyncio.create_task(connection.perform_request("GET", f"/{n}")) for n in range(10)]
        await until(lambda: len(server.requests) == 3)
        server.may_answer.set()
        assert [answer.text for answer in await asyncio.gather(*asked)] == [BODY] * 10
        assert (server.connections, len(server.requests)) == (3, 10)


async def test_waiting_for_a_connection_counts_as_waiting() -> None:
    async with scripted([OK], maxsize=1) as (server, connection):
        server.may_answer.clear()
        first = asyncio.create_task(connection.perform_request("GET", "/first"))
        await until(lambda: len(server.requests) == 1)
        with pytest.raises(ConnectionTimeout):
            await connection.perform_request("GET", "/second", timeout=0.05)
        server.may_answer.set()
        assert (await first).text == BODY


async def test_one_that_was_idle_for_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted([OK]) as (server, connection):
        await connection.perform_request("GET", "/x")
        monkeypatch.setattr(wire, "IDLE_SECONDS", 0.0)
        await connection.perform_request("GET", "/x")
        assert server.connections == 2
        await until(lambda: server.open == 1)


async def test_one_that_the_server_closed_meanwhile_is_not_used() -> None:
    async with scripted([OK, None], [OK]) as (server, connection):
        assert (await connection.perform_request("GET", "/x")).text == BODY
        await until(lambda: server.open == 0)
        await asyncio.sleep(0.05)
        assert (await connection.perform_request("GET", "/x")).text == BODY


async def test_one_that_is_just_closing_is_not_used() -> None:
    async with scripted([OK]) as (server, connection):
        await connection.perform_request("GET", "/x")
        [idle] = connection._wires
        idle._transport.close()
        assert (await connection.perform_request("GET", "/x")).text == BODY
        assert server.connections == 2


@pytest.mark.parametrize("script", [[OK], [OK, None], [CHUNKED[:-5], None]], ids=["idle", "closed", "broken"])
async def test_nothing_of_an_answer_is_kept(script: Sequence[bytes | None]) -> None:
    async with scripted(script) as (_, connection):
        made: list[Any] = []
        own = connection._connected

        async def connected() -> Any:
            made.append(await own())
            return made[-1]

        connection._connected = connected  # type: ignore[method-assign]
        with suppress(NotConnected):
            await connection.perform_request("GET", "/x")
        await asyncio.sleep(0.05)
        assert [wire._pieces for wire in made] == [[]]


async def test_nobody_is_there() -> None:
    async with scripted([OK]) as (server, _):
        port = server.port
    with pytest.raises(NotConnected):
        await WireConnection(host="127.0.0.1", port=port).perform_request("GET", "/x")


async def test_an_address_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted([OK]) as (server, _):
        with socket.socket() as deaf, ExitStack() as stack:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            for _ in range(3):  # what is past its backlog is never answered
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(deaf.getsockname())

            def resolved(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
                addresses = (deaf.getsockname(), ("127.0.0.1", server.port))
                return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", each) for each in addresses]

            monkeypatch.setattr(socket, "getaddrinfo", resolved)
            connection = WireConnection(host="two.example", port=server.port, timeout=2.0)
            assert (await connection.perform_request("GET", "/x")).text == BODY
            await connection.close()


@pytest.mark.parametrize("size", [0, 10, 64 * 1024, 64 * 1024 + 1, 5_000_000])
async def test_a_request_arrives_as_it_was_meant(size: int) -> None:
    body = bytes(n % 251 for n in range(size))
    async with scripted([OK], http_auth="ann:s:cret", url_prefix="under") as (server, connection):
        await connection.perform_request(
            "POST", "/a/_bulk", {"q": "x y", "n": 1}, body, headers={"content-type": "t/x"}
        )
        head, _, sent = server.requests[0].partition(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")
        assert line == "POST /under/a/_bulk?q=x+y&n=1 HTTP/1.1"
        named = dict(each.split(": ", 1) for each in fields)
        assert named["host"] == f"127.0.0.1:{server.port}"
        assert named["content-type"] == "t/x"
        assert named["content-length"] == str(size)
        assert named["authorization"] == "Basic " + base64.b64encode(b"ann:s:cret").decode()
        assert len(named) == len(fields)
        assert sent == body


@pytest.mark.parametrize("path", ["/a HTTP/1.1\r\nx: y", "/a\nb", "/a b", "/ä"])
async def test_nothing_can_end_a_requests_line_early(path: str) -> None:
    async with scripted([OK]) as (server, connection):
        with pytest.raises(ValueError, match="character"):
            await connection.perform_request("GET", path)
        assert server.requests == []


async def test_a_status_that_is_no_success_is_the_drivers_error() -> None:
    refused = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n"
    refused += b'{"error":{"type":"x"}}'
    async with scripted([refused]) as (server, connection):
        with pytest.raises(TransportError) as caught:
            await connection.perform_request("GET", "/x")
        assert (caught.value.status_code, caught.value.error) == (404, "x")
        answer = await connection.perform_request("GET", "/x", ignore=(404,))
        assert answer.status == 404
        assert server.connections == 1


async def test_closing_ends_what_is_under_way() -> None:
    async with scripted([OK]) as (server, connection):
        await connection.perform_request("GET", "/x")
        server.may_answer.clear()
        waiting: Awaitable[Any] = asyncio.create_task(connection.perform_request("GET", "/x"))
        await until(lambda: len(server.requests) == 2)
        await connection.close()
        with pytest.raises(NotConnected):
            await waiting
        server.may_answer.set()
        await until(lambda: server.open == 0)


async def test_an_answer_that_is_closed_here_is_not_whole() -> None:
    """It would end with its connection, but for that the server has to close it."""
    async with scripted([TO_ITS_END[:-1]]) as (_, connection):
        waiting = asyncio.create_task(connection.perform_request("GET", "/x"))
        await until(lambda: any(wire._pieces for wire in connection._wires))
        await connection.close()
        with pytest.raises(NotConnected):
            await waiting


def test_the_host_is_named_as_servers_know_it() -> None:
    assert WireConnection(host="::1", port=9200).headers["host"] == "[::1]:9200"
    assert WireConnection(host="a.example", port=443, use_ssl=True).headers["host"] == "a.example"
    assert WireConnection(host="a.example", port=80).headers["host"] == "a.example"
    assert WireConnection(host="a.example", port=443).headers["host"] == "a.example:443"
