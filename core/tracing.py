"""Traces: from a request through the queue to store and index, exported by OTLP where that is configured.

Without an endpoint nothing that exports is imported and nothing is measured: one look at a variable a request, an
envelope and a batch. The context travels in the envelope's header as W3C `traceparent`; an envelope that holds several
requests' events continues the first one's trace and links the others'.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_MAX_LINKS: Final = 32

traceparent: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""The context of the work at hand: of the request's own span, or what its client sent."""

_provider: TracerProvider | None = None


def trace_id_of(text: str | None) -> str | None:
    """The trace's id in a `traceparent`; None for what is none."""
    found = _TRACEPARENT.fullmatch(text) if text else None
    return None if found is None or found[1] == "0" * 32 or found[2] == "0" * 16 else found[1]


def configure(service: str, endpoint: str | None, share: float) -> None:
    """Export this process's spans to the OTLP collector at `endpoint`; `share` of the traces that begin here.

    Raises ValueError where the packages are missing: they are the extra `otel`.
    """
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError:
        raise ValueError("OTEL_EXPORTER_OTLP_ENDPOINT: needs the extra `otel`: pip install 'ocelot[otel]'") from None
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(share)), resource=Resource.create({"service.name": service})
    )
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    install(provider)


def install(provider: TracerProvider | None) -> None:
    """Make spans by this provider from now on; none with None."""
    global _provider
    _provider = provider


def is_on() -> bool:
    return _provider is not None


class Request:
    """The span of one request; `traceparent` is its context while it lasts."""

    def __init__(self, method: str, parent: str | None) -> None:
        from opentelemetry.trace import SpanKind

        self._method = method
        self._span = _start(method, parent, SpanKind.SERVER)
        self.traceparent = _text_of(self._span)

    def end(self, route: str, status: int, request_id: str) -> None:
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attributes({
            "http.request.method": self._method,
            "http.route": route,
            "http.response.status_code": status,
            "ocelot.request_id": request_id,
        })  # fmt: skip
        _finish(self._span, None if status and status < 500 else f"status {status}")


class Sending:
    """The span of one envelope from its sealing to the queue's answer."""

    def __init__(self, parents: Iterable[str | None], events: int) -> None:
        from opentelemetry.trace import SpanKind

        several = [*dict.fromkeys(parent for parent in parents if parent)]
        self._span = _start("send envelope", several[0] if several else None, SpanKind.PRODUCER, links=several[1:])
        self._span.set_attribute("messaging.batch.message_count", events)
        self.traceparent = _text_of(self._span)

    def end(self, error: Exception | None) -> None:
        _finish(self._span, None if error is None else type(error).__name__)


class Consuming:
    """The spans of a batch of envelopes, each a child of its sending; `step` makes a span in each for what it wraps.

    Steps of a batch are one piece of work for all of its envelopes, so each has the whole step's time.
    """

    def __init__(self, parents: Sequence[str | None]) -> None:
        self._spans: list[Span] = []
        if is_on():
            from opentelemetry.trace import SpanKind

            self._spans = [_start("consume envelope", each, SpanKind.CONSUMER) for each in parents if each]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        if not self._spans:
            yield
            return
        started, fault = time.time_ns(), "broken off"
        try:
            yield
            fault = ""
        except Exception as error:
            fault = type(error).__name__
            raise
        finally:
            for span in self._spans:
                _finish(_start(name, _text_of(span), started=started), fault or None)
            if fault:
                self.end(fault)

    def end(self, fault: str | None = None) -> None:
        for span in self._spans:
            _finish(span, fault)
        self._spans = []


def _start(
    name: str, parent: str | None, kind: Any = None, *, links: Sequence[str] = (), started: int | None = None
) -> Span:
    from opentelemetry.trace import Link, SpanKind, set_span_in_context
    from opentelemetry.trace.span import INVALID_SPAN, NonRecordingSpan

    assert _provider is not None  # noqa: S101 - asked before
    context = _context_of(parent)
    return _provider.get_tracer("ocelot").start_span(
        name,
        context=set_span_in_context(INVALID_SPAN if context is None else NonRecordingSpan(context)),
        kind=kind or SpanKind.INTERNAL,
        links=[Link(linked) for text in links[:_MAX_LINKS] if (linked := _context_of(text)) is not None],
        start_time=started,
    )


def _context_of(text: str | None) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    found = _TRACEPARENT.fullmatch(text) if text and trace_id_of(text) else None
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def _text_of(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _finish(span: Span, fault: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    if fault is not None:
        span.set_status(Status(StatusCode.ERROR, fault))
    span.end()
