"""The hot routes without the framework: the same functions that FastAPI documents, called straight from ASGI.

Routing, dependency solving and three layers of middleware cost 1.5 times what sending an event does; these routes
declare a bare `Request`, so nothing of that is theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """What metrics call the route."""

    path: str
    endpoint: Endpoint


class Direct:
    """Answers `routes` (by method and whole path) itself and hands everything else to `app`."""

    def __init__(self, app: ASGIApp, routes: Mapping[tuple[str, str], Route]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        scope["route"] = route
        response = await route.endpoint(Request(scope, receive))
        await response(scope, receive, send)
