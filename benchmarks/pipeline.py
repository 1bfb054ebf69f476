"""The whole way of real events, from the client's request to search: how many a second, and how soon each is found."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Final

from benchmarks import data
from benchmarks.rows import Row, at_least, at_most
from benchmarks.stack import Alone, Http, Stack, running
from infra.local.servers import start_index, start_store

ROUNDS: Final = 3
EMBEDDED_EVENTS: Final = 3000
REAL_EVENTS: Final = 10_000
PROBES: Final = 100
PROBES_A_SECOND: Final = 5
# Of the rate that was sustained a moment before.
MODERATE: Final = 0.3
VISIBLE_SECONDS: Final = 2.0
# Looked for more often, the search for 100 probes would be the load.
_POLL_SECONDS: Final = 0.1
_SERVERS: Final = ("OCELOT_TEST_MONGODB_URL", "OCELOT_TEST_OPENSEARCH_URL", "OCELOT_TEST_SQS_ENDPOINT_URL")


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        rows = _embedded(Path(folder))
        urls = [os.environ.get(name, "") for name in _SERVERS]
        return rows + (_real(Path(folder), *urls) if all(urls) else [])


def _embedded(home: Path) -> list[Row]:
    store, index = start_store(home), start_index(home)
    try:
        watched = {"store": store.process.pid, "index": index.process.pid}
        with running(home, store.url, index.url, watched) as stack:
            return _rows("embedded stack", stack, EMBEDDED_EVENTS, 0.8)
    finally:
        index.stop()
        store.stop()


def _real(home: Path, store: str, index: str, sqs: str) -> list[Row]:
    from core.adapters.queue.sqs_client import delete_queue, ensure_queue

    name = f"bench-{os.getpid()}"
    url = asyncio.run(ensure_queue(sqs, "us-east-1", name))
    more = {"OCELOT_QUEUE": "sqs", "SQS_QUEUE_URL": url, "SQS_ENDPOINT_URL": sqs}
    try:
        with running(home, store, index, {}, **more) as stack:
            return _rows("real servers", stack, REAL_EVENTS, 0.5)
    finally:
        asyncio.run(delete_queue(sqs, "us-east-1", name))


def _rows(name: str, stack: Stack, count: int, goal: float) -> list[Row]:
    events = mixed(count)
    alone = Alone(stack.index, events)
    alone.rate()  # a Java server's first events cost several times what later ones do
    pairs = []
    for _ in range(ROUNDS):
        pairs.append((stack.sustained(events), alone.rate()))
        sys.stderr.write(f"  {pairs[-1][0]:.0f} events/s, the index alone {pairs[-1][1]:.0f}\n")
    best = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
    p99 = _visible(stack, events, MODERATE * best[0])
    return [
        at_least(f"{name}, real events until searchable, against its index alone", *best, goal, "events per second"),
        at_most(f"{name}, from 202 until search finds it, p99", p99, VISIBLE_SECONDS, "s"),
    ]


def mixed(count: int) -> list[bytes]:
    """Real events, half CloudTrail, half Windows, as the import maps them, in an order that is always the same."""
    trail = data.imported("cloudtrail", 2900, "cloudtrail")
    windows = data.imported("windows", count // 2, "windows")
    events = [*islice(cycle(trail), count - len(windows)), *windows]
    random.Random(1).shuffle(events)
    return events


def _visible(stack: Stack, events: Sequence[bytes], rate: float) -> float:
    """Seconds, at the 99th percentile, from the 202 for one event until a search finds it, at `rate` events/s."""
    client, _ = stack.tenant()
    until = time.monotonic() + PROBES / PROBES_A_SECOND
    with ThreadPoolExecutor(32) as pool:
        steady = pool.submit(_feed, client, events, rate, until)
        probes = []
        for n in range(PROBES):
            probes.append(pool.submit(_probe, client, f"probe-{n}"))
            time.sleep(1 / PROBES_A_SECOND)
        times = sorted(probe.result() for probe in probes)
        sent = steady.result()
    sys.stderr.write(
        f"  {sent} events beside {PROBES} probes: p50 {times[PROBES // 2]:.2f} s, worst {times[-1]:.2f} s\n"
    )
    return times[PROBES * 99 // 100]


def _feed(client: Http, events: Sequence[bytes], rate: float, until: float) -> int:
    """Send `rate` events a second in bulks, five a second; how many were sent."""
    size = max(1, round(rate / 5))
    endless = cycle(events)
    started, sent = time.monotonic(), 0
    while time.monotonic() < until:
        client.call("POST", "/api/v1/logs/bulk", b"[" + b",".join(islice(endless, size)) + b"]")
        sent += size
        time.sleep(max(0.0, started + sent / rate - time.monotonic()))
    return sent


def _probe(client: Http, name: str) -> float:
    client.call("POST", "/api/v1/logs", b'{"action":"probe","request_id":"%b"}' % name.encode())
    accepted = time.perf_counter()
    while not _found(client, name):
        if time.perf_counter() - accepted > 30:
            raise RuntimeError("an accepted event is not found")
        time.sleep(_POLL_SECONDS)
    return time.perf_counter() - accepted


def _found(client: Http, name: str) -> bool:
    try:
        return bool(client.call("GET", f"/api/v1/logs?request_id={name}&limit=1")["data"])
    except RuntimeError:
        return False  # 503 is no finding either: the time goes on
