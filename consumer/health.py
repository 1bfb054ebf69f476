"""The consumer's own port: alive, ready, measured."""

from __future__ import annotations

import asyncio
import json

from core import telemetry
from core.errors import OcelotError
from core.wiring import Backends

_PING_SECONDS = 2.0


class HealthServer:
    """A few lines of HTTP/1.1: GET and HEAD of /health, /ready and /metrics; everything else is 404."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=8192)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = await reader.readuntil(b"\r\n\r\n")
                method, path, *_ = request.split(b" ", 2)
                asked = b"GET" if method == b"HEAD" else method
                status, kind, body = await self._answer(asked, path.split(b"?")[0])
                head = (
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
                )
                writer.write(head.encode() + b"\r\n" + (b"" if method == b"HEAD" else body))
                await writer.drain()
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a broken request of a probe is no matter
        finally:
            writer.close()

    async def _answer(self, method: bytes, path: bytes) -> tuple[str, str, bytes]:
        match method, path:
            case b"GET", b"/health":
                return "200 OK", "application/json", b'{"status":"ok"}'
            case b"GET", b"/ready":
                return await self._ready()
            case b"GET", b"/metrics":
                return "200 OK", "text/plain; version=0.0.4; charset=utf-8", await self._metrics()
        return "404 Not Found", "application/json", b'{"status":"not found"}'

    async def _ready(self) -> tuple[str, str, bytes]:
        names = ("queue", "store", "index")
        pings = (self._backends.queue.ping, self._backends.store.ping, self._backends.index.ping)
        results = await asyncio.gather(*(asyncio.wait_for(p(), _PING_SECONDS) for p in pings), return_exceptions=True)
        states = {n: "down" if isinstance(r, BaseException) else "up" for n, r in zip(names, results, strict=True)}
        vital_down = "down" in (states["queue"], states["store"])
        status = "unavailable" if vital_down else "degraded" if "down" in states.values() else "ready"
        breakers = {name: breaker.state for name, breaker in self._backends.breakers.items()}
        body = json.dumps({"status": status, "dependencies": states, "breakers": breakers}).encode()
        return "503 Service Unavailable\r\nRetry-After: 2" if vital_down else "200 OK", "application/json", body

    async def _metrics(self) -> bytes:
        try:
            depth = await asyncio.wait_for(self._backends.queue.depth(), _PING_SECONDS)
        except (OcelotError, TimeoutError):
            pass  # the last figures stand
        else:
            telemetry.QUEUE_MESSAGES.labels("waiting").set(depth.waiting)
            telemetry.QUEUE_MESSAGES.labels("leased").set(depth.leased)
            telemetry.QUEUE_MESSAGES.labels("dead").set(depth.dead)
        return telemetry.exposition()
