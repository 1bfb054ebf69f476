"""What a search takes beyond its parts: the same query sent straight to the index, and one read of its page."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode

import pymongo

from benchmarks import data
from benchmarks.rows import Row, at_most
from benchmarks.servers import api, settings_of, token_of
from benchmarks.stack import Http, Kept
from core import instant
from core.adapters.index.client import Client
from core.adapters.index.opensearch import OpenSearchIndex
from core.adapters.store.indexes import EVENTS
from core.bulk import Bulk, Form
from core.commit import GroupCommit
from core.envelope import Record
from core.ingest import Ingest
from core.ports import IndexDocument
from core.query import parse
from core.rows import row_of
from core.settings import Settings
from core.tenant import Tenant, TenantScope, for_system
from core.wiring import Backends, open_backends
from infra.local.servers import free_port, start_index, start_store

PAGE: Final = 50
PAGES: Final = 1000
ROUNDS: Final = 300
_UNAUDITED: Final = """
import api.main
from api.audit import Call
async def nothing(*_): pass
Call._write = nothing
api.main.serve()
"""
"""The service but for the record that each reading leaves: that is counted apart."""
_BULK: Final = 500
# A tenth of the events, all of them in order of time, and words of the message.
_QUERIES: Final[tuple[dict[str, str], ...]] = (
    {"ip_address": "10.3.0.0/16"},
    {"action": "document.shared", "from": "2026-11-20T00:00:00Z"},
    {"q": "quarterly budget"},
)


def run() -> list[Row]:
    urls = [os.environ.get(name, "") for name in ("OCELOT_TEST_MONGODB_URL", "OCELOT_TEST_OPENSEARCH_URL")]
    with tempfile.TemporaryDirectory() as folder:
        if all(urls):
            return _rows("real servers", Path(folder), *urls)
        store, index = start_store(Path(folder)), start_index(Path(folder))
        try:
            return _rows("embedded stack", Path(folder), store.url, index.url)
        finally:
            index.stop()
            store.stop()


def _rows(name: str, home: Path, store: str, index: str) -> list[Row]:
    settings = settings_of(home, store, index)
    beside = {**settings, "PORT": str(free_port())}
    with api(settings, _UNAUDITED) as server, api(beside) as audited:
        token, tenant = token_of(settings)
        scope = for_system(tenant.id, "benchmark")
        try:
            asyncio.run(_fill(settings, scope, tenant))
            ours, whole = (Http(f"http://127.0.0.1:{each.port}", token) for each in (server, audited))
            overhead, straight = _overhead(ours, Straight(settings, scope))
            record = _record(ours, whole)
            first, last = _paging(ours)
        finally:
            asyncio.run(_clean(settings, scope))
    return [
        at_most(f"search, {name}, beyond the same query and page read straight", overhead, 2.0, "ms", straight),
        Row(f"search, {name}, the record of it in the log", round(record, 2), None, None, "", True, "ms"),
        at_most(f"search, {name}, page {PAGES:,} over page 1", last / first, 1.2, "x"),
    ]


def _overhead(ours: Http, straight: Straight) -> tuple[float, float]:
    """Milliseconds at the median that the worst query takes beyond its parts, and what its parts take."""
    found = []
    for query in _QUERIES:
        path = f"/api/v1/logs?{urlencode(query)}"
        parts = straight.of(list(query.items()))
        if len(ours.call("GET", path)["data"]) != PAGE:
            raise RuntimeError("not a whole page")
        pairs = _alternately(lambda path=path: ours.read("GET", path), parts)
        whole, alone = (statistics.median(times) for times in zip(*pairs, strict=True))
        sys.stderr.write(f"  {query}: {whole:.2f} ms, its parts {alone:.2f} ms\n")
        found.append((whole - alone, alone))
    return max(found)


def _record(ours: Http, audited: Http) -> float:
    """Milliseconds at the median that the access audit's durable record of a search adds to it."""
    path = f"/api/v1/logs?{urlencode(_QUERIES[0])}"
    pairs = _alternately(lambda: audited.read("GET", path), lambda: ours.read("GET", path))
    whole, alone = (statistics.median(times) for times in zip(*pairs, strict=True))
    return whole - alone


