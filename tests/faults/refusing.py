"""Servers in front of others that answer for them: an OpenSearch that refuses, a MongoDB whose writes fail.

What they answer with are the servers' own words. `hits` counts the answers that were not the server's.
"""

from __future__ import annotations

import asyncio
import json
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import bson
from aiohttp import ClientSession, TCPConnector, web

from tests.faults.proxy import cancel_the_rest, until_one_ends

Reply = tuple[int, Any]
_OP_MSG = 2013
_HEADER = struct.Struct("<iiii")


class _Threaded:
    """Runs a server in a loop and thread of its own."""

    def __init__(self) -> None:
        self.hits = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def end(self) -> None:
        self.call(cancel_the_rest())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RefusingIndex(_Threaded):
    """Before the OpenSearch at `url`. `refuses` may answer a request (method, path) in its place; `spoils` may put
    an answer in the place of a bulk's item, by its number: that item is not sent."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url.rstrip("/")
        self.well()
        self.call(self._start())

    def well(self) -> None:
        self.refuses: Callable[[str, str], Reply | None] = lambda method, path: None
        self.spoils: Callable[[int], dict[str, Any] | None] = lambda n: None

    async def _start(self) -> None:
        self._session = ClientSession(connector=TCPConnector(limit=0))
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def aclose(self) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if (reply := self.refuses(request.method, request.path)) is not None:
            self.hits += 1
            return web.json_response(reply[1], status=reply[0])
        if not request.path.endswith("/_bulk"):
            return await self._forward(request, body)
        lines = body.splitlines(keepends=True)
        pairs = [b"".join(lines[n : n + 2]) for n in range(0, len(lines), 2)]
        spoiled = {n: error for n in range(len(pairs)) if (error := self.spoils(n)) is not None}
        if not spoiled:
            return await self._forward(request, body)
        self.hits += 1
        good = [pair for n, pair in enumerate(pairs) if n not in spoiled]
        items = iter([])
        if good:
            answer = await self._forward(request, b"".join(good))
            assert isinstance(answer.body, bytes)
            items = iter(json.loads(answer.body)["items"])
        merged = [{"create": spoiled[n]} if n in spoiled else next(items) for n in range(len(pairs))]
        return web.json_response({"items": merged})

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        headers = {"Content-Type": request.headers.get("Content-Type", "application/json")}
        url = f"{self.url}{request.path_qs}"
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")


class RefusingStore(_Threaded):
    """Before the MongoDB at `url`. `refuses` may answer an insert of events in its place; `concern` is put into the
    server's answer to one that it has done."""

    def __init__(self, url: str) -> None:
        super().__init__()
        parts = urlsplit(url)
        assert parts.hostname
        self._server_at = parts.hostname, parts.port or 27017
        self.well()
        self.call(self._start())

    def well(self) -> None:
        self.refuses: Callable[[int], dict[str, Any] | None] = lambda count: None
        self.concern: dict[str, Any] | None = None

    async def _start(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        self._listening.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(*self._server_at)
        patched: set[int] = set()
        ways = {
            asyncio.create_task(self._asked(reader, their_writer, writer, patched)),
            asyncio.create_task(self._answered(their_reader, writer, patched)),
        }
        try:
            await until_one_ends(ways)
        except asyncio.CancelledError:
            pass  # all ends: asyncio tells loudly of a connection that was cancelled
        finally:
            writer.transport.abort()
            their_writer.transport.abort()

    async def _asked(  # of the client, by whom the server is asked
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
        patched: set[int],
    ) -> None:
        while True:
            header, body = await _message(reader)
            _, request_id, _, kind = _HEADER.unpack(header)
            if kind == _OP_MSG and (count := _inserted(body)):
                if (reply := self.refuses(count)) is not None:
                    self.hits += 1
                    await _write(client, request_id, reply)
                    continue
                if self.concern is not None:
                    self.hits += 1
                    patched.add(request_id)
            server.write(header + body)
            await server.drain()

    async def _answered(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, patched: set[int]) -> None:
        while True:
            header, body = await _message(reader)
            request_id = _HEADER.unpack(header)[2]
            if request_id in patched:
                patched.discard(request_id)
                await _write(client, request_id, {**bson.decode(body[5:]), "writeConcernError": self.concern})
                continue
            client.write(header + body)
            await client.drain()


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    header = await reader.readexactly(_HEADER.size)
    return header, await reader.readexactly(_HEADER.unpack(header)[0] - _HEADER.size)


async def _write(writer: asyncio.StreamWriter, response_to: int, document: dict[str, Any]) -> None:
    body = b"\0\0\0\0\0" + bson.encode(document)
    writer.write(_HEADER.pack(_HEADER.size + len(body), 0, response_to, _OP_MSG) + body)
    await writer.drain()


def _inserted(body: bytes) -> int:
    """How many events a message inserts."""
    at, command, count = 4, {}, 0
    while at < len(body):
        kind, size = body[at], int.from_bytes(body[at + 1 : at + 5], "little")
        if kind == 0:
            command = bson.decode(body[at + 1 : at + 1 + size])
        else:
            name_end = body.index(b"\0", at + 5)
            start, end = name_end + 1, at + 1 + size
            while start < end:
                start += int.from_bytes(body[start : start + 4], "little")
                count += 1
        at += 1 + size
    return count if command.get("insert") == "events" else 0


@contextmanager
def refusing_index(url: str) -> Iterator[tuple[RefusingIndex, str]]:
    server = RefusingIndex(url)
    try:
        yield server, f"http://127.0.0.1:{server.port}"
    finally:
        with suppress(TimeoutError):
            server.call(server.aclose())
        server.end()


@contextmanager
def refusing_store(url: str) -> Iterator[tuple[RefusingStore, str]]:
    server = RefusingStore(url)
    try:
        query = "&".join(filter(None, [url.partition("?")[2], "directConnection=true"]))
        yield server, f"mongodb://127.0.0.1:{server.port}/?{query}"
    finally:
        with suppress(TimeoutError):
            server.call(server.aclose())
        server.end()
