"""The API's memory: at rest, and what a bulk of 16 MiB adds at its peak, by the operating system's own account."""

from __future__ import annotations

import gzip
import http.client
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks import data
from benchmarks.rows import Row, at_most
from benchmarks.servers import Measured, api, settings_of
from infra.local.servers import start_index, start_store

IDLE_MIB: Final = 150.0
TIMES: Final = 5.0
EVENTS: Final = 10_000
SIZE: Final = 16 * 1024 * 1024
ROUNDS: Final = 3
_MIB: Final = 1024 * 1024


def run() -> list[Row]:
    body = _body()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store, index = start_store(home), start_index(home)
        try:
            settings = settings_of(home, store.url, index.url)
            rows = [at_most("API at rest", _idle(settings), IDLE_MIB, "MiB")]
            for name, encoding in (("as it is", ""), ("gzip", "gzip")):
                times = statistics.median(_added(settings, body, encoding) / len(body) for _ in range(ROUNDS))
                rows.append(at_most(f"bulk of 16 MiB, 10,000 events, {name}", times, TIMES, "times its size"))
        finally:
            index.stop()
            store.stop()
    return rows


def _idle(settings: dict[str, str]) -> float:
    with api(settings) as server:
        time.sleep(3)
        return server.rss() / _MIB


def _added(settings: dict[str, str], body: bytes, encoding: str) -> float:
    """How much a new process grows while it works on one bulk, as the first of its life."""
    with api(settings) as server:
        _send(server, b"[" + data.small() + b"]", "")
        before = server.rss()
        process = Path(f"/proc/{server.process.pid}")
        (process / "clear_refs").write_text("5")  # the high-water mark begins anew
        _send(server, body, encoding)
        status = (process / "status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    return peak - before


def _send(server: Measured, body: bytes, encoding: str) -> None:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    if encoding:
        headers["Content-Encoding"] = encoding
        body = gzip.compress(body, 1)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/api/v1/logs/bulk", body, headers)
    answer = connection.getresponse()
    result = json.loads(answer.read())
    connection.close()
    if answer.status != 202 or result["refused"] or result["retry"]:
        raise RuntimeError(f"the bulk was not taken: {answer.status}")


def _body() -> bytes:
    """Real CloudTrail events, padded to fill the largest body with the most events."""
    each = SIZE // EVENTS - 1
    events = [event for event in data.cloudtrail(2900) if len(event) <= each - 9]
    padded = [event[:-2] + b',"pad":"' + b"x" * (each - 9 - len(event)) + b'"}}' for event in events]
    body = b"[" + b",".join(padded[n % len(padded)] for n in range(EVENTS)) + b"]"
    if not SIZE * 0.99 < len(body) <= SIZE:
        raise RuntimeError(f"a body of {len(body)} bytes")
    return body
