"""An HTTP server that speaks the bulk and search contract for the commands' own tests, with faults on demand.

It runs under uvicorn in a thread. What it accepts is checked by `core.event.decode` and kept by idempotency key.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
import zstandard

from core import event
from core.errors import InvalidEvent

TOKEN = "good-token"
Send = Callable[[dict[str, Any]], Awaitable[None]]
Fault = Callable[["BulkServer", list[bytes], Send], Awaitable[bool]]
"""Acts on one bulk request and says whether it answered it."""


class BulkServer:
    """`stored` maps keys to the items' bytes; `sent` counts items received, again and again included."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.altered: list[str] = []
        self.sent = 0
        self.faults: list[Fault] = []
        self.asked: list[list[tuple[str, str]]] = []
        self.pages: list[bytes] = []
        self.url = ""
        self.largest = 0

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        if headers.get(b"authorization") != f"Bearer {TOKEN}".encode():
            await answer(send, 401, {"code": "unauthenticated", "detail": "the token is not valid"})
        elif scope["path"] == "/api/v1/logs" and scope["method"] == "GET":
            self.asked.append(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
            await answer(send, 200, self.pages[len(self.asked) - 1])
        elif scope["path"] == "/api/v1/logs/bulk" and headers.get(b"content-type") == b"application/x-ndjson":
            await self._bulk(await _body(receive), send)
        else:
            await answer(send, 404, {"detail": "Not Found"})

    async def _bulk(self, packed: bytes, send: Send) -> None:
        body = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        items = body.splitlines()
        self.sent += len(items)
        self.largest = max(self.largest, len(body))
        if self.faults and await self.faults.pop(0)(self, items, send):
            return
        results = [{"index": index, **self.take(item)} for index, item in enumerate(items)]
        refused = sum(result["status"] == "refused" for result in results)
        await answer(send, 422 if refused == len(results) else 202, {"items": results})

    def take(self, item: bytes) -> dict[str, Any]:
        """What becomes of an item, as the service says it."""
        try:
            decoded = event.decode(item)
        except InvalidEvent as error:
            errors = [{"loc": e.loc, "msg": e.msg, "type": e.type} for e in error.errors]
            return {"status": "refused", "error": {"code": error.code, "message": error.message, "errors": errors}}
        key = decoded.idempotency_key
        assert isinstance(key, str)
        if self.stored.setdefault(key, item) != item:
            self.altered.append(key)
        return {"status": "accepted", "id": key}


async def busy(server: BulkServer, items: list[bytes], send: Send) -> bool:
    await answer(send, 429, {"code": "overloaded"}, ("retry-after", "0"))
    return True


async def unavailable(server: BulkServer, items: list[bytes], send: Send) -> bool:
    await answer(send, 503, {"code": "dependency_unavailable"}, ("retry-after", "0"))
    return True


async def stored_but_dropped(server: BulkServer, items: list[bytes], send: Send) -> bool:
    """All stored, and the connection dies before the answer is whole."""
    for item in items:
        server.take(item)
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b'{"items": [', "more_body": True})
    raise ConnectionAbortedError


async def half_again(server: BulkServer, items: list[bytes], send: Send) -> bool:
    """Every second item is to be sent again."""
    results = [
        {"index": index, **(server.take(item) if index % 2 else {"status": "retry"})}
        for index, item in enumerate(items)
    ]
    await answer(send, 202, {"items": results})
    return True


async def slow(server: BulkServer, items: list[bytes], send: Send) -> bool:
    await asyncio.sleep(0.1)
    return False


async def answer(send: Send, status: int, body: Any, *headers: tuple[str, str]) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    encoded = [(name.encode(), value.encode()) for name, value in (("content-type", "application/json"), *headers)]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": content})


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


@contextmanager
def running() -> Iterator[BulkServer]:
    """The server on a free port of this machine."""
    server = BulkServer()
    config = uvicorn.Config(server, host="127.0.0.1", port=0, log_level="critical", lifespan="off")  # type: ignore[arg-type]
    runner = uvicorn.Server(config)
    ready = threading.Event()
    startup = runner.startup

    async def started(sockets: Any = None) -> None:
        await startup(sockets)
        ready.set()

    runner.startup = started  # type: ignore[method-assign]
    thread = threading.Thread(target=runner.run, daemon=True)
    thread.start()
    assert ready.wait(20)
    server.url = f"http://127.0.0.1:{runner.servers[0].sockets[0].getsockname()[1]}"
    yield server
    runner.should_exit = True
    runner.force_exit = True
    thread.join(20)
