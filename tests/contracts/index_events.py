"""Events for the index's suite: stamped as the API stamps them, with times and ids that the test chooses."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core import event, instant
from core.ports import IndexDocument

NOW = instant.from_text("2026-11-21T11:40:00.123456Z")
PLACEMENT = "202611"


def event_id(number: int, us: int = NOW) -> str:
    """An id that sorts by `number` among those of one moment."""
    return str(uuid.UUID(int=(us // 1000) << 80 | 7 << 76 | 2 << 62 | number))


def stamped(
    item: Mapping[str, Any] | bytes, tenant_id: str, number: int, *, us: int = NOW, received_at: int | None = None
) -> IndexDocument:
    """A stored event; `item` as a client sends it."""
    encoded = item if isinstance(item, bytes) else json.dumps(item).encode()
    text = instant.to_text(us)
    received = text if received_at is None else instant.to_text(received_at)
    new = event_id(number)
    given = event.decode(encoded)
    event.check(given, NOW)
    line = event.encode(given)
    stamps = (
        f'{{"id":"{new}","tenant_id":"{tenant_id}","timestamp":"{text}","received_at":"{received}","salt":"{"x" * 22}",'
    )
    return IndexDocument(new, stamps.encode() + line[1:-1])


def wrapped(line: bytes) -> bytes:
    """A source's own record as an event: the whole of it in `metadata`, its message and host as named fields."""
    record = json.loads(line)
    action = record.get("eventName") or record.get("EventID") or record.get("verb") or "audit.record"
    named: dict[str, Any] = {"action": str(action)[:200]}
    if isinstance(message := record.get("Message") or record.get("message"), str) and message:
        named["message"] = message[:20_000]
    if isinstance(host := record.get("Hostname") or record.get("eventSource"), str):
        named["source"] = host
    return json.dumps(named).encode()[:-1] + b',"metadata":' + line.strip() + b"}"


def real_lines(folder: Path, each: int) -> Iterator[bytes]:
    """Up to `each` lines of every file, spread over the file."""
    for path in sorted(folder.glob("*.ndjson.gz")):
        with gzip.open(path) as lines:
            found = [line for line in lines if line.strip()]
        yield from found[:: max(1, len(found) // each)][:each]
