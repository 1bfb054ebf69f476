"""A stream of live events as frames: what server-sent events and WebSockets have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import HTTPConnection

from api import audit
from api.auth import Access
from api.state import State, state_of
from core import instant, query, telemetry
from core.access import Permission
from core.errors import FieldError, Invalid, InvalidQuery, OcelotError, Unavailable
from core.projection import Projection
from core.streams import Event, Gap, Item, Subscription, TooSlow, place
from core.streams.place import Place

TICK: Final = 1.0
"""Seconds between two looks at whether the caller may still listen."""
WRITE_SECONDS: Final = 30.0
"""How long a client may leave what is sent to it unread."""
_HISTORIC: Final = ("sort", "limit", "cursor")
STOPPING: Final = "server_stopping"
SLOW: Final = "slow_reader"


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. `id` is where a client goes on after it, `body` JSON on one line."""

    kind: str
    """`event`, `heartbeat`, `gap` or `end`."""
    id: str
    body: bytes
    reason: str = ""
    """Why it is the end."""


Write: TypeAlias = Callable[[Sequence[Frame]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stream:
    """One client's stream, open; `held` is what it takes of the bounds."""

    state: State
    connection: HTTPConnection
    access: Access
    token: str
    subscription: Subscription
    projection: Projection | None
    held: ExitStack

    async def run(self, write: Write, kind: str) -> str:
        """Write frames until the stream ends; the reason. The last frame says it, unless the client left."""
        reason = "client_gone"
        gauge = telemetry.STREAMS.labels(kind)
        gauge.inc()
        frames = self._frames()
        try:
            async for some in frames:
                async with asyncio.timeout(WRITE_SECONDS):
                    await write(some)
                if some[-1].kind == "end":
                    reason = some[-1].reason
        except TimeoutError:
            reason = SLOW
        finally:
            await frames.aclose()
            await self.aclose()
            gauge.dec()
            telemetry.STREAM_ENDS.labels(reason).inc()
            audit.noted(reason=reason)
        return reason

    async def aclose(self) -> None:
        """Give back what the stream holds, also where it was never run; harmless when done again."""
        self.held.close()
        await self.subscription.aclose()

    async def _frames(self) -> AsyncGenerator[list[Frame], None]:
        coming_items = self.subscription.items()
        closing = asyncio.create_task(self.state.streams.closing.wait())
        coming = asyncio.create_task(_next(coming_items))
        checked = sent = time.monotonic()
        at = self.subscription.place
        try:
            yield [self._heartbeat(at)]
            while True:
                await asyncio.wait({coming, closing}, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
                now = time.monotonic()
                if not coming.done():
                    at = self.subscription.place  # it moves with what does not match, too
                if closing.done():
                    yield [self._end(at, STOPPING, "the service is stopping; go on elsewhere")]
                    return
                if now - checked >= TICK:
                    checked = now
                    if fault := await self._fault():
                        yield [self._end(at, fault.code, fault.message)]
                        return
                if coming.done():
                    items, sent = coming.result(), now
                    audit.delivered(sum(isinstance(item, Event) for item in items))
                    yield [*map(self._frame, items)]
                    if isinstance(items[-1], TooSlow):
                        return
                    at = items[-1].place
                    coming = asyncio.create_task(_next(coming_items))
                elif now - sent >= self.state.settings.stream_heartbeat:
                    sent = now
                    yield [self._heartbeat(at)]
        finally:
            closing.cancel()
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await coming_items.aclose()

    async def _fault(self) -> OcelotError | None:
        """Why the caller may not listen any more."""
        try:
            await self.state.authenticator.token_access(self.connection, self.token, Permission.READ)
        except Unavailable:
            return None  # the store is down: what was allowed stays so, as everywhere
        except OcelotError as error:
            return error
        return None

    def _frame(self, item: Item) -> Frame:
        at = self._sealed(item.place)
        if isinstance(item, Event):
            telemetry.STREAM_EVENTS.inc()
            return Frame("event", at, item.body if self.projection is None else self.projection.of(item.body))
        if isinstance(item, Gap):
            return Frame("gap", at, _json({"reason": item.reason, "backfilled_from": instant.to_text(item.since)}))
        return self._end(item.place, SLOW, f"{item.missed} events or more wait behind this place", missed=item.missed)

    def _heartbeat(self, at: Place) -> Frame:
        return Frame("heartbeat", self._sealed(at), _json({"time": instant.to_text(instant.now_us())}))

    def _end(self, at: Place, reason: str, detail: str, **more: int) -> Frame:
        return Frame("end", self._sealed(at), _json({"reason": reason, "detail": detail, **more}), reason)

    def _sealed(self, at: Place) -> str:
        return place.seal(self.access.tenant, at)


async def open_stream(
    connection: HTTPConnection, token: str, parameters: Sequence[tuple[str, str]], last_event_id: str | None
) -> Stream:
    """A stream for the token's tenant; raises as the request's answer should be. `run` it, which also closes it."""
    state = state_of(connection)
    access = await state.authenticator.token_access(connection, token, Permission.READ)
    await state.authenticator.enter(connection, access, Permission.READ)
    asked = query_of([(name, value) for name, value in parameters if name != "fields"])
    written = [value for name, value in parameters if name == "fields"]
    projection = Projection.parse(written) if written else None
    at = None if not last_event_id else place.open_(access.tenant, last_event_id)
    with ExitStack() as held:
        held.enter_context(state.streams.admit(access.scope))
        subscription = Subscription(state.streams, access.scope, asked, at)
        await subscription.open()
        return Stream(state, connection, access, token, subscription, projection, held.pop_all())


def query_of(parameters: Iterable[tuple[str, str]]) -> query.EventQuery:
    """What a stream is to hold, from URL parameters; raises `InvalidQuery`."""
    asked = list(parameters)
    for name, _ in asked:
        if name in _HISTORIC:
            message = "has no meaning for a stream, which is in the order of storing"
            raise InvalidQuery(f"{name} {message}", errors=[FieldError(("query", name), message, "parameter")])
    return query.parse(asked, instant.now_us()).query


def last_event_id_of(headers: Any) -> str | None:
    """The header `Last-Event-ID`; raises `Invalid` for more than one."""
    given = headers.getlist("last-event-id")
    if len(given) > 1:
        raise Invalid("Last-Event-ID may be given once", code="bad_last_event_id")
    return given[0] if given else None


async def _next(items: AsyncGenerator[Sequence[Item], None]) -> Sequence[Item]:
    return await anext(items)


_json: Final = msgspec.json.Encoder().encode
