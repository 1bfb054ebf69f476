"""Live events: server-sent events and WebSockets, over the same streams."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from fastapi import APIRouter, Request, WebSocket
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from api.auth import bearer_of, use_of
from api.openapi import SEARCH_PARAMETERS, needs, problems
from api.problems import problem_of, status_of
from api.state import State, state_of
from api.streaming import SLOW, STOPPING, Frame, Stream, last_event_id_of, open_stream
from core import telemetry
from core.access import Permission
from core.errors import Forbidden, Invalid, OcelotError, Overloaded, Unauthenticated

router = APIRouter(prefix="/logs", tags=["logs"])
PROTOCOL: Final = "ocelot.v1"
TOKEN_PROTOCOL: Final = "ocelot.token."  # noqa: S105 - the prefix of one
FIRST_MESSAGE_SECONDS: Final = 10.0
MAX_STRANGERS: Final = 64
"""WebSockets that have not shown a token yet."""
_PIECE: Final = 64 * 1024
_RETRY_MS: Final = 1000
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # A proxy that waits for more would hold events back.
    (b"x-accel-buffering", b"no"),
)
_CLOSE_CODES: Final = {SLOW: 4408, STOPPING: 1012, "tenant_suspended": 4403, "forbidden": 4403}
_EXAMPLE: Final = (
    'id: 4fWcX1...\nevent: heartbeat\ndata: {"time":"2026-11-21T11:40:00.101933Z"}\n\n'
    'id: 9kQmB2...\ndata: {"id":"01a1fdf2-d2cc-7e1f-94f5-0939230d076e","action":"document.shared","user_id":"ana"}\n\n'
)
_LAST_EVENT_ID: Final[dict[str, Any]] = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The `id` that was received last: the stream goes on right after it.",
    "schema": {"type": "string"},
}
_PARAMETERS: Final = [each for each in SEARCH_PARAMETERS if each["name"] not in ("sort", "limit", "cursor")]


@router.get(
    "/stream",
    response_class=Response,
    summary="Follow events as they are stored",
    description="Server-sent events. A message without an event name is an event in its stored bytes; `heartbeat`, "
    "`gap` and `end` are named. Each has an `id`: send the last one as `Last-Event-ID` and nothing is left out and "
    "nothing comes twice, also with another filter or after days. `gap` says that the server does not know any more "
    "what came in between: all that was accepted from `backfilled_from` on follows out of the store, some of it "
    "perhaps for the second time. `end` says why in `reason`: a code of an error, `slow_reader` or "
    "`server_stopping`. The filters are the search's; a page's order, size and cursor have no meaning here.\n\n"
    "**WebSocket**: the same path, `wss:`, subprotocol `ocelot.v1`, gives the same as JSON messages "
    '`{"type", "id", "data"}`. The token goes into `Authorization`, or beside the subprotocol as '
    "`ocelot.token.<token>`, or into the first message as "
    '`{"token": "...", "last_event_id": "..."}`; never into the URL.',
    responses={
        200: {"description": "The stream", "content": {"text/event-stream": {"example": _EXAMPLE}}},
        **problems(400, 401, 403, 429, 503),
    },
    openapi_extra={**needs(Permission.READ), "parameters": [*_PARAMETERS, _LAST_EVENT_ID]},
)
async def follow(request: Request) -> Response:
    last = last_event_id_of(request.headers)
    stream = await open_stream(request, bearer_of(request), request.query_params.multi_items(), last)
    return EventStream(stream)


class EventStream(Response):
    """A stream as server-sent events; ends when the client is gone."""

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def write(frames: Sequence[Frame]) -> None:
            for piece in pieces(frames):
                await send({"type": "http.response.body", "body": piece, "more_body": True})

        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            await send({"type": "http.response.body", "body": b"retry: %d\n\n" % _RETRY_MS, "more_body": True})
            if await until_gone(self._stream.run(write, "sse"), gone(receive, "http.disconnect")):
                await send({"type": "http.response.body", "body": b""})
        finally:
            await self._stream.aclose()


@router.websocket("/stream")
async def follow_by_websocket(websocket: WebSocket) -> None:
    state = state_of(websocket)
    strangers = state.strangers
    accepted = False
    try:
        refuse_foreign_origin(websocket, state)
        token, last = token_of(websocket), last_event_id_of(websocket.headers)
        if token is None:
            if strangers.locked():
                raise Overloaded("too many WebSockets have not shown a token", code="too_many_streams")
            async with strangers:
                await accept(websocket)
                accepted = True
                token, last = await first_message(websocket)
        stream = await open_stream(websocket, token, websocket.query_params.multi_items(), last)
    except OcelotError as error:
        await refuse(websocket, error, accepted=accepted)
        return
    except WebSocketDisconnect:
        return
    use_of(websocket).answered(101)
    await run(websocket, stream, accepted=accepted)


async def run(websocket: WebSocket, stream: Stream, *, accepted: bool) -> None:
    """Send the stream's frames as messages, and close with what its end means."""

    async def write(frames: Sequence[Frame]) -> None:
        for frame in frames:
            kind, at = frame.kind.encode(), frame.id.encode()
            text = b'{"type":"' + kind + b'","id":"' + at + b'","data":' + frame.body + b"}"
            await websocket.send_text(text.decode())

    async def serve() -> str:
        try:
            if not accepted:
                await accept(websocket)
            return await stream.run(write, "websocket")
        finally:
            await stream.aclose()

    reason = await until_gone(serve(), gone(websocket.receive, "websocket.disconnect"))
    if reason:
        await websocket.close(_CLOSE_CODES.get(reason, 4401), reason)


