"""Requests of exact bytes, beside any HTTP client that would put them right."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from tests.answers import look


@dataclass(frozen=True)
class Answer:
    """What came back until the other side closed or said nothing for a while."""

    raw: bytes

    @property
    def status(self) -> int:
        """0: no answer."""
        line = self.raw.partition(b"\r\n")[0].split()
        return int(line[1]) if len(line) > 1 else 0

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]


def exchange(port: int, request: bytes, silence: float = 30) -> Answer:
    """Send the bytes to the local port; `silence` seconds without a byte end the wait."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=silence) as connection:
        connection.sendall(request)
        try:
            while piece := connection.recv(65_536):
                got += piece
        except (TimeoutError, ConnectionError):
            pass
    answer = Answer(got)
    if answer.status:
        look(answer.status, dict(answer.headers).get("retry-after"), answer.body, repr(request[:200]))
    return answer
