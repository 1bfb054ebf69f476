"""The server's HTTP/1.1 protocol, with a bound on everything that is no body."""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection on which more than `MAX_HEAD_BYTES` (and one read) bring neither a body nor a request's end.

    The server itself keeps headers and trailers of any size: one of 200 MB, sent by anyone, took 330 MiB.
    """

    _fruitless = 0
    """Bytes since the last that were of use."""

    def data_received(self, data: bytes) -> None:
        self._fruitless += len(data)
        super().data_received(data)
        if self._fruitless > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too large.")

    def on_message_begin(self) -> None:
        self._fruitless = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._fruitless = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fruitless = 0
        super().on_message_complete()
