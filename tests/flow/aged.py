"""Events that were received long ago, put where the consumer would have put them then."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec

from core import instant
from core.envelope import Record
from core.errors import Unavailable
from core.ids import uuid7s
from core.placement import place
from core.ports import IndexDocument, InsertOutcome, StoreRow
from core.rows import row_of
from core.tenant import Tenant, for_system
from core.wiring import Backends
from tests.service import Client, Service

_BATCH = 500
_AT_ONCE = 2
_TRIES = 20


def aged(tenant: Tenant, received_at: int, n: int, **fields: Any) -> StoreRow:
    """An event received then, with free-form data that an encoder would change."""
    at = instant.to_text(received_at)
    head = {
        "id": uuid7s(received_at, 1)[0], "tenant_id": tenant.id, "timestamp": at, "received_at": at, "salt": "s" * 22,
        "action": "file.read", "severity": "INFO", "message": f"Ána read ledger {n}", **fields,
    }  # fmt: skip
    odd = f',"metadata":{{"n": {n}.0, "big":1{n:030},"a.b":{{"$x":1e400}}, "text":"\\u00e9"}}}}'.encode()
    body = msgspec.json.encode(head)[:-1] + odd
    content = hashlib.sha256(body).digest() if n % 7 == 0 else None
    return row_of(Record(tenant.id, place(tenant.placements, received_at), body, content), f"envelope-{n // 50}")


def put(running: Service, client: Client, rows: Sequence[StoreRow]) -> None:
    """Store and index them."""
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")

    async def some(backends: Backends, batch: Sequence[StoreRow]) -> None:
        for left in reversed(range(_TRIES)):
            try:
                await once(backends, batch)
                return
            except Unavailable:  # a busy machine: as the consumer would, again
                if not left:
                    raise
                await asyncio.sleep(1)

    async def once(backends: Backends, batch: Sequence[StoreRow]) -> None:
        assert set(await backends.store.insert(batch)) <= {InsertOutcome.STORED, InsertOutcome.DUPLICATE}
        placed: dict[str, list[IndexDocument]] = defaultdict(list)
        for row in batch:
            placed[row.placement].append(IndexDocument(row.id, row.body))
        for placement, documents in placed.items():
            await backends.index.index(scope, placement, documents)

    async def work(backends: Backends) -> None:
        batches = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
        for start in range(0, len(batches), _AT_ONCE):
            await asyncio.gather(*(some(backends, batch) for batch in batches[start : start + _AT_ONCE]))
        await backends.index.refresh(scope)

    running.with_backends(work)
