"""A bounded load of POST requests to loopback, as a process of its own: prints its figures as a line of JSON.

python -m benchmarks.load PORT PATH TOKEN BODY_FILE CONTENT_TYPE CONNECTIONS REQUESTS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast


class Connection(asyncio.Protocol):
    """Sends the load's request again and again, each after the answer to the one before."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lowered = head.lower()
        start = lowered.index(b"content-length:") + 15
        length = int(lowered[start : lowered.find(b"\r\n", start) if b"\r\n" in lowered[start:] else None])
        if len(body) < length:
            return
        self._buffer = b""
        self._load.answered(int(head[9:12]), time.perf_counter() - self._sent)
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost()

    def next(self) -> None:
        """Send another one, if any is left."""
        if self._load.left > 0:
            self._load.left -= 1
            self._sent = time.perf_counter()
            self._transport.write(self._load.request)

    def close(self) -> None:
        self._transport.close()


class Load:
    """What connections share: the request, how many of it are left to send, and what came of them."""

    def __init__(self) -> None:
        self.request = b""
        self.left = self._due = 0
        self.statuses: Counter[int] = Counter()
        self.times: list[float] = []

    async def send(self, connections: Sequence[Connection], request: bytes, count: int) -> None:
        """Send `count` requests and wait for their answers; raises ConnectionError when one will not come."""
        self.request, self.left, self._due = request, count, count
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for connection in connections:
            connection.next()
        await asyncio.wait_for(self._done, 120)

    def answered(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.times.append(seconds)
        self._due -= 1
        if self._due == 0:
            self._done.set_result(None)

    def lost(self) -> None:
        if self._due:
            self._due = 0
            self._done.set_exception(ConnectionError("a connection was closed before its answer"))


async def connected(load: Load, port: int, count: int) -> list[Connection]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(lambda: Connection(load), "127.0.0.1", port))[1] for _ in range(count)]


def request_of(path: str, token: str, body: bytes, kind: str = "application/json") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(port: int, request: bytes, connections: int, count: int) -> dict[str, object]:
    """Send `count` requests over `connections` connections."""
    load = Load()
    started = time.perf_counter()
    made = await connected(load, port, connections)
    await load.send(made, request, count)
    seconds = time.perf_counter() - started
    for connection in made:
        connection.close()
    times = sorted(load.times)
    return {
        "requests": len(times),
        "seconds": seconds,
        "per_second": len(times) / seconds,
        "statuses": load.statuses,
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
    }


def main() -> None:
    import uvloop

    port, path, token, body_file, kind, connections, count = sys.argv[1:]
    request = request_of(path, token, Path(body_file).read_bytes(), kind)
    figures = uvloop.run(run(int(port), request, int(connections), int(count)))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
