"""Statistics over a million events on a real OpenSearch, in ten months: asked again, and asked for the first time."""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from benchmarks.rows import Row, at_most
from benchmarks.servers import api, settings_of, token_of
from benchmarks.stack import CONNECTIONS, Http, await_count
from core import instant
from core.adapters.index import bulk, mapping
from core.facets import NONE, Declared, Facets, FacetType, declare
from core.placement import read_alias, write_alias
from core.tenant import Tenant

MONTHS: Final = 10
EVENTS: Final = 1_000_000
BULK: Final = 5000
ROUNDS: Final = 9
GOAL_MS: Final = 300
_START: Final = instant.from_text("2026-01-01T00:00:00Z")
_DAYS: Final = 300
_FACETS: Final = [
    Declared("amount", "metadata.amount", FacetType.NUMBER),
    Declared("customer", "metadata.customer", FacetType.KEYWORD),
]
_ASKED: Final[dict[str, list[tuple[str, str]]]] = {
    "counts by the day in Berlin": [("interval", "1d"), ("time_zone", "Europe/Berlin")],
    "counts by six hours, and by action": [("interval", "6h"), ("by", "action")],
    "counts by action and a facet, of different users": [
        ("interval", "1d"), ("by", "action"), ("by", "facet.customer"), ("distinct", "user_id"),
    ],
    "percentiles of a facet": [("interval", "none"), ("percentiles", "facet.amount")],
    "all of these": [
        ("interval", "1d"), ("time_zone", "Europe/Berlin"), ("by", "action"), ("by", "facet.customer"),
        ("distinct", "user_id"), ("percentiles", "facet.amount"),
    ],
}  # fmt: skip


def run() -> list[Row]:
    """Skips, with a line that says so, where no servers are named."""
    store, index = (os.environ.get(f"OCELOT_TEST_{name}_URL") for name in ("MONGODB", "OPENSEARCH"))
    if not store or not index:
        sys.stderr.write("  no real servers are named: skipped\n")
        return []
    with tempfile.TemporaryDirectory() as home:
        return _rows(settings_of(Path(home), store, index))


def _rows(settings: dict[str, str]) -> list[Row]:
    import pymongo

    server = Http(settings["OPENSEARCH_URL"])
    names: list[str] = []
    try:
        with api(settings) as front:
            token, tenant = token_of(settings)
            client = Http(f"http://127.0.0.1:{front.port}", token)
            facets = [{"name": f.name, "path": f.path, "type": f.type.value} for f in _FACETS]
            client.call("PUT", "/api/v1/facets", json.dumps({"facets": facets}).encode())
            names += [f"{write_alias(tenant.id, f'2026{month:02}')}-g1" for month in range(1, MONTHS + 1)]
            _fill(server, names, tenant)
            client = Http(f"http://127.0.0.1:{front.port}", token)  # the first has been idle for too long
            return [row for what, asked in _ASKED.items() for row in _measured(client, what, asked)]
    finally:
        for name in names:
            server.call("DELETE", f"/{name}?ignore_unavailable=true")
        pymongo.MongoClient[dict[str, Any]](settings["MONGODB_URL"]).drop_database(settings["MONGODB_DATABASE"])


def _fill(server: Http, names: list[str], tenant: Tenant) -> None:
    """The documents straight into an index, as the consumer writes them; the other months are copies of its files.

    A tenth of the indexing, for the same number of events in as many shards: what is counted has no place in an id.
    """
    facets = declare(NONE, _FACETS)
    first, *others = names
    body = {
        "settings": {**mapping.settings(1, 0), "refresh_interval": "-1"},
        "mappings": mapping.mappings(),
        "aliases": {read_alias(tenant.id): {}},
    }
    server.call("PUT", f"/{first}", json.dumps(body).encode())
    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        path = f"/{first}/_bulk?filter_path=errors"
        kind = "application/x-ndjson"
        for answer in pool.map(lambda batch: server.call("POST", path, batch, kind), _batches(tenant, facets)):
            if answer.get("errors"):
                raise RuntimeError("not every event was indexed")
    server.call("PUT", f"/{first}/_settings", b'{"index":{"refresh_interval":"1s","blocks.write":true}}')
    server.call("POST", f"/{first}/_flush")
    copied = json.dumps({"settings": {"index.number_of_replicas": 0}, "aliases": body["aliases"]}).encode()
    for name in others:
        server.call("PUT", f"/{first}/_clone/{name}", copied)
    await_count(server, read_alias(tenant.id), EVENTS)
    sys.stderr.write(f"  {EVENTS:,} events indexed in {time.perf_counter() - started:.0f} s\n")


def _batches(tenant: Tenant, facets: Facets) -> Iterator[bytes]:
    dice = random.Random(1)
    for _ in range(EVENTS // MONTHS // BULK):
        yield b"".join(_entry(tenant, facets, dice) for _ in range(BULK))


def _entry(tenant: Tenant, facets: Facets, dice: random.Random) -> bytes:
    amount, customer = facets.all
    us = _START + int(dice.random() * _DAYS * 86_400_000_000)
    event_id = str(uuid.UUID(int=dice.getrandbits(128)))
    text, spent, who = (
        instant.to_text(us),
        round(dice.lognormvariate(4, 1), 2),
        f"c{int(dice.paretovariate(0.5)) % 2000}",
    )
    body = (
        f'{{"id":"{event_id}","tenant_id":"{tenant.id}","timestamp":"{text}","received_at":"{text}","salt":"x",'
        f'"action":"a{int(dice.paretovariate(0.8)) % 300}","severity":"INFO","user_id":"u{dice.randrange(4000)}",'
        f'"ip_address":"10.0.{dice.randrange(256)}.{dice.randrange(256)}","message":"an order was paid",'
        f'"metadata":{{"amount":{spent},"customer":"{who}"}}}}'
    )
    marks = ",".join(f'"{facet.serial}"' for facet in facets.all)
    slots = f',"facets":[{marks}],"{amount.slot}":{spent},"{customer.slot}":["{who}"]'
    return bulk.entry(event_id, body.encode(), slots.encode())


def _measured(client: Http, what: str, asked: list[tuple[str, str]]) -> Iterator[Row]:
    """The median of the same request again and again, and of requests that no cache has seen: each another range."""
    end = instant.to_text(_START + _DAYS * 86_400_000_000)
    again = [("from", instant.to_text(_START)), ("to", end), *asked]
    _ask(client, again)
    yield at_most(f"stats of 1,000,000 events, {what}, asked again", _median(client, [again] * ROUNDS), GOAL_MS, "ms")
    ranges = [instant.to_text(_START + n * 1_000_000 + 1) for n in range(ROUNDS)]
    fresh = [[("from", start), ("to", end), *asked] for start in ranges]
    yield at_most(f"stats of 1,000,000 events, {what}, asked first", _median(client, fresh), GOAL_MS, "ms")


def _median(client: Http, requests: list[list[tuple[str, str]]]) -> float:
    times = [_ask(client, request) for request in requests]
    sys.stderr.write(f"  {' '.join(f'{each:.0f}' for each in times)} ms\n")
    return statistics.median(times)


def _ask(client: Http, request: list[tuple[str, str]]) -> float:
    """Milliseconds until the whole answer is there."""
    started = time.perf_counter()
    answer = client.call("GET", f"/api/v1/logs/stats?{urlencode(request)}")
    taken = (time.perf_counter() - started) * 1000
    if answer["answered_by"] != "index" or answer["total"]["count"] < EVENTS * 0.99:
        raise RuntimeError("not every event was counted")
    return taken
