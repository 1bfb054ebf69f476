"""The API process."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from api import PREFIX
from api.audited import describe_audit
from api.auditing import Audited
from api.direct import Direct, Route
from api.external import open_issuers
from api.lifespan import lifespan_of
from api.middleware import Envelope, unforeseen
from api.openapi import describe_limits, describe_permissions, extra_schemas, without_the_frameworks_own
from api.packing import Packing
from api.problems import problem, problem_of
from api.protocol import BoundedProtocol, Server
from api.routes import (
    access,
    catalogue,
    changes,
    completeness,
    deletion,
    docs,
    erasures,
    export,
    exports,
    facets,
    holds,
    jobs,
    keys,
    logs,
    masking,
    permission_sets,
    quarantine,
    quotas,
    reindex,
    retention,
    searches,
    searching,
    service,
    stats,
    stream,
    tenants,
    token,
    usage,
    viewers,
)
from api.tokens import SigningKey
from core import telemetry, tracing
from core.errors import OcelotError, as_value
from core.keys import signing_key_pem
from core.settings import BadSettings, Settings, load

log = logging.getLogger(__name__)
STREAMS_DRAIN_SECONDS = 5.0
MAX_MESSAGE_BYTES = 64 * 1024
"""Of a WebSocket's client, who sends a token and nothing else."""
# `changes` is the last of the log's: a path of two steps that another of them answers is not an event's.
_ROUTERS = (
    # Before the route of an event by its id:
    stream.router,
    export.router,
    stats.router,
    completeness.router,
    logs.router,
    catalogue.router,
    reindex.router,
    quarantine.router,
    viewers.router,
    searching.router,
    searches.router,
    exports.router,
    holds.router,
    retention.router,
    jobs.router,
    changes.router,
    facets.router,
    masking.router,
    token.router,
    keys.router,
    permission_sets.router,
    tenants.router,
    deletion.router,
    usage.router,
    quotas.router,
    erasures.router,
    access.router,
    service.router,
    docs.router,
)
_DESCRIPTION = """Ocelot keeps the record of who did what, for each tenant apart.

Send events with a token of the role `writer` or `admin`, read them with `reader` or `admin`. Put the token into
**Authorize** below. Every error is `application/problem+json` with a stable `code`."""


def create_app(settings: Settings) -> ASGIApp:
    """The whole application: the service behind its middleware, the hot routes beside the framework."""
    return wrapped(create_service(settings))


def wrapped(service: FastAPI) -> ASGIApp:
    """The service behind its middleware."""
    hot = {
        ("POST", f"{PREFIX}/logs"): Route("/logs", logs.send_event),
        ("POST", f"{PREFIX}/logs/bulk"): Route("/logs/bulk", logs.send_events),
        ("GET", f"{PREFIX}/logs"): Route("/logs", logs.search_events),
    }
    return Envelope(Packing(Audited(Direct(service, hot), service)))


def create_service(settings: Settings) -> FastAPI:
    """Every route; its lifespan opens the backends and drains what is in flight before it closes them."""
    app = FastAPI(
        title="Ocelot",
        version="0.1.0",
        description=_DESCRIPTION,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        # A redirect is no problem+json, and its target is made from the Host header.
        redirect_slashes=False,
        lifespan=lifespan_of(settings),
        servers=[{"url": settings.public_url}] if settings.public_url else None,
        separate_input_output_schemas=False,
        # Spans are our own middleware's: the framework's hold the URL, and in it filters, and miss the hot routes.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    for router in _ROUTERS:
        app.include_router(router, prefix=PREFIX)
    app.include_router(service.metrics)
    app.mount(f"{PREFIX}/docs/assets", docs.assets)
    app.add_exception_handler(OcelotError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_unforeseen)  # or the framework answers 500 before the middleware sees it
    app.openapi = _openapi(app)  # type: ignore[method-assign]
    return app


async def _on_error(request: Request, error: Exception) -> Response:
    # Answered, and done with: what it passed held the request's body, and held it for the collector to come.
    return problem_of(as_value(error), telemetry.request_id.get())


async def _on_unforeseen(request: Request, error: Exception) -> Response:
    return unforeseen(error, telemetry.request_id.get())


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    return problem(error.status_code, code, error.detail, telemetry.request_id.get(), headers=error.headers)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    faults = [{"loc": list(e["loc"]), "msg": e["msg"], "type": e["type"]} for e in error.errors()]
    detail = "; ".join(f"{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in faults)
    return problem(422, "invalid_request", detail, telemetry.request_id.get(), extra={"errors": faults})


def _openapi(app: FastAPI) -> Callable[[], dict[str, Any]]:
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = make()
            components = schema.setdefault("components", {})
            without_the_frameworks_own(schema)
            describe_permissions(schema)
            describe_audit(schema)
            describe_limits(schema)
            components["schemas"] = {**extra_schemas(), **components.get("schemas", {})}
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
            schema["security"] = [{"token": []}]
            app.openapi_schema = schema
        return app.openapi_schema

    return openapi


def serve() -> None:
    """Run the API until SIGTERM, exit code 0; ends with 1 and one line for each mistake when the settings are wrong."""
    import uvicorn

    try:
        settings = load()
        SigningKey(signing_key_pem(settings, SigningKey.generate))
        open_issuers(settings.issuers, settings.issuer, settings.audience)
        tracing.configure("ocelot-api", settings.otlp_endpoint, settings.trace_share)
    except (BadSettings, ValueError) as error:
        raise SystemExit(f"ocelot api: {error}") from None
    telemetry.configure_logging(settings.log_level)
    # uvicorn raises the signal again once it has drained, and a drained process has not failed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    service = create_service(settings)
    config = uvicorn.Config(
        wrapped(service),
        host=settings.host,
        port=settings.port,
        http=BoundedProtocol,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        # It would believe whoever speaks from this machine: who is believed is OCELOT_TRUSTED_PROXIES.
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive,
        timeout_graceful_shutdown=20,
        backlog=2048,
    )
    Server(config, lambda: service.state.ocelot.streams.drain(STREAMS_DRAIN_SECONDS)).run()


if __name__ == "__main__":
    serve()
