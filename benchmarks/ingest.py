"""Bulk and single ingest over HTTP: token checked, masked, stamped, encoded and durable in the queue before the 202."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks import data
from benchmarks.rows import Row, at_least
from benchmarks.servers import Measured, api, peer, settings_of
from infra.local.servers import start_index, start_store

ROUNDS = 7
_ONE_SEND = """
import api.lifespan, api.main, benchmarks.peers as peers
api.lifespan.GroupCommit = lambda queue, **more: peers.OneSendEach(queue)
api.main.serve()
"""


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store, index = start_store(home), start_index(home)
        try:
            rows = _bulk(home, store.url, index.url)
            rows += _single(home, store.url, index.url)
        finally:
            index.stop()
            store.stop()
    return rows


def _bulk(home: Path, store: str, index: str) -> list[Row]:
    bodies = {
        "bulk ingest, 500 CloudTrail events": (b"[" + b",".join(data.cloudtrail()) + b"]", 1.5),
        "bulk ingest, 500 events of 550 B": (b"[" + b",".join([data.small()] * 500) + b"]", 2.0),
    }
    rows = []
    with api(settings_of(home, store, index)) as ours, peer("benchmarks.peers:plain") as plain:
        for name, (body, goal) in bodies.items():
            pairs = [(_rate(ours, "/api/v1/logs/bulk", body), _rate(plain, "/bulk", body)) for _ in range(ROUNDS)]
            best = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
            rows.append(at_least(name, *best, goal, "events per second of API CPU"))
    return rows


def _rate(server: Measured, path: str, body: bytes, requests: int = 24) -> float:
    """Events per second of the server's CPU."""
    server.load(path, body, connections=2, requests=2)
    before = server.cpu()
    server.load(path, body, connections=2, requests=requests)
    return 500 * requests / (server.cpu() - before)


def _single(home: Path, store: str, index: str) -> list[Row]:
    rows = [_single_row("single POST at 64 connections, file queue", home, store, index, {})]
    endpoint = os.environ.get("OCELOT_TEST_SQS_ENDPOINT_URL")
    if endpoint:
        import asyncio

        from core.adapters.queue.sqs_client import delete_queue, ensure_queue

        name = f"bench-{os.getpid()}"
        url = asyncio.run(ensure_queue(endpoint, "us-east-1", name))
        more = {"OCELOT_QUEUE": "sqs", "SQS_QUEUE_URL": url, "SQS_ENDPOINT_URL": endpoint}
        rows.append(_single_row("single POST at 64 connections, ElasticMQ", home, store, index, more))
        asyncio.run(delete_queue(endpoint, "us-east-1", name))
    return rows


def _single_row(name: str, home: Path, store: str, index: str, more: dict[str, str]) -> Row:
    body = data.small()
    ours_home, peer_home = home / "ours", home / "peer"
    ours_home.mkdir(exist_ok=True)
    peer_home.mkdir(exist_ok=True)
    with (
        api(settings_of(ours_home, store, index, **more)) as ours,
        api(settings_of(peer_home, store, index, **more), _ONE_SEND) as one_each,
    ):
        ours.load("/api/v1/logs", body, connections=64, requests=2000)
        pairs = []
        for _ in range(3):
            mine = ours.load("/api/v1/logs", body, connections=64, requests=8000)["per_second"]
            theirs = one_each.load("/api/v1/logs", body, connections=64, requests=1500)["per_second"]
            pairs.append((mine, theirs))
    best = sorted(pairs, key=lambda pair: pair[0] / pair[1])[1]
    return at_least(name, *best, 5.0, "requests per second")
