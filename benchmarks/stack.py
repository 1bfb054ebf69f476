"""The whole service as processes on given servers, a client that feeds it, and the index fed alone by a bare client."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import psutil
import pymongo

from benchmarks.servers import api, server, settings_of, token_of
from core import instant
from core.adapters.index import mapping
from core.adapters.index.client import Client
from core.adapters.index.opensearch import OpenSearchIndex
from core.bulk import Bulk, Form
from core.commit import GroupCommit
from core.envelope import Record
from core.ingest import Ingest
from core.placement import read_alias
from core.ports import IndexDocument
from core.tenant import Tenant, for_system

BULK: Final = 500
# As many as the consumer has under way.
CONNECTIONS: Final = 2
_DEADLINE: Final = 120.0


class Http(threading.local):
    """A kept connection for each thread."""

    def __init__(self, url: str, token: str = "") -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """The answer's JSON; fails unless it is 2xx."""
        return json.loads(self.read(method, path, body, kind))

    def read(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """The answer as it came; fails unless it is 2xx."""
        self._connection.request(method, path, body, {"Content-Type": kind, **self._headers})
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return text


@dataclass
class Stack:
    """A running service. `watched` are the processes whose CPU is told."""

    settings: dict[str, str]
    watched: dict[str, psutil.Process]
    tenants: list[Tenant] = field(default_factory=list)

    @property
    def index(self) -> Http:
        return Http(self.settings["OPENSEARCH_URL"])

    def tenant(self) -> tuple[Http, str]:
        """A client of a new tenant with one searchable event, and the alias of its events."""
        token, tenant = token_of(self.settings)
        self.tenants.append(tenant)
        client = Http(f"http://127.0.0.1:{self.settings['PORT']}", token)
        client.call("POST", "/api/v1/logs", b'{"action":"first"}')
        await_count(self.index, read_alias(tenant.id), 1)
        return client, read_alias(tenant.id)

    def sustained(self, events: Sequence[bytes]) -> float:
        """Events per second from the first byte sent until all are searchable, as fast as the service takes them."""
        client, alias = self.tenant()
        bodies = [b"[" + b",".join(events[n : n + BULK]) + b"]" for n in range(0, len(events), BULK)]
        before = self._cpu()
        started = time.perf_counter()
        _send_all(client, "/api/v1/logs/bulk", bodies, "application/json")
        accepted = time.perf_counter() - started
        await_count(self.index, alias, 1 + len(events))
        seconds = time.perf_counter() - started
        after = self._cpu()
        costs = "  ".join(f"{name} {(after[name] - before[name]) / len(events) * 1e6:.0f}" for name in after)
        sys.stderr.write(f"  accepted in {accepted:.1f} s, searchable in {seconds:.1f} s; CPU us/event: {costs}\n")
        return len(events) / seconds

    def _cpu(self) -> dict[str, float]:
        return {name: sum(process.cpu_times()[:2]) for name, process in self.watched.items()}

    def clean(self) -> None:
        """Remove the tenants' indexes and the database."""
        for tenant in self.tenants:
            for name in self.index.call("GET", f"/{read_alias(tenant.id)}-*/_alias"):
                self.index.call("DELETE", f"/{name}")
        pymongo.MongoClient[dict[str, Any]](self.settings["MONGODB_URL"]).drop_database(
            self.settings["MONGODB_DATABASE"]
        )


@contextmanager
def running(home: Path, store: str, index: str, watched: Mapping[str, int], **more: str) -> Iterator[Stack]:
    """API and consumer on these servers; `watched` names the servers' processes, where they are known."""
    settings = settings_of(home, store, index, **more)
    code = "from consumer.main import serve; serve()"
    port = int(settings["OCELOT_CONSUMER_PORT"])
    stack = Stack(settings, {name: psutil.Process(pid) for name, pid in watched.items()})
    try:
        with api(settings) as front, server(code, settings, "/health", port) as consumer:
            stack.watched = {"api": front.process, "consumer": consumer.process, **stack.watched}
            yield stack
    finally:
        stack.clean()  # once both have ended: their last heartbeat makes the database again


class Alone:
    """The index fed by a bare client: the same documents, the same size of bulks, into a fresh index of our mapping."""

    def __init__(self, index: Http, events: Sequence[bytes]) -> None:
        self._index = index
        self._count = len(events)
        self._bodies = asyncio.run(_bulk_bodies(events))

    def rate(self) -> float:
        """Events per second until all are searchable."""
        name = f"bench-{os.getpid()}-{time.monotonic_ns()}"
        body = {"settings": mapping.settings(1, 0), "mappings": mapping.mappings()}
        self._index.call("PUT", f"/{name}", json.dumps(body).encode())
        try:
            started = time.perf_counter()
            _send_all(self._index, f"/{name}/_bulk?filter_path=errors", self._bodies, "application/x-ndjson")
            await_count(self._index, name, self._count)
            return self._count / (time.perf_counter() - started)
        finally:
            self._index.call("DELETE", f"/{name}")


def await_count(index: Http, name: str, count: int) -> None:
    """Wait until as many events are searchable."""
    deadline = time.monotonic() + _DEADLINE
    while True:
        with suppress(RuntimeError):  # it is not there before its first event
            if index.call("GET", f"/{name}/_count")["count"] >= count:
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{count} events are not searchable after {_DEADLINE:.0f} s")
        time.sleep(0.05)


def _send_all(client: Http, path: str, bodies: Sequence[bytes], kind: str) -> None:
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for answer in pool.map(lambda body: client.call("POST", path, body, kind), bodies):
            if answer.get("errors") or answer.get("refused") or answer.get("retry"):
                raise RuntimeError("not every event was taken")


async def _bulk_bodies(events: Sequence[bytes]) -> list[bytes]:
    """What the consumer would send to the index for these events."""
    kept = Kept()
    tenant = Tenant("benchmark", "benchmark", b"\0" * 32, 0)
    scope = for_system(tenant.id, "benchmark")
    ingest = Ingest(cast("GroupCommit", kept))
    index = OpenSearchIndex(cast("Client", kept), 1, 0)
    for start in range(0, len(events), BULK):
        await ingest.many(scope, tenant, Bulk(b"[" + b",".join(events[start : start + BULK]) + b"]", Form.JSON))
        records, kept.records = kept.records, []
        documents = [IndexDocument(json.loads(record.body)["id"], record.body) for record in records]
        await index.index(scope, records[0].placement, documents)
    return kept.bodies


class Kept:
    """In place of group commit and of the index: keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.bodies: list[bytes] = []

    @contextmanager
    def stamping(self) -> Iterator[int]:
        yield instant.now_us()

    async def submit(self, records: Sequence[Record], stamp: int) -> list[tuple[int, int, Exception]]:
        self.records += records
        return []

    async def call(self, method: str, path: str, params: Mapping[str, str], body: bytes, **more: object) -> str:
        self.bodies.append(body)
        return '{"items":[' + ",".join(['{"create":{"status":201}}'] * (body.count(b"\n") // 2)) + "]}"
