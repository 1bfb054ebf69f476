"""The service itself: alive, ready, measured."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from api.openapi import answer, needs
from api.state import state_of
from core import telemetry

router = APIRouter(tags=["service"])
metrics = APIRouter(tags=["service"])
_PING_SECONDS = 2.0
# Without the index, events are still taken and most searches answered from the store.
_VITAL = ("queue", "store")


class Health(BaseModel):
    status: str = "ok"


class Ready(BaseModel):
    """`status` is `ready`, `degraded` (the index is down) or `unavailable`.

    `breakers`: `open` (or `probing`) while a dependency hangs and calls to it fail at once, else `closed`.
    """

    status: str
    dependencies: dict[str, str]
    breakers: dict[str, str]


_CLOSED = {"store": "closed", "index": "closed"}
_READY = {"status": "ready", "dependencies": {"queue": "up", "store": "up", "index": "up"}, "breakers": _CLOSED}
_DOWN = {"status": "unavailable", "dependencies": {"queue": "down", "store": "up", "index": "up"}, "breakers": _CLOSED}
_METRICS = 'ocelot_events_total{outcome="accepted"} 1024.0\n'


# What balances load often asks with HEAD.
@router.head("/health", include_in_schema=False)
@router.get(
    "/health",
    response_model=Health,
    summary="Is the process alive",
    responses=answer(200, {"status": "ok"}),
    openapi_extra=needs(None),
)
async def health() -> Response:
    return JSONResponse({"status": "ok"})


@router.head("/ready", include_in_schema=False)
@router.get(
    "/ready",
    response_model=Ready,
    summary="Are the dependencies up",
    description="Each dependency by name: `up` or `down`. 503 when the queue or the store is down.",
    responses={
        **answer(200, _READY),
        503: {"model": Ready, "description": "Not ready", "content": {"application/json": {"example": _DOWN}}},
    },
    openapi_extra=needs(None),
)
async def ready(request: Request) -> Response:
    backends = state_of(request).backends
    pings: dict[str, Callable[[], Awaitable[None]]] = {
        "queue": backends.queue.ping,
        "store": backends.store.ping,
        "index": backends.index.ping,
    }
    states = dict(zip(pings, await asyncio.gather(*(_state(ping) for ping in pings.values())), strict=True))
    down = {name for name, state in states.items() if state == "down"}
    status = "unavailable" if down.intersection(_VITAL) else "degraded" if down else "ready"
    code = 503 if status == "unavailable" else 200
    headers = {"Retry-After": "2"} if code == 503 else {}
    breakers = {name: breaker.state for name, breaker in backends.breakers.items()}
    return JSONResponse({"status": status, "dependencies": states, "breakers": breakers}, code, headers)


@metrics.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses=answer(200, _METRICS, "text/plain"),
    openapi_extra=needs(None),
)
async def read_metrics(request: Request) -> Response:
    state = state_of(request)
    telemetry.IN_FLIGHT_BYTES.set(state.admission.in_flight)
    telemetry.PENDING_BYTES.set(state.commit.pending_bytes)
    return Response(telemetry.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _state(ping: Callable[[], Awaitable[None]]) -> str:
    try:
        async with asyncio.timeout(_PING_SECONDS):
            await ping()
    except Exception:
        return "down"
    return "up"
