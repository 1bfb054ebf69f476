"""A whole export against the same events drained from the store by a bare cursor, and what it adds to the API's memory.

100,000 events on the embedded store; on the one at `OCELOT_TEST_MONGODB_URL`, where it is set, `OCELOT_BENCH_EXPORT`
(2,000,000). They are put straight into the store.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pymongo

from benchmarks import data
from benchmarks.rows import Row, at_least, at_most
from benchmarks.servers import Measured, server, settings_of, token_of
from core import instant
from core.adapters.store.client import open_client
from core.adapters.store.events import MongoEventStore
from core.adapters.store.pages import STORED
from core.envelope import Record
from core.ids import uuid7s
from core.ports import StoreRow
from core.rows import row_of
from core.tenant import Tenant
from infra.local.servers import start_index, start_store

GROWTH_MIB: Final = 100.0
SHARE: Final = 0.5
EMBEDDED: Final = int(os.environ.get("OCELOT_BENCH_EXPORT_EMBEDDED", "100000"))
LIVE: Final = int(os.environ.get("OCELOT_BENCH_EXPORT", "2000000"))
_MIB: Final = 1024 * 1024
_BATCH: Final = 4000
_AT_ONCE: Final = 10
"""Events of one moment, as bulks make them."""


def run() -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store, index = start_store(home), start_index(home)
        try:
            if EMBEDDED:
                rows += _measured("embedded", settings_of(home, store.url, index.url), EMBEDDED)
            if live := os.environ.get("OCELOT_TEST_MONGODB_URL"):
                rows += _measured("real store", settings_of(home, live, index.url), LIVE)
        finally:
            index.stop()
            store.stop()
    return rows


def _measured(name: str, settings: dict[str, str], count: int) -> list[Row]:
    code, port = "from api.main import serve; serve()", int(settings["PORT"])
    try:
        with server(code, settings, "/api/v1/health", port) as front:
            front.token, tenant = token_of(settings)
            asyncio.run(_fill(settings, tenant, count))
            bare = asyncio.run(_drained(settings, tenant, count))
            rate, growth = _exported(front, "ndjson", count)
            _, in_csv = _exported(front, "csv", count) if count <= EMBEDDED else (0.0, 0.0)
    finally:
        client = pymongo.MongoClient[dict[str, Any]](settings["MONGODB_URL"])
        client.drop_database(settings["MONGODB_DATABASE"])
    rows = [
        at_least(f"export of {count:,} events, {name}, against a bare cursor", rate, bare, SHARE, "events/s"),
        at_most(f"memory that an export of {count:,} events adds, {name}", growth, GROWTH_MIB, "MiB"),
    ]
    if in_csv:
        rows.append(at_most(f"the same as csv, {name}", in_csv, GROWTH_MIB, "MiB"))
    return rows


async def _fill(settings: dict[str, str], tenant: Tenant, count: int) -> None:
    client = open_client(settings["MONGODB_URL"])
    store = MongoEventStore(client[settings["MONGODB_DATABASE"]])
    began = time.perf_counter()
    rows = _rows(tenant, count)
    while batch := list(itertools.islice(rows, 500)):
        outcomes = await store.insert(batch)
        if not all(outcome == "stored" for outcome in outcomes):
            raise RuntimeError("not every event was stored")
    sys.stderr.write(f"  {count:,} events stored in {time.perf_counter() - began:.0f} s\n")
    client.close()


def _rows(tenant: Tenant, count: int) -> Iterator[StoreRow]:
    """Events of the last hour, 550 bytes and their stamps."""
    rest, start = data.small()[1:], instant.now_us() - 3_600_000_000
    for n in range(count // _AT_ONCE):
        at = start + n * (3_000_000_000 * _AT_ONCE // count)
        text = instant.to_text(at)
        for event_id in uuid7s(at, _AT_ONCE):
            head = f'{{"id":"{event_id}","tenant_id":"{tenant.id}","received_at":"{text}","salt":"{"s" * 22}",'
            body = head.encode() + b'"severity":"INFO",' + rest
            yield row_of(Record(tenant.id, "202611", body, None), "benchmark")


async def _drained(settings: dict[str, str], tenant: Tenant, count: int) -> float:
    """Events a second of one cursor over the same events, in no order, nothing done with them."""
    client = open_client(settings["MONGODB_URL"] + ("&" if "?" in settings["MONGODB_URL"] else "?") + "timeoutMS=0")
    events = client[settings["MONGODB_DATABASE"]].events
    cursor = events.find({"tenant_id": tenant.id, "received_at": {"$gte": 0, "$lt": 1 << 62}}, STORED)
    began, found = time.perf_counter(), 0
    cursor.batch_size(_BATCH)
    while batch := await cursor.to_list(_BATCH):
        found += len(batch)
    seconds = time.perf_counter() - began
    client.close()
    if found != count:
        raise RuntimeError(f"the cursor found {found} events")
    return count / seconds


def _exported(front: Measured, form: str, count: int) -> tuple[float, float]:
    """Events a second of a whole export, and the MiB that the API grows by at its peak."""
    process = Path(f"/proc/{front.process.pid}")
    before = front.rss()
    (process / "clear_refs").write_text("5")  # the high-water mark begins anew
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=120)
    headers = {"Authorization": f"Bearer {front.token}", "Accept-Encoding": "identity"}
    connection.request("GET", f"/api/v1/logs/export?format={form}", headers=headers)
    answer = connection.getresponse()
    lines = 0
    began = time.perf_counter()
    while piece := answer.read(_MIB):
        lines += piece.count(b"\n")
    seconds = time.perf_counter() - began
    connection.close()
    if lines != count + (form == "csv"):
        raise RuntimeError(f"the export has {lines} lines")
    peak = int((process / "status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    sys.stderr.write(f"  {form}: {count / seconds:,.0f} events/s, {(peak - before) / _MIB:.0f} MiB\n")
    return count / seconds, (peak - before) / _MIB
