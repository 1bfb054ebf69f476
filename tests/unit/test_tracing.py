"""Traces from a request to the index, what leaves the process, and that nothing is there when none are asked for."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from api.middleware import Envelope
from core import envelope, telemetry, tracing
from core.commit import GroupCommit
from core.envelope import Record
from core.errors import Unavailable
from core.ports import Message
from tests.service import ROOT
from tests.unit.ports import anything, record
from tests.unit.test_pipeline import World

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{PARENT}-01"


class Taking:
    """A queue that takes everything."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def send(self, messages: Sequence[Message]) -> list[Exception | None]:
        self.sent += messages
        return [None] * len(messages)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.install(provider)
    yield exporter
    tracing.install(None)


async def request(commit: GroupCommit, records: list[Record], *headers: tuple[bytes, bytes]) -> None:
    """A request whose handler submits the records, through the middleware."""

    async def handler(scope, receive, send) -> None:
        scope["route"] = type("Route", (), {"path": "/logs"})
        assert await commit.submit(records) == []
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message) -> None:
        pass

    await Envelope(handler)({"type": "http", "method": "POST", "headers": list(headers)}, None, send)


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def span_id(span: ReadableSpan) -> int:
    return span.get_span_context().span_id


async def test_one_trace_goes_from_the_request_through_the_queue_to_the_index(spans: InMemorySpanExporter) -> None:
    queue = Taking()
    await request(GroupCommit(anything(queue)), [record(1)], (b"traceparent", SAMPLED.encode()))
    world = World()
    assert await world.take(*(message.body for message in queue.sent)) == [None]
    found = named(spans)
    assert set(found) == {"POST /logs", "send envelope", "consume envelope", "store", "index"}
    assert {f"{span.get_span_context().trace_id:032x}" for span in found.values()} == {TRACE}
    parents = {name: span.parent and span.parent.span_id for name, span in found.items()}
    assert parents == {
        "POST /logs": int(PARENT, 16),
        "send envelope": span_id(found["POST /logs"]),
        "consume envelope": span_id(found["send envelope"]),
        "store": span_id(found["consume envelope"]),
        "index": span_id(found["consume envelope"]),
    }
    assert dict(found["POST /logs"].attributes or {}).items() >= {
        "http.route": "/logs", "http.response.status_code": 202,
    }.items()  # fmt: skip
    assert tracing.traceparent.get() is None


async def test_an_envelope_of_several_requests_links_their_traces(spans: InMemorySpanExporter) -> None:
    queue = Taking()
    commit = GroupCommit(anything(queue))
    await asyncio.gather(*(request(commit, [record(1)]) for _ in range(3)))
    [message] = queue.sent
    requests = [span for span in spans.get_finished_spans() if span.name == "POST /logs"]
    sending = named(spans)["send envelope"]
    assert sending.parent is not None
    met = {sending.parent.trace_id, *(link.context.trace_id for link in sending.links)}
    assert met == {span.get_span_context().trace_id for span in requests}
    assert len(met) == 3
    carried = envelope.peek(message.body).trace or ""
    assert carried.startswith(f"00-{sending.parent.trace_id:032x}-{span_id(sending):016x}-")


async def test_a_step_that_fails_says_so_and_ends_its_spans(spans: InMemorySpanExporter) -> None:
    queue = Taking()
    await request(GroupCommit(anything(queue)), [record(1)], (b"traceparent", SAMPLED.encode()))
    world = World()

    async def down(*_: object, **__: object) -> None:
        raise Unavailable("store")

    world.store.insert = down  # type: ignore[method-assign, assignment]
    with pytest.raises(Unavailable):
        await world.take(queue.sent[0].body)
    found = named(spans)
    assert set(found) == {"POST /logs", "send envelope", "store", "consume envelope"}
    for name in ("store", "consume envelope"):
        assert (found[name].status.status_code, found[name].status.description) == (StatusCode.ERROR, "Unavailable")


async def test_without_an_endpoint_the_envelope_has_no_context_and_nothing_is_measured() -> None:
    tracing.configure("test", None, 1.0)
    assert not tracing.is_on()
    queue = Taking()
    await request(GroupCommit(anything(queue)), [record(1)], (b"traceparent", SAMPLED.encode()))
    assert envelope.peek(queue.sent[0].body).trace is None
    assert await World().take(queue.sent[0].body) == [None]


