"""Logs as JSON lines and metrics for Prometheus, under names that docs/metrics.md lists."""

from __future__ import annotations

import json
import logging
import re
import sys
from contextvars import ContextVar
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from core.instant import now_us, to_text
from core.tracing import trace_id_of, traceparent

request_id: ContextVar[str] = ContextVar("request_id", default="")

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUESTS: Final = Counter(
    "ocelot_http_requests_total", "Answers by route, method and status.", ["method", "route", "status"],
    registry=REGISTRY,
)  # fmt: skip
REQUEST_SECONDS: Final = Histogram(
    "ocelot_http_request_duration_seconds", "Time to answer, by route.", ["route"], buckets=_SECONDS, registry=REGISTRY
)
EVENTS: Final = Counter("ocelot_events_total", "Events by what became of them.", ["outcome"], registry=REGISTRY)
IN_FLIGHT_BYTES: Final = Gauge("ocelot_in_flight_bytes", "Bodies being worked on.", registry=REGISTRY)
ADMISSION_LIMIT: Final = Gauge(
    "ocelot_admission_limit_bytes", "How many bytes of bodies may be in flight for now.", registry=REGISTRY
)
PENDING_BYTES: Final = Gauge("ocelot_pending_bytes", "Events that wait for the queue.", registry=REGISTRY)
CATALOGUE_FAULTS: Final = Counter(
    "ocelot_catalogue_faults_total", "Events that their tenant's catalogue does not allow.", ["mode"], registry=REGISTRY
)
CONSUMED: Final = Counter(
    "ocelot_consumed_total", "Events consumed, by what became of them.", ["outcome"], registry=REGISTRY
)
ENVELOPES: Final = Counter("ocelot_envelopes_total", "Envelopes consumed, by outcome.", ["outcome"], registry=REGISTRY)
BATCH_SECONDS: Final = Histogram(
    "ocelot_consumer_step_duration_seconds", "Time of each step of a batch.", ["step"], buckets=_SECONDS,
    registry=REGISTRY,
)  # fmt: skip
OUTBOX: Final = Gauge("ocelot_outbox_events", "Stored events that still have to be indexed.", registry=REGISTRY)
BLOCKED: Final = Gauge(
    "ocelot_index_blocked_placements", "Tenants' placements whose index takes no events.", registry=REGISTRY
)
QUEUE_MESSAGES: Final = Gauge("ocelot_queue_messages", "Messages in the queue, by state.", ["state"], registry=REGISTRY)
JOBS: Final = Counter("ocelot_jobs_total", "Jobs run, by what became of them.", ["kind", "outcome"], registry=REGISTRY)
BREAKER_OPEN: Final = Gauge(
    "ocelot_breaker_open", "1 while a dependency that hangs is not called.", ["dependency"], registry=REGISTRY
)
BREAKER_REFUSALS: Final = Counter(
    "ocelot_breaker_refusals_total", "Calls not made because the dependency hangs.", ["dependency"], registry=REGISTRY
)
EXPORTS: Final = Counter("ocelot_exports_total", "Streamed exports, by how they ended.", ["outcome"], registry=REGISTRY)
AUDIT_EVENTS: Final = Counter(
    "ocelot_audit_events_total", "Events of the access audit, by whether they are on record.", ["outcome"],
    registry=REGISTRY,
)  # fmt: skip
ERRORS: Final = Counter(
    "ocelot_dependency_errors_total", "Failed calls, by dependency.", ["dependency"], registry=REGISTRY
)
QUOTA_REFUSALS: Final = Counter(
    "ocelot_quota_refusals_total", "Requests refused for a quota, by its kind.", ["policy"], registry=REGISTRY
)
QUOTA_SHARE: Final = Gauge(
    "ocelot_quota_share", "The part of each quota that this process gives out by itself.", registry=REGISTRY
)
STREAMS: Final = Gauge("ocelot_streams", "Open streams of live events, by kind.", ["kind"], registry=REGISTRY)
STREAM_EVENTS: Final = Counter("ocelot_stream_events_total", "Live events sent to streams.", registry=REGISTRY)
STREAM_ENDS: Final = Counter("ocelot_stream_ends_total", "Streams that ended, by why.", ["reason"], registry=REGISTRY)
STREAM_GAPS: Final = Counter(
    "ocelot_stream_gaps_total", "Times that a watch or a stream lost history, by why.", ["reason"], registry=REGISTRY
)
JWKS: Final = Counter(
    "ocelot_jwks_fetches_total", "Looks at an external issuer's keys, by what came of them.", ["issuer", "outcome"],
    registry=REGISTRY,
)  # fmt: skip


def exposition() -> bytes:
    """All metrics in Prometheus' text form."""
    return generate_latest(REGISTRY)


# What other people's messages may quote: tokens, API secrets, and the account in a URL.
_SECRETS: Final = re.compile(
    r"(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*"
    r"|\bocs_[A-Za-z0-9_-]{16,}"
    r"|(?<=://)[^\s/@\"\\]+@"
)


def _without_secrets(line: str) -> str:
    return _SECRETS.sub("***", line)


class _JsonLines(logging.Formatter):
    """One JSON object a line; line breaks and control characters in a message cannot forge another line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": to_text(now_us()),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if value := request_id.get():
            line["request_id"] = value
        if trace_id := trace_id_of(traceparent.get()):
            line["trace_id"] = trace_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _without_secrets(json.dumps(line))


_KEPT_OUT: Final = ('"WebSocket %s"', "ASGI callable returned without completing handshake")


def _may_be_written(record: logging.LogRecord) -> bool:
    """Not the server's lines about WebSockets: they hold the URL, and in it filters or a token put there by mistake.

    Nor its error for each refused handshake, which is no fault.
    """
    return record.name != "uvicorn.error" or not any(text in str(record.msg) for text in _KEPT_OUT)


def configure_logging(level: str) -> None:
    """Log to standard error as JSON lines; the drivers only from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    handler.addFilter(_may_be_written)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("botocore", "aiobotocore", "pymongo", "opensearch", "httpx", "uvicorn.access", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
