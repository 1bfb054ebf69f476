"""`ocelot import` of every file of real logs into one tenant: counted, found again, unchanged by a second time."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests import census
from tests.census import Census
from tests.conftest import LOGS
from tests.service import ROOT, Client, Service

# osmem takes some 600 of these a second: of the large files the short form loads the beginnings.
BEGINNING: Final = {"cloudtrail": 600, "windows": 250, "windows_large": 250}
EVERY: Final = 50

# Processes start and stop many times: on a loaded machine that takes its time.
pytestmark = pytest.mark.timeout(300)


def test_every_file_is_loaded_and_found(running: Service, tenant: Client, audit_logs: Path, tmp_path: Path) -> None:
    load_and_find(running, tenant, audit_logs, tmp_path, BEGINNING)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_line_of_every_file_is_loaded_and_found(
    running: Service, tenant: Client, audit_logs: Path, tmp_path: Path
) -> None:
    load_and_find(running, tenant, audit_logs, tmp_path, {})


def load_and_find(service: Service, tenant: Client, logs: Path, home: Path, limits: dict[str, int]) -> None:
    files = {path.name.split(".")[0]: path for path in sorted(logs.glob("*.ndjson.gz"))}
    assert set(files) == set(LOGS), "a file has no format here"
    lines = {name: _lines(path, limits.get(name)) for name, path in files.items()}
    began = time.monotonic()
    _import_all(tenant, home, lines)
    sent = time.monotonic() - began
    census.settle(service, [tenant], timeout=900)
    settled = time.monotonic() - began
    held = census.take(service, tenant)
    total = sum(map(len, lines.values()))
    print(f"\nfiles {total}, stored {len(held.stored)}, indexed {len(held.indexed)}; "
          f"imported in {sent:.1f} s, all indexed after {settled:.1f} s")  # fmt: skip
    _same_counts(held, lines)
    for name, original in lines.items():
        _find_sampled(tenant, held, LOGS[name], original)
    _import_all(tenant, home, lines, "--restart")
    census.settle(service, [tenant], timeout=900)
    again = census.take(service, tenant)
    assert again.bodies == held.bodies
    assert sorted(again.indexed) == sorted(held.indexed)


def _lines(path: Path, limit: int | None) -> list[bytes]:
    with gzip.open(path) as stream:
        return [line.rstrip(b"\n") for line in stream][:limit]


def _import_all(tenant: Client, home: Path, lines: dict[str, list[bytes]], *more: str) -> None:
    """A process for each file, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: _import(tenant, home, name, lines[name], *more), lines))


def _import(tenant: Client, home: Path, name: str, lines: list[bytes], *more: str) -> None:
    path, count = home / f"{name}.gz", len(lines)
    if not path.exists():
        path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n", 1))
    url = str(tenant.base_url).removesuffix("/api/v1/")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OCELOT_")} | {
        "PYTHONPATH": str(ROOT), "OCELOT_HOME": str(home), "OCELOT_URL": url, "OCELOT_TOKEN": tenant.token or "",
    }  # fmt: skip
    command = [sys.executable, "-m", "cli.main", "import", str(path), "--format", LOGS[name], *more]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert f"{count:,}" in done.stdout + done.stderr or str(count) in done.stdout + done.stderr


def _same_counts(held: Census, lines: dict[str, list[bytes]]) -> None:
    total = sum(map(len, lines.values()))
    assert (len(held.stored), len(set(held.stored))) == (total, total)
    assert sorted(held.indexed) == sorted(held.stored)
    assert held.altered == []
    # Every original is there whole, as often as the files have it; but for what the masking rules blacken.
    originals = Counter(line for each in lines.values() for line in each)
    kept = Counter(_metadata(body) for body in held.bodies.values())
    masked = sum((kept - originals).values())
    assert masked == sum((originals - kept).values())
    assert masked < total / 10


def _metadata(body: bytes) -> bytes:
    return body[body.index(b'"metadata":') + len(b'"metadata":') : -1]


def _patiently(tenant: Client, query: list[tuple[str, str]]) -> httpx.Response:
    """The answer to a search, asked again as a busy server wishes."""
    for _ in range(20):
        found = tenant.get("/logs", params=query)
        if found.status_code != 503:
            break
        time.sleep(float(found.headers["Retry-After"]))
    return found


def _find_sampled(tenant: Client, held: Census, source: str, originals: list[bytes]) -> None:
    """Every 50th line is found by its id, by a field of its original, and by search."""
    by_metadata: dict[bytes, list[str]] = {}
    for event_id, body in held.bodies.items():
        by_metadata.setdefault(hashlib.sha256(_metadata(body)).digest(), []).append(event_id)
    for original in originals[::EVERY]:
        ids = by_metadata.get(hashlib.sha256(original).digest())
        if ids is None:
            continue  # masked
        answer = tenant.get(f"/logs/{ids[0]}")
        assert answer.content == held.bodies[ids[0]]
        event = answer.json()
        for query in (_by_field(json.loads(original)), _by_search(event)):
            if query:
                # Of the many that match, the answer is to hold this one: its id beside the rest of the query.
                found = _patiently(tenant, [*query, ("id", ids[0])])
                assert found.status_code == 200, (query, found.text)
                assert [one["id"] for one in found.json()["data"]] == [ids[0]], (source, query, found.text)
                assert found.json()["answered_by"] == "index"
    assert tenant.get("/logs", params={"action": f"{_prefix(source)}.*", "limit": 1}).json()["total"] >= len(originals)


def _by_field(original: dict[str, Any]) -> list[tuple[str, str]]:
    """A filter by a short text at the top of the original, of the kind that the source has."""
    for key, value in original.items():
        if isinstance(value, str) and 0 < len(value) < 200 and key.isidentifier() and not value.startswith(("!", "\\")):
            return [(f"metadata.{key}", value if not value.endswith("*") else value[:-1] + "\\*")]
    return []


def _by_search(event: dict[str, Any]) -> list[tuple[str, str]]:
    """A search for the words of the message, and its action."""
    words = [word for word in event.get("message", "").split() if word.isascii() and word.isalpha()]
    return [("q", " ".join(words[:3])), ("action", event["action"])] if words else []


def _prefix(source: str) -> str:
    return {"cloudtrail": "aws"}.get(source, source)