async def accept(websocket: WebSocket) -> None:
    offered = websocket.scope.get("subprotocols", ())
    await websocket.accept(PROTOCOL if PROTOCOL in offered else None)


def token_of(websocket: WebSocket) -> str | None:
    """The token beside the subprotocol or in the header; None: the first message will bring it."""
    offered = [name for name in websocket.scope.get("subprotocols", ()) if name.startswith(TOKEN_PROTOCOL)]
    if len(offered) > 1:
        raise Unauthenticated("one token is needed")
    if offered:
        return str(offered[0].removeprefix(TOKEN_PROTOCOL))
    return bearer_of(websocket) if "authorization" in websocket.headers else None


class _First(msgspec.Struct, forbid_unknown_fields=True):
    token: str
    last_event_id: str | None = None


_first: Final = msgspec.json.Decoder(_First).decode


async def first_message(websocket: WebSocket) -> tuple[str, str | None]:
    """The token and place that a client's first message brings; raises `Unauthenticated` or `Invalid`."""
    try:
        async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
            message = await websocket.receive()
    except TimeoutError:
        raise Unauthenticated("no token came") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    try:
        first = _first(message.get("text") or message.get("bytes") or b"")
    except (msgspec.DecodeError, UnicodeError):
        detail = 'the first message must be {"token": "...", "last_event_id": "..."}'
        raise Invalid(detail, code="malformed_json") from None
    return first.token, first.last_event_id


def refuse_foreign_origin(websocket: WebSocket, state: State) -> None:
    """A browser sends WebSockets from any page: one of another origin is `Forbidden` unless it is set up."""
    for origin in websocket.headers.getlist("origin"):
        allowed = {each.strip().rstrip("/").lower() for each in (state.settings.stream_origins or "").split(",")}
        if state.settings.public_url:
            parts = urlsplit(state.settings.public_url)
            allowed.add(f"{parts.scheme}://{parts.netloc}".lower())
        try:
            own = urlsplit(origin).netloc.lower() == websocket.headers.get("host", "").lower() != ""
        except ValueError:  # a bracket without its other
            own = False
        if not own and origin.rstrip("/").lower() not in allowed:
            raise Forbidden("pages of this origin may not open streams", code="foreign_origin")


async def refuse(websocket: WebSocket, error: OcelotError, *, accepted: bool) -> None:
    """Answer the handshake with a problem; after it, say the reason and close."""
    if not accepted:
        await websocket.send_denial_response(problem_of(error, telemetry.request_id.get()))
        return
    end = {"type": "end", "id": None, "data": {"reason": error.code, "detail": error.message}}
    await websocket.send_text(msgspec.json.encode(end).decode())
    await websocket.close(4000 + status_of(error), error.code)


def pieces(frames: Sequence[Frame]) -> list[bytes]:
    """The frames as server-sent events, small ones together."""
    found, piece = [], bytearray()
    for frame in frames:
        name = b"" if frame.kind == "event" else b"event: " + frame.kind.encode() + b"\n"
        piece += b"id: " + frame.id.encode() + b"\n" + name + b"data: " + frame.body + b"\n\n"
        if len(piece) >= _PIECE:
            found.append(bytes(piece))
            piece.clear()
    return [*found, bytes(piece)] if piece else found


async def gone(receive: Receive, kind: str) -> None:
    """Until the client has gone; what it sends is passed over."""
    while True:
        message: Message = await receive()
        if message["type"] == kind:
            return


async def until_gone(work: Any, leaving: Any) -> Any:
    """The result of `work`, or None when the client left first, which ends it."""
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(leaving)
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, going):
            task.cancel()
        await asyncio.wait({working, going})
    if working.cancelled() or isinstance(working.exception(), OSError | WebSocketDisconnect):
        return None
    return working.result()
