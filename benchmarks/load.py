"""A bounded load of POST requests to loopback, as a process of its own: prints its figures as a line of JSON.

python -m benchmarks.load PORT PATH TOKEN BODY_FILE CONTENT_TYPE CONNECTIONS REQUESTS
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import cast


class Connection(asyncio.Protocol):
    """Sends the same request again and again, each after the answer to the one before."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

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
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def _next(self) -> None:
        if self._load.left <= 0:
            self._transport.close()
            return
        self._load.left -= 1
        self._sent = time.perf_counter()
        self._transport.write(self._load.request)


class Load:
    def __init__(self, request: bytes, count: int) -> None:
        self.request = request
        self.left = count
        self.statuses: Counter[int] = Counter()
        self.times: list[float] = []

    def answered(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.times.append(seconds)


async def run(port: int, request: bytes, connections: int, count: int) -> dict[str, object]:
    """Send `count` requests over `connections` connections."""
    load = Load(request, count)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = [await loop.create_connection(lambda: Connection(load), "127.0.0.1", port) for _ in range(connections)]
    await asyncio.wait_for(asyncio.gather(*(protocol.closed for _, protocol in made)), 120)
    seconds = time.perf_counter() - started
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
    body = Path(body_file).read_bytes()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    figures = uvloop.run(run(int(port), head.encode() + body, int(connections), int(count)))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
