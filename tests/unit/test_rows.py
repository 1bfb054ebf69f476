"""What `row_of` lets through is fit for store and index; all else is refused, whoever wrote the envelope."""

from __future__ import annotations

import hashlib

import pytest

from core.envelope import Record
from core.errors import InvalidEvent
from core.rows import received_at, row_of

ID = "01a1fdf2-d2cc-7e1f-94f5-0939230d076e"
TENANT = "k3v9x2m4q8w1z7t5"
BODY = (
    f'{{"id":"{ID}","tenant_id":"{TENANT}","timestamp":"2026-11-21T11:40:00.000001Z",'
    '"received_at":"2026-11-21T11:40:00.000002Z","salt":"c2FsdA","action":"x","severity":"INFO",'
    '"ip_address":"203.0.113.7","metadata":{"a": [1]}}'
)


def test_an_event_has_its_row() -> None:
    row = row_of(Record(TENANT, "202611", BODY.encode(), b"c"), "e-1")
    assert (row.id, row.tenant_id, row.placement, row.body, row.content) == (ID, TENANT, "202611", BODY.encode(), b"c")
    assert row.received_at - row.timestamp == 1
    assert row.received_at == received_at(row.body)
    assert row.hash == hashlib.sha256(BODY.encode()).digest()
    assert row.named["ip_key"] == "00000000000000000000ffffcb007107"


def test_a_row_holds_the_named_fields_that_are_there() -> None:
    more = BODY.replace('"action"', '"message":"hi","tags":["a"],"user_id":null,"action"').replace(
        "[1]", '{"action":2}'
    )
    assert row_of(Record(TENANT, "202611", more.encode()), "e-1").named == {
        "action": "x", "severity": "INFO", "tags": ["a"], "ip_address": "203.0.113.7",
        "ip_key": "00000000000000000000ffffcb007107",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[1]", "[1\n]"),
        ("[1]", "[1\r]"),
        (ID, "../_doc/1"),
        (ID, f"{ID}\\n"),
        (TENANT, "another1"),
        ("203.0.113.7", "not-an-address"),
        ("2026-11-21T11:40:00.000001Z", "yesterday"),
        ('"action":"x"', '"action":1'),
        ('"action":"x"', '"action":null'),
        ('"action":"x"', '"action":"x","message":1'),
        ('"action":"x"', '"action":"x","tags":[1]'),
        ('"salt":"c2FsdA"', '"salt":null'),
        ("[1]}}", "[1]}} "),
        ("[1]}}", "[1]}"),
    ],
)
def test_a_body_that_is_no_event_is_refused(old: str, new: str) -> None:
    assert old in BODY
    with pytest.raises(InvalidEvent):
        row_of(Record(TENANT, "202611", BODY.replace(old, new).encode()), "e-1")


@pytest.mark.parametrize("placement", ["", "latest", "202611-g1", "*", "२०२६११", "202611\n"])
def test_a_placement_that_names_no_index_is_refused(placement: str) -> None:
    with pytest.raises(InvalidEvent):
        row_of(Record(TENANT, placement, BODY.encode()), "e-1")


@pytest.mark.parametrize("tenant_id", ["", "short", "UPPERCASE", "with-dash", "a" * 33])
def test_a_tenant_that_is_none_is_refused(tenant_id: str) -> None:
    with pytest.raises(InvalidEvent):
        row_of(Record(tenant_id, "202611", BODY.replace(TENANT, tenant_id).encode()), "e-1")