def test_without_an_endpoint_no_process_imports_what_exports() -> None:
    code = (
        "import sys, api.main, consumer.main, cli.main, core.wiring; from core import tracing; "
        "tracing.configure('x', None, 1.0); "
        "sys.exit(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=200).returncode == 0


def test_a_missing_package_is_one_line_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ValueError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: needs the extra `otel`"):
        tracing.configure("test", "http://127.0.0.1:1", 1.0)
    assert not tracing.is_on()


class Collector(BaseHTTPRequestHandler):
    """An OTLP collector that keeps what it is sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.got.append((self.path, ExportTraceServiceRequest.FromString(body)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


async def test_spans_are_exported_by_otlp() -> None:
    server = HTTPServer(("127.0.0.1", 0), Collector)
    server.got = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        tracing.configure("ocelot-test", f"http://127.0.0.1:{server.server_port}/", 0.0)
        queue = Taking()
        commit = GroupCommit(anything(queue))
        await request(commit, [record(1)])  # not sampled: its share is none
        await request(commit, [record(1)], (b"traceparent", SAMPLED.encode()))
        provider = tracing._provider
        assert provider is not None
        provider.shutdown()
    finally:
        tracing.install(None)
        server.shutdown()
        thread.join()
        server.server_close()
    got = server.got  # type: ignore[attr-defined]
    assert {path for path, _ in got} == {"/v1/traces"}
    resources = [resource for _, sent in got for resource in sent.resource_spans]
    spans = [span for resource in resources for scope in resource.scope_spans for span in scope.spans]
    assert sorted(span.name for span in spans) == ["POST /logs", "send envelope"]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert {a.value.string_value for r in resources for a in r.resource.attributes if a.key == "service.name"} == {
        "ocelot-test"
    }


@given(st.text(max_size=60) | st.just(SAMPLED) | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"))
def test_a_traces_id_is_taken_from_what_is_well_formed_alone(text: str) -> None:
    found = tracing.trace_id_of(text)
    parts = text.split("-")
    if found is not None:
        assert parts[:2] == ["00", found]
        assert int(found, 16)
        assert int(parts[2], 16)
    else:
        assert text != SAMPLED


# Logs ----------------------------------------------------------------------------------------------------------------


def logged(message: str, *arguments: object, error: BaseException | None = None) -> dict[str, str]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(telemetry._JsonLines())
    log = logging.Logger("test")  # noqa: LOG001 - apart from the root
    log.addHandler(handler)
    log.error(message, *arguments, exc_info=error)
    [line] = out.getvalue().splitlines()
    found: dict[str, str] = json.loads(line)
    return found


def test_a_line_names_its_request_and_trace() -> None:
    assert not {"request_id", "trace_id"} & logged("x").keys()
    request_id, traced = telemetry.request_id.set("r-1"), tracing.traceparent.set(SAMPLED)
    try:
        line = logged("x %d", 7)
    finally:
        telemetry.request_id.reset(request_id)
        tracing.traceparent.reset(traced)
    assert (line["message"], line["request_id"], line["trace_id"]) == ("x 7", "r-1", TRACE)


@pytest.mark.parametrize(
    "secret",
    [
        "mongodb://ocelot:QZ-hunter-QZ@db.example:27017/",
        "https://ana:QZ%20hunter/QZ@search.example".replace("/QZ", "QZ"),
        "Authorization: Bearer QZ.hunter.QZ-token",
        "basic UVotaHVudGVyLVFa",
        "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJRWiJ9.QZhunterQZ",
        "ocs_QZhunterQZ_0123456789abcdef",
    ],
)
def test_no_secret_reaches_a_line(secret: str) -> None:
    for line in (logged("before %s after", secret), logged("failed", error=ValueError(f'"{secret}" is wrong'))):
        text = json.dumps(line)
        assert "***" in text
        assert not any(part in text for part in ("hunter", "UVota", "eyJ"))
    assert logged("before %s after", secret)["message"].endswith("after")
