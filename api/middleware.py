"""The middleware around all, pure ASGI: request id, security headers, metrics, and no error without an answer."""

from __future__ import annotations

import logging
import os
import re
import time
from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from api.auth import READ, USE
from api.problems import problem, problem_of
from core import telemetry, tracing
from core.errors import OcelotError, as_value

log = logging.getLogger(__name__)
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
)
_NAMES: Final = frozenset(name for name, _ in _HEADERS)
_CODES: Final = {404: "not_found", 405: "method_not_allowed"}


class Envelope:
    """Wraps every exchange; a class rather than `@app.middleware`, which costs two thirds of the throughput."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        request_id, parent = _ids(scope)
        token = telemetry.request_id.set(request_id)
        span = tracing.Request(scope["method"], parent) if tracing.is_on() else None
        traced = tracing.traceparent.set(parent if span is None else span.traceparent)
        started = time.perf_counter()
        status = 0
        complete = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                present = {name for name, _ in headers}
                headers += _HEADERS if present.isdisjoint(_NAMES) else [h for h in _HEADERS if h[0] not in present]
                headers.append((b"x-request-id", request_id.encode()))
                if (use := scope.get(USE)) is not None:
                    headers += use.fields()
                    if READ in scope:
                        use.answered(status)
            await send(message)
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if status and not complete:
                raise  # the answer has begun: the server can only cut it off
            if status:
                return  # the framework answered, by `unforeseen`, and raised the error once more
            await _answer(error, request_id)(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            tracing.traceparent.reset(traced)
            if span is not None:
                span.end(route, status, request_id)
            telemetry.request_id.reset(token)
            _count(scope["method"], route, status).inc()
            _seconds(route).observe(time.perf_counter() - started)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, whose handshake is answered with the request's id; or the process's start and end."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        request_id, _ = _ids(scope)
        token = telemetry.request_id.set(request_id)

        answered = False

        async def send_with_id(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] in ("websocket.accept", "websocket.http.response.start"):
                more = _HEADERS if message["type"] == "websocket.http.response.start" else ()
                message["headers"] = [*message.get("headers", ()), *more, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            if answered:
                raise  # the server can only close it
            # Or the server answers 500 by itself.
            await WebSocket(scope, receive, send_with_id).send_denial_response(unforeseen(error, request_id))
        finally:
            telemetry.request_id.reset(token)


# Bounded by routes, methods and statuses; looking a label up in the client's own table takes three times as long.
@lru_cache(maxsize=1024)
def _count(method: str, route: str, status: int) -> Counter:
    return telemetry.REQUESTS.labels(method, route, status)


@lru_cache(maxsize=256)
def _seconds(route: str) -> Histogram:
    return telemetry.REQUEST_SECONDS.labels(route)


def _answer(error: Exception, request_id: str) -> ASGIApp:
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, "bad_request")
        return problem(error.status_code, code, error.detail, request_id, headers=error.headers)
    if not isinstance(error, OcelotError):
        return unforeseen(error, request_id)
    return problem_of(as_value(error), request_id)


def unforeseen(error: Exception, request_id: str) -> Response:
    """The answer to an error that nobody foresaw, which goes into the log."""
    log.error("unforeseen error", exc_info=error)
    return problem_of(error, request_id)


def _ids(scope: Scope) -> tuple[str, str | None]:
    """The request's id and `traceparent`: the client's where they are well formed; an id is made where it is not."""
    request_id = parent = None
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            if request_id is None and _REQUEST_ID.fullmatch(text):
                request_id = str(text)
        elif name == b"traceparent":
            text = value.decode("latin-1")
            parent = text if tracing.trace_id_of(text) else None
    return request_id or os.urandom(16).hex(), parent
