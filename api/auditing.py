"""The access audit's place around the application: no answer begins before its call is on record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import audit
from api.audit import Call
from api.problems import problem_of, status_of
from core import telemetry
from core.errors import OcelotError, Unavailable

_MAX_LISTED: Final = 4 * 1024 * 1024


class Audited:
    """Wraps the application. `service` has the process's state once it runs."""

    def __init__(self, app: ASGIApp, service: Any) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        call = Call(scope, self._service.state.ocelot)
        answer = _Answer(call, scope, receive, send)
        token = audit.under_way.set(call)
        try:
            await self._app(scope, receive, answer.send)
        except OcelotError as error:
            if not answer.has_begun:
                await call.end(status_of(error), error.code)
            raise
        except Exception:
            if not answer.has_begun:
                await call.end(503, "internal")
            raise
        finally:
            if answer.has_begun or call.started is not None:  # a stream, whichever way it ended
                await call.end(answer.status, cut_off=not answer.is_whole)
            elif scope["type"] == "websocket" and call.claims is not None:
                await call.end(answer.status)
            audit.under_way.reset(token)


class _Answer:
    """One answer on its way: its first byte waits for the record."""

    def __init__(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        self._call = call
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start: Message | None = None
        self._is_dropped = False
        self.status = 101 if scope["type"] == "websocket" else 0
        self.has_begun = False
        self.is_whole = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start"):
            self._start, self.status = message, message["status"]
        elif kind in ("http.response.body", "websocket.http.response.body"):
            await self._body(message)
        else:
            await self._socket(message)

    async def _body(self, message: Message) -> None:
        if self._is_dropped:
            return
        more = message.get("more_body", False)
        if self._start is not None:
            start, self._start = self._start, None
            try:
                await self._record(start, message, more=more)
            except Unavailable as error:
                self._is_dropped = True
                self.has_begun = False
                await problem_of(error, telemetry.request_id.get())(self._scope, self._receive, self._send)
                if more:
                    raise ConnectionAbortedError("not on record") from None  # the rest would be made for nobody
                return
            await self._send(start)
        await self._send(message)
        self.is_whole = not more

    async def _record(self, start: Message, first: Message, *, more: bool) -> None:
        if more:
            self.has_begun = True
            await self._call.start()
            return
        body = first.get("body", b"")
        code = _code(body) if start["status"] >= 400 else None
        if self._call.count is None and start["status"] < 300:
            self._call.count = _listed(body, dict(start["headers"]))
        await self._call.end(start["status"], code)

    async def _socket(self, message: Message) -> None:
        if message["type"] == "websocket.send" and self._call.started is not None:
            self.has_begun = True
        if message["type"] == "websocket.close":
            self.is_whole = True
            if (refused := message.get("code", 1000) - 4000) in (401, 403):
                self.status = refused
        await self._send(message)


class _Problem(msgspec.Struct):
    code: str = ""


class _Listing(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    items: list[msgspec.Raw] | None = None


_problem: Final = msgspec.json.Decoder(_Problem)
_listing: Final = msgspec.json.Decoder(_Listing)


def _code(body: bytes) -> str | None:
    try:
        return _problem.decode(body).code or None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _listed(body: bytes, headers: Mapping[bytes, bytes]) -> int | None:
    """How many results a JSON answer has: those of a list, else one."""
    if not body:
        return None
    if b"json" not in headers.get(b"content-type", b"") or len(body) > _MAX_LISTED:
        return 1
    try:
        found = _listing.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 1
    listed = found.data if found.data is not None else found.items
    return 1 if listed is None else len(listed)