def _paging(ours: Http) -> tuple[float, float]:
    """Milliseconds at the median of page 1 and of the last one, reached from page to page."""
    path, cursor = f"/api/v1/logs?limit={PAGE}", ""
    for _ in range(PAGES - 1):
        cursor = "&cursor=" + ours.call("GET", path + cursor)["next_cursor"]
    pairs = _alternately(lambda: ours.read("GET", path), lambda: ours.read("GET", path + cursor))
    first, last = (statistics.median(times) for times in zip(*pairs, strict=True))
    sys.stderr.write(f"  page 1: {first:.2f} ms, page {PAGES}: {last:.2f} ms\n")
    return first, last


def _alternately(one: Callable[[], object], other: Callable[[], object]) -> list[tuple[float, float]]:
    """Milliseconds of each, in turns: what else the machine does slows both."""
    pairs = [(_took(one), _took(other)) for _ in range(ROUNDS + 50)]
    return pairs[50:]


def _took(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


class Straight:
    """A bare client of the index and of the store, which asks what the service would ask, and nothing else."""

    def __init__(self, settings: Mapping[str, str], scope: TenantScope) -> None:
        self._scope = scope
        self._total_bound = Settings.model_validate(settings).total_bound
        self._index = Http(settings["OPENSEARCH_URL"].rstrip("/"))
        self._events = pymongo.MongoClient[dict[str, Any]](settings["MONGODB_URL"])[settings["MONGODB_DATABASE"]][
            EVENTS
        ]

    def of(self, parameters: Sequence[tuple[str, str]]) -> Callable[[], list[str]]:
        """The search and the read of its page, as one call that returns the events' bodies in order."""
        kept = _Kept()
        page = parse(parameters, instant.now_us())
        index = OpenSearchIndex(cast("Client", kept), 1, 0)
        asyncio.run(index.search(self._scope, page.query, after=None, limit=PAGE + 1, total_bound=self._total_bound))

        def ask() -> list[str]:
            answer = self._index.call(kept.method, kept.path, kept.body)
            ids = [hit["sort"][1] for hit in answer["hits"]["hits"]][:PAGE]
            asked = {"_id": {"$in": ids}, "tenant_id": self._scope.tenant_id}
            found = {document["_id"]: document["body"] for document in self._events.find(asked, {"body": 1})}
            if len(found) != PAGE:
                raise RuntimeError(f"a page of {len(found)} events")
            return [found[id_] for id_ in ids]

        return ask


@dataclass
class _Kept:
    """In place of the index's client: keeps what it is asked."""

    method: str = ""
    path: str = ""
    body: bytes = b""

    async def call(self, method: str, path: str, params: Mapping[str, str], body: bytes, **more: object) -> str:
        self.method, self.path, self.body = method, f"{path}?{urlencode(params)}" if params else path, body
        return '{"timed_out":false,"_shards":{"failed":0}}'

    @property
    def deadline(self) -> float:
        return 5.0


async def _fill(settings: Mapping[str, str], scope: TenantScope, tenant: Tenant) -> None:
    """Store and index a little more than all pages' events, by the service's own adapters."""
    records = await _records(scope, tenant)
    async with open_backends(Settings.model_validate(settings)) as backends:
        for start in range(0, len(records), _BULK):
            await _put(backends, scope, records[start : start + _BULK])
        await backends.index.refresh(scope)


async def _put(backends: Backends, scope: TenantScope, records: Sequence[Record]) -> None:
    rows = [row_of(record, "benchmark") for record in records]
    documents = [IndexDocument(row.id, row.body) for row in rows]
    done = await asyncio.gather(
        backends.store.insert(rows), backends.index.index(scope, records[0].placement, documents)
    )
    for outcome in (*done[0], *done[1]):
        if isinstance(outcome, Exception):
            raise outcome


async def _records(scope: TenantScope, tenant: Tenant) -> list[Record]:
    kept = Kept()
    ingest = Ingest(cast("GroupCommit", kept))
    events = data.small_ones(PAGE * (PAGES + 2))
    for start in range(0, len(events), _BULK):
        await ingest.many(scope, tenant, Bulk(b"[" + b",".join(events[start : start + _BULK]) + b"]", Form.JSON))
    return kept.records


async def _clean(settings: Mapping[str, str], scope: TenantScope) -> None:
    async with open_backends(Settings.model_validate(settings)) as backends:
        await backends.index.drop(scope)
    pymongo.MongoClient[dict[str, Any]](settings["MONGODB_URL"]).drop_database(settings["MONGODB_DATABASE"])
