"""The databases that the store's suites run on, one fresh for each test, and rows and tenants to put into them."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient

from core import instant
from core.adapters.store.client import Database, open_client, store_calls
from core.adapters.store.indexes import ensure_indexes
from core.envelope import Record
from core.ids import uuid7s
from core.ports import StoreRow
from core.rows import row_of
from core.tenant import TenantScope, for_system, new_tenant_id
from tests.conftest import LIVE_MONGODB

BACKENDS = [
    pytest.param("memory", id="mongomock"),
    pytest.param("embedded", id="secantusdb"),
    pytest.param("live", id="live", marks=pytest.mark.skipif(not LIVE_MONGODB, reason="no OCELOT_TEST_MONGODB_URL")),
]
START = 1_780_000_000_000_000
_numbers = itertools.count()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """`memory`, `embedded` or `live`."""
    return str(request.param)


@pytest.fixture
async def database(backend: str, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """An empty database with the indexes, dropped afterwards."""
    name = f"ocelot_test_{uuid.uuid4().hex[:12]}"
    if backend == "memory":
        memory: Database = AsyncMongoMockClient()[name]
        await ensure_indexes(memory)
        yield memory
        return
    url = str(LIVE_MONGODB) if backend == "live" else request.getfixturevalue("embedded_store").url
    client = open_client(url)
    await ensure_indexes(client[name])
    yield client[name]
    with store_calls(30):  # SecantusDB drops row by row
        await client.drop_database(name)
    client.close()


def a_scope() -> TenantScope:
    return for_system(new_tenant_id(), "test")


def body_of(tenant_id: str, fields: dict[str, Any] | None = None, *, at: int | None = None) -> bytes:
    """An event's bytes; `at` is its `received_at`, and its `timestamp` unless `fields` has one."""
    if at is None:
        at = START + next(_numbers) * 1_000
    given = fields or {}
    event = {
        "id": given.get("id") or uuid7s(at, 1)[0],
        "tenant_id": tenant_id,
        "timestamp": given.get("timestamp") or instant.to_text(at),
        "received_at": instant.to_text(at),
        "salt": "s" * 22,
        "severity": "INFO",
        "action": "user.login",
        **{name: value for name, value in given.items() if name not in ("id", "timestamp")},
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def row(scope: TenantScope, body: bytes, content: bytes | None = None) -> StoreRow:
    return row_of(Record(scope.tenant_id, "202606", body, content), "envelope-1")


def rows(scope: TenantScope, count: int, fields: dict[str, Any] | None = None) -> list[StoreRow]:
    return [row(scope, body_of(scope.tenant_id, fields)) for _ in range(count)]


def real_bodies(folder: Path, tenant_id: str, each: int) -> list[bytes]:
    """`each` events of every file of real audit logs: the original as `metadata`, some of it as named fields."""
    return [
        _wrapped(tenant_id, line, path.name.split(".")[0], n)
        for path in sorted(folder.glob("*.ndjson.gz"))
        for n, line in enumerate(_lines(path, each))
    ]


def _lines(path: Path, count: int) -> Iterable[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from (line.strip() for line in itertools.islice(file, count))


def _wrapped(tenant_id: str, line: str, source: str, n: int) -> bytes:
    original = json.loads(line)
    named = {
        "action": str(original.get("eventName") or original.get("EventID") or original.get("eventType") or "event"),
        "source": source,
        "user_id": original.get("userIdentity", {}).get("arn")
        if isinstance(original.get("userIdentity"), dict)
        else None,
        "message": original.get("Message"),
        "ip_address": f"10.{n % 3}.0.{n % 250}",
        "tags": [source, f"n{n % 4}"],
        "timestamp": instant.to_text(START - int(hashlib.sha256(line.encode()).hexdigest()[:10], 16)),
    }
    plain = body_of(tenant_id, {name: value for name, value in named.items() if value is not None})
    return plain[:-1] + b',"metadata":' + line.encode() + b"}"
