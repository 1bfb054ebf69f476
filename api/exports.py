"""Sending an export: flat memory, a slow client held back, a silent one cut off, an error seen as a broken transfer."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api import audit
from core import telemetry
from core.errors import Overloaded
from core.export.formats import Encoder
from core.ports import Drained

log = logging.getLogger(__name__)
STALL_SECONDS: Final = 60.0
"""A client that takes less than a piece in this time is cut off; it may go on with its cursor."""
_PIECE: Final = 64 * 1024


class ExportSlots:
    """Bounds how many exports stream at once, over all and per tenant."""

    def __init__(self, total: int, per_tenant: int) -> None:
        self._total = total
        self._per_tenant = per_tenant
        self._by_tenant: Counter[str] = Counter()

    def take(self, tenant_id: str) -> Callable[[], None]:
        """Hold a slot until the returned function is called; raises `Overloaded`."""
        held = self._by_tenant[tenant_id]
        if held >= self._per_tenant or self._by_tenant.total() >= self._total:
            raise Overloaded("too many exports are under way" + (" in this tenant" if held >= self._per_tenant else ""))
        self._by_tenant[tenant_id] += 1
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._by_tenant[tenant_id] -= 1
                if not self._by_tenant[tenant_id]:
                    del self._by_tenant[tenant_id]

        return release


async def encoded(
    batches: AsyncGenerator[Drained, None], encoder: Encoder, *, threaded: bool
) -> AsyncGenerator[bytes, None]:
    """The file in pieces of a batch each; `threaded`: a batch is encoded in a thread."""
    yield encoder.begin()
    async with aclosing(batches):
        async for batch in batches:
            if batch.events:
                audit.delivered(len(batch.events))
                yield (
                    await asyncio.to_thread(encoder.events, batch.events) if threaded else encoder.events(batch.events)
                )
    yield await asyncio.to_thread(encoder.end)


class StreamedFile(Response):
    """Sends `data` as it is made. Whatever goes wrong after the first byte breaks the transfer off.

    `check` is called before each batch and raises when the caller has lost its right to read; `release` at the end.
    """

    def __init__(
        self,
        data: AsyncGenerator[bytes, None],
        headers: Mapping[str, str],
        *,
        check: Callable[[], None],
        release: Callable[[], None],
        status: int = 200,
        stall: float = STALL_SECONDS,
    ) -> None:
        self.status_code = status
        self.background = None
        self.body = b""
        self.init_headers(headers)
        self._data = data
        self._check = check
        self._release = release
        self._stall = stall

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        # As they are: the framework would add the length of an empty body.
        self.raw_headers = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in (headers or {}).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
                telemetry.EXPORTS.labels("done").inc()
            else:
                telemetry.EXPORTS.labels("gone").inc()
        except Exception as error:
            telemetry.EXPORTS.labels("broken").inc()
            log.warning("an export broke off: %s", error)
            raise
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
            await self._data.aclose()
            self._release()

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        await self._patiently(send(start))
        async for data in self._data:
            self._check()
            for piece in _pieces(data):
                await self._patiently(send({"type": "http.response.body", "body": piece, "more_body": True}))
        await self._patiently(send({"type": "http.response.body", "body": b"", "more_body": False}))

    async def _patiently(self, sent: Awaitable[None]) -> None:
        async with asyncio.timeout(self._stall):
            await sent


@contextmanager
def released_on_error(release: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        release()
        raise


def _pieces(data: bytes) -> Iterator[bytes]:
    view = memoryview(data)
    for start in range(0, len(data), _PIECE):
        yield bytes(view[start : start + _PIECE])


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
