"""The server's HTTP/1.1 protocol, with bounds on everything that is no body, and answers of Ocelot's own form."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.bodies import WHOLE
from api.problems import problem

MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_SECONDS: Final = 10.0
"""How long a request's head may take from its connection, or from its first byte."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses what is no HTTP, and a head that is too long or too slow, with problem+json, and ends the connection.

    Too long: more than `MAX_HEAD_BYTES` (and one read) that bring neither a body nor a request's end. The server itself
    keeps headers and trailers of any size: one of 200 MB, sent by anyone, took 330 MiB. It also waits for the rest of a
    head for ever, so that a few thousand connections, a byte a minute each, would use up its file descriptors.
    """

    head_seconds = HEAD_SECONDS
    _fruitless = 0
    """Bytes since the last that were of use."""
    _in_head = False
    _over = False
    """Refused, or another protocol's."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._fruitless += len(data)
        super().data_received(data)
        if self._over:
            return
        if self._fruitless > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(431, code="head_too_large", detail="the request's head is too large")
        # A head that came whole, as nearly all do, costs no timer.
        elif self._timer is None and (self._in_head or not self._answering()):
            self._arm()

    def on_message_begin(self) -> None:
        self._fruitless = 0
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._disarm()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not None and self.cycle is not before:
            self.cycle.transport = cast(asyncio.Transport, OneWrite(self.transport, self.loop))

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fruitless = 0
        super().on_message_complete()
        if self.cycle is not None:
            cast(dict[str, Any], self.cycle.scope)[WHOLE] = (
                True  # mostly before the application is called, and of no use after
            )

    def handle_websocket_upgrade(self) -> None:
        self._over = True
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """What the server answers to a request that it cannot read."""
        self._refuse(400, code="bad_request", detail="the request breaks HTTP")

    def _answering(self) -> bool:
        """Whether an answer is still to come, or on its way."""
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def _refuse(self, status: int, *, code: str, detail: str) -> None:
        """Answer and end; an answer that is under way is completed first, and stays the last."""
        self._over = True
        self._disarm()
        if self.transport.is_closing():
            return
        if self._answering() and not self._reads_body():
            self.cycle.keep_alive = False
            return
        if not self._answering() or not self.cycle.response_started:
            self.transport.write(_bytes_of(status, code, detail))
        self.transport.close()

    def _reads_body(self) -> bool:
        """Whether the request that would be answered is the one whose body has not come whole."""
        return not self.pipeline and bool(self.cycle.more_body)

    def _arm(self) -> None:
        self._timer = self.loop.call_later(self.head_seconds, self._too_slow)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._answering():
            self._arm()  # the rest is not read before the answers are out
        elif self._in_head:
            self._refuse(408, code="head_timeout", detail="the request's head did not come in time")
        else:
            self.transport.close()


class OneWrite:
    """A transport that sends an answer's head with the first of its body: the second system call of two is saved.

    What is written first waits for the next write, or for the end of the loop's turn.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self._passes = False

    def write(self, data: bytes) -> None:
        if self._passes:
            self._transport.write(data)
        elif self._held:
            self._transport.write(self._held + data)
            self._passes = True
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if not self._passes:
            self._transport.write(self._held)
            self._passes = True


def _bytes_of(status: int, code: str, detail: str) -> bytes:
    request_id = uuid.uuid4().hex
    headers = {"connection": "close", "x-request-id": request_id, "cache-control": "no-store"}
    response = problem(status, code, detail, request_id, headers=headers)
    head = b"".join(b"%s: %s\r\n" % pair for pair in response.raw_headers)
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, HTTPStatus(status).phrase.encode(), head, response.body)


class Server(uvicorn.Server):
    """Ends the streams before it waits for answers to be complete: theirs never are."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()  # a client that was told to go on elsewhere must not come back here
        await self._drain()
        await super().shutdown(sockets)
