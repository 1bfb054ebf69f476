"""From a record to the row of the store."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from core import instant
from core.envelope import Record
from core.errors import InvalidEvent
from core.rows import received_at, row_of

TENANT = "tenant00"
STAMPS: dict[str, Any] = {
    "id": "01939a5c-0000-7000-8000-000000000000",
    "tenant_id": TENANT,
    "timestamp": "2026-11-21T11:40:00.123456Z",
    "received_at": "2026-11-21T11:40:01.000001Z",
    "salt": "x" * 22,
    "action": "user.login",
    "severity": "INFO",
}


def record(**fields: Any) -> Record:
    return Record(TENANT, "202611", json.dumps(STAMPS | fields).encode(), b"c" * 32)


def test_a_row_holds_the_named_fields_that_are_there() -> None:
    one = record(message="hi", ip_address="10.0.0.7", tags=["a"], user_id=None, metadata={"action": "other"})
    row = row_of(one, "p-1")
    assert row.named == {
        "action": "user.login", "severity": "INFO", "ip_address": "10.0.0.7", "tags": ["a"],
        "ip_key": "00000000000000000000ffff0a000007",
    }  # fmt: skip
    assert (row.id, row.tenant_id, row.placement, row.envelope) == (STAMPS["id"], TENANT, "202611", "p-1")
    assert row.timestamp == instant.from_text(STAMPS["timestamp"])
    assert row.received_at == received_at(one.body) == instant.from_text(STAMPS["received_at"])
    assert (row.body, row.hash, row.content) == (one.body, hashlib.sha256(one.body).digest(), b"c" * 32)


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant_id": "tenant01"}, {"action": None}, {"action": 1}, {"message": 1}, {"tags": [1]}, {"salt": None},
        {"timestamp": "yesterday"}, {"received_at": "2026-11-21T11:40:00"}, {"ip_address": "here"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_event_of_its_tenant_is_invalid(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent):
        row_of(record(**fields), "p-1")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"id":"x"}', b"\xff", b"[" * 100_000])
def test_other_bytes_are_invalid(body: bytes) -> None:
    with pytest.raises(InvalidEvent):
        row_of(Record(TENANT, "202611", body), "p-1")
