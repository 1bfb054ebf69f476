"""The driver's connection to OpenSearch, over HTTP/1.1 by our own few lines.

The driver's own one, on aiohttp, takes a third of the CPU of a search: docs/adr/0038-the-way-to-the-index.md.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlencode

from aiohappyeyeballs import start_connection
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from opensearchpy import AIOHttpConnection
from opensearchpy.exceptions import ConnectionError as NotConnected
from opensearchpy.exceptions import ConnectionTimeout

IDLE_SECONDS: Final = 15.0
"""An unused connection is good for so long: proxies close theirs after a minute at the earliest."""
_STAGGER: Final = 0.25
"""An address that has not answered for so long is tried together with the next one of its name."""
_JOINED: Final = 64 * 1024
"""A body up to this size is copied to go out in one piece with its head."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ENDS: Final = frozenset({"content-length", "transfer-encoding"})
_OK: Final = range(200, 300)


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    text: str


class WireConnection(AIOHttpConnection):
    """What the driver asks of a connection, with as many sockets as are needed at once, `maxsize` at most.

    `http_auth` is `user:password`, or signs requests: it is given the method, URL, body and headers of each, and gives
    back all headers that are to be sent.
    """

    def __init__(self, *, http_auth: Any = None, maxsize: int = 10, **options: Any) -> None:
        self._sign = http_auth if callable(http_auth) else None
        super().__init__(http_auth=None if self._sign else http_auth, maxsize=maxsize, **options)
        name = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        if self.port != _DEFAULT_PORTS[self.scheme]:
            name += f":{self.port}"
        self.headers["host"] = name
        self._origin = f"{self.scheme}://{name}"
        self._turns = asyncio.Semaphore(maxsize)
        self._wires: set[_Wire] = set()
        self._idle: list[_Wire] = []

    async def perform_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's signature
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and its answer, within `timeout` seconds and without a retry.

        Raises the driver's errors: `ConnectionTimeout`, `ConnectionError`, and `TransportError` by status.
        """
        request = self._request(method, url, params, body or b"", headers or {})
        try:
            async with asyncio.timeout(self.timeout if timeout is None else timeout), self._turns:
                answer = await self._exchange(request)
        except TimeoutError as error:
            raise ConnectionTimeout("TIMEOUT", str(error), error) from error
        except (OSError, EOFError, HttpParserError, UnicodeDecodeError) as error:
            raise NotConnected("N/A", str(error), error) from error
        if answer.status not in _OK and answer.status not in ignore:
            self._raise_error(answer.status, answer.text, answer.headers.get("content-type"))
        return answer

    def _request(
        self, method: str, path: str, params: Mapping[str, Any] | None, body: bytes, headers: Mapping[str, str]
    ) -> tuple[bytes, bytes]:
        """Its head and its body."""
        target = self.url_prefix + path + ("?" + urlencode(params) if params else "")
        fields = {**self.headers, **headers}
        if self._sign is not None:
            signed = self._sign(method, self._origin + target, body, fields)
            fields = {name.lower(): value for name, value in signed.items()}
        fields["content-length"] = str(len(body))
        lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in fields.items()]]
        if not "".join(lines).isprintable() or " " in target:
            raise ValueError("a request's line or header has a character that would end it")
        return "\r\n".join((*lines, "\r\n")).encode("ascii"), body

    async def _exchange(self, request: tuple[bytes, bytes]) -> Answer:
        wire = self._unused() or await self._connected()
        try:
            answer = await wire.ask(*request)
        except BaseException:
            wire.abort()
            raise
        if wire.is_open:
            self._idle.append(wire)
        return answer

    def _unused(self) -> _Wire | None:
        """The one that was used last: the others may grow old and be closed."""
        while self._idle:
            wire = self._idle.pop()
            if wire.is_fresh:
                return wire
            wire.abort()
        return None

    async def _connected(self) -> _Wire:
        # The loops try a name's addresses one after another, so that one that never answers takes the whole deadline.
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(self.hostname, self.port, type=socket.SOCK_STREAM)
        found = await start_connection(addresses, happy_eyeballs_delay=_STAGGER, interleave=1, loop=loop)
        secured = {"ssl": self._ssl_context, "server_hostname": self.hostname} if self.use_ssl else {}
        _, wire = await loop.create_connection(lambda: _Wire(self._wires), sock=found, **secured)
        return wire

    async def close(self) -> None:
        for wire in list(self._wires):
            wire.abort()


class _Wire(asyncio.Protocol):
    """One socket, one request at a time. `wires` has it while it is open."""

    def __init__(self, wires: set[_Wire]) -> None:
        self._wires = wires
        self._answer: asyncio.Future[Answer] | None = None
        self._parser: Any = None
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._in_body = False
        self._used_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._wires.add(self)

    @property
    def is_open(self) -> bool:
        return self in self._wires

    @property
    def is_fresh(self) -> bool:
        """Whether it is open, and was used not long ago."""
        return self.is_open and not self._transport.is_closing() and time.monotonic() - self._used_at < IDLE_SECONDS

    def abort(self) -> None:
        """Close it, whatever is under way."""
        self._wires.discard(self)
        self._transport.abort()

    async def ask(self, head: bytes, body: bytes) -> Answer:
        """Raises OSError, EOFError or HttpParserError when no answer comes."""
        self._parser, self._headers, self._pieces, self._in_body = HttpResponseParser(self), {}, [], False
        self._answer = asyncio.get_running_loop().create_future()
        if len(body) <= _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        try:
            return await self._answer
        finally:
            self._answer = None

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.abort()  # nothing was asked, or the answer is over
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(HttpParserError(str(error)))

    def connection_lost(self, exc: Exception | None) -> None:
        was_ended = self.is_open and exc is None  # by the server: what was aborted here is not whole
        self._wires.discard(self)
        if was_ended and self._in_body and not self._headers.keys() & _ENDS:
            self._end()  # an answer may end with its connection
        self._fail(exc or EOFError("the connection was closed before an answer was whole"))
        self._parser, self._pieces = None, []  # it has this in turn, and the two would wait for the garbage collector

    # What the parser finds.

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.abort()  # a second answer: it must not become the next request's

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < _OK.start:
            self._headers, self._in_body = {}, False
            return
        if not self._parser.should_keep_alive():
            self.abort()
        self._end()

    def _end(self) -> None:
        self._used_at = time.monotonic()
        if self._answer is None or self._answer.done():
            self.abort()
            return
        headers, pieces = self._headers, self._pieces
        self._headers, self._pieces = {}, []  # of a large answer nothing is kept, nor is another's header put to it
        try:
            text = b"".join(pieces).decode()
        except UnicodeDecodeError as error:
            self._fail(error)
        else:
            self._answer.set_result(Answer(self._parser.get_status_code(), headers, text))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
