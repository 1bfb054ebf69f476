"""A TCP proxy in front of a server that others use too: for its own clients the server can be gone, hang, be slow, or
break off its answers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

CHUNK = 65_536


async def cancel_the_rest() -> None:
    """End every other task of this loop, and wait until each has ended: a loop that stops before destroys them."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


async def until_one_ends(tasks: set[asyncio.Task[None]]) -> None:
    """The others, and all of them if this is cancelled, are cancelled and have ended when it returns."""
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Proxy:
    """Runs in a thread of its own from the start. What it does changes at once, for open connections too."""

    def __init__(self, host: str, port: int) -> None:
        self._server_at = (host, port)
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._delay = 0.0
        self._breaks = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._listening: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.well()

    def well(self) -> None:
        """Everything passes; what was held back while it hung goes on."""
        self._call(self._well)

    def gone(self) -> None:
        """Connections are cut off, and new ones refused."""
        self._call(self._gone)

    def hung(self) -> None:
        """Connections stay and are accepted; not a byte comes through."""
        self._call(self._set, flowing=False)

    def slow(self, seconds: float) -> None:
        """Each chunk, either way, comes later by so much."""
        self._call(self._set, delay=seconds)

    def broken(self) -> None:
        """The server does what it is asked; of its answers half of the first chunk comes, then the end."""
        self._call(self._set, breaks=True)

    def stop(self) -> None:
        self._call(self._gone)
        self._call(cancel_the_rest)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, step: Callable[..., Coroutine[Any, Any, None]], **arguments: Any) -> None:
        asyncio.run_coroutine_threadsafe(step(**arguments), self._loop).result(10)

    async def _well(self) -> None:
        await self._set()
        if self._listening is None:
            self._listening = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._listening.sockets[0].getsockname()[1]

    async def _gone(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _set(self, *, flowing: bool = True, delay: float = 0.0, breaks: bool = False) -> None:
        (self._flowing.set if flowing else self._flowing.clear)()
        self._delay, self._breaks = delay, breaks

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        self._writers.add(writer)
        try:
            their_reader, their_writer = await asyncio.open_connection(*self._server_at)
            ends.add(their_writer)
            self._writers.add(their_writer)
            ways = self._pump(reader, their_writer), self._pump(their_reader, writer, answers=True)
            await until_one_ends({asyncio.create_task(way) for way in ways})
        except (OSError, asyncio.CancelledError):
            pass  # the server itself is gone, or all ends: asyncio tells loudly of a connection that was cancelled
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._flowing.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                breaks = self._breaks and answers
                writer.write(data[: len(data) // 2] if breaks else data)
                await writer.drain()
                if breaks:
                    return


@contextmanager
def in_front_of(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy of the server at `url` (http or mongodb, of one host), and the URL to reach it by."""
    parts = urlsplit(url)
    assert parts.hostname, url
    proxy = Proxy(parts.hostname, parts.port or {"http": 80, "mongodb": 27017}[parts.scheme])
    there = re.sub(r"(//(?:[^@/]*@)?)[^/?]+", rf"\g<1>127.0.0.1:{proxy.port}", url, count=1)
    if parts.scheme == "mongodb":  # or the driver goes to where the server says that it is
        there += ("&" if "?" in there else "?" if there.count("/") > 2 else "/?") + "directConnection=true"
    try:
        yield proxy, there
    finally:
        proxy.stop()
