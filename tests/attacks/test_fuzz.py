"""Fuzz targets without a service: whatever bytes come, a decoder answers with a value or with one of our own errors.

`make thorough` gives each a thousand examples in place of thirty.
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from api import bodies
from api.oauth import _form
from core import cursor, envelope, event, instant
from core.bulk import Bulk, Form
from core.envelope import Header, Record
from core.errors import Invalid, InvalidQuery, OcelotError, UndecodableEnvelope
from core.export import links
from core.prepare import decoded, encoded
from core.projection import Projection
from core.query import Page, Position, parse, parse_document
from core.query.strict_json import read
from core.streams import place
from core.tenant import Tenant

NOW = 1_790_000_000_000_000
ONE = Tenant("aaaaaaaaaaaaaaaa", "one", b"1" * 32, 0)
OTHER = Tenant("bbbbbbbbbbbbbbbb", "other", b"2" * 32, 0)
_text = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(
    ["\0", "*", "!", "\\", '"', "a.b", "$ne", "..", "\u202e", "\r\n", "9" * 400, "-1h", "now", "1e400"]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=10,
)
_names = st.sampled_from([*event.KEYWORD_FIELDS, *event.FREE_FIELDS, "timestamp", "message", "ip_address",
                          "idempotency_key", "id", "tenant_id"])  # fmt: skip
_events = st.dictionaries(_names, _json, max_size=6).map(lambda fields: {"action": "a", **fields})


@st.composite
def _torn(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Good bytes with a piece cut out, doubled or changed."""
    data = draw(whole)
    at, to = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
    put = draw(st.sampled_from([b"", data[at:to] * 2]) | st.binary(max_size=8))
    return data[:at] + put + data[to:]


_written = st.binary(max_size=200) | _torn(_events.map(lambda value: json.dumps(value).encode()))


@given(_written)
@example(b'{"action":"a","metadata":' + b"[" * 100_000)
@example(b'{"action":"a","metadata":{"a":1e999999999}}')
@example(b'{"action":"a","metadata":{"a":' + b"9" * 4_000 + b"}}")
@example(b'{"action":"a","metadata":{' + b",".join(b'"k%d":0' % n for n in range(100_000)) + b"}}")
@example(b'{"action":"a","action":"b","metadata":{},"metadata":{"a":1}}')
@example(b'{"action":"\\u0000\\ud800"}')
def test_an_event_is_decoded_or_refused(data: bytes) -> None:
    [run] = list(encoded([decoded(data, is_utf8=False)], NOW))
    assert len(run.lines) + len(run.faults) == 1
    for line in run.lines:
        assert line.count(b"\n") == 1
        assert line.endswith(b"}\n")
        assert b"\r" not in line
        json.loads(line)
        assert len(line) <= event.MAX_LINE_BYTES + 1


@given(
    st.lists(_written, max_size=5).map(lambda parts: b"\n".join(parts)) | st.binary(max_size=300), st.sampled_from(Form)
)
def test_a_bulk_is_cut_or_refused(data: bytes, form: Form) -> None:
    try:
        bulk = Bulk(data, form)
        items = list(bulk.items())
    except OcelotError:
        return
    for item in items:
        decoded(bytes(item), is_utf8=False)


_records = st.lists(
    st.builds(Record, st.sampled_from([ONE.id, OTHER.id]), st.just("202611"), st.binary(min_size=1, max_size=60)),
    min_size=1,
    max_size=4,
)


def _packed(records: list[Record]) -> bytes:
    counts = {t: sum(r.tenant_id == t for r in records) for t in (ONE.id, OTHER.id)}
    return envelope.pack(
        Header(id="p-1", producer="p", sequence=1, made_at=NOW, events={t: n for t, n in counts.items() if n}), records
    )


@given(st.binary(max_size=300) | _torn(_records.map(_packed)))
def test_an_envelope_is_opened_or_refused(data: bytes) -> None:
    try:
        header, records = envelope.unpack(data)
    except UndecodableEnvelope:
        return
    assert sum(header.events.values()) == len(records)


def _page() -> Page:
    return parse([("user_id", "ana"), ("limit", "5")], NOW)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
@example("A" * 5000)
def test_no_text_is_a_cursor_that_was_not_sealed_here(text: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        cursor.open_(ONE, _with(text))
    assert refused.value.code == "bad_cursor"


def _with(text: str) -> Page:
    return replace(_page(), cursor=text)


def _sealed(tenant: Tenant, page: Page) -> str:
    return cursor.seal(tenant, page, Position(NOW, "01999999-0000-7000-8000-000000000000"))


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_cursor_is_none(at: int, change: int) -> None:
    sealed = _sealed(ONE, _page())
    raw = bytearray(base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    raw[at % len(raw)] ^= change
    with pytest.raises(InvalidQuery) as refused:
        cursor.open_(ONE, _with(base64.urlsafe_b64encode(raw).rstrip(b"=").decode()))
    assert refused.value.code == "bad_cursor"


def test_a_cursor_is_good_for_its_tenant_and_query_alone() -> None:
    sealed = _sealed(ONE, _page())
    assert cursor.open_(ONE, _with(sealed))[1] is not None
    with pytest.raises(InvalidQuery) as foreign:
        cursor.open_(OTHER, _with(sealed))
    assert foreign.value.code == "bad_cursor"
    other = replace(parse([("user_id", "ben"), ("limit", "5")], NOW), cursor=sealed)
    with pytest.raises(InvalidQuery) as another:
        cursor.open_(ONE, other)
    assert another.value.code == "cursor_of_another_query"


_parameters = st.sampled_from(["q", "from", "to", "received_from", "sort", "limit", "cursor", "id", "action", "action!",
                               "tags", "ip_address", "message", "metadata.a", "metadata.a..b", "metadata.", "!",
                               "changed_paths", "facet.x", "user_id", "", "\U0001f98a"])  # fmt: skip


@given(st.lists(st.tuples(_parameters, _text), max_size=5))
def test_a_url_is_a_query_or_refused(parameters: list[tuple[str, str]]) -> None:
    with suppress(InvalidQuery):
        parse(parameters, NOW)


_members = st.sampled_from(["query", "field", "equals", "not", "and", "or", "text", "exists", "prefix", "in", "limit",
                            "sort", "from", "between", "$ne", "$where"])  # fmt: skip
_trees = st.recursive(_json, lambda inner: st.dictionaries(_members, inner | st.lists(inner, max_size=3), max_size=3),
                      max_leaves=8)  # fmt: skip


@given(_torn(_trees.map(lambda tree: json.dumps({"query": tree}).encode())) | st.binary(max_size=100))
@example(b'{"query":' + b'{"not":' * 50_000)
@example(b'{"query":{"field":"user_id","equals":{"$ne":""}}}')
@example(b'{"query":{"field":"user_id","equals":1e999999}}')
def test_a_tree_is_a_query_or_refused(data: bytes) -> None:
    if bodies.is_utf8(data):
        with suppress(Invalid):
            parse_document(read(data), NOW)


@given(_text)
def test_a_time_is_read_or_refused(text: str) -> None:
    try:
        us, canonical = instant.parse(text)
    except ValueError:
        return
    assert instant.parse(canonical) == (us, canonical)


@given(st.lists(_text, max_size=3), _events)
def test_a_projection_thins_or_refuses(written: list[str], fields: dict[str, Any]) -> None:
    try:
        projection = Projection.parse(written)
    except OcelotError:
        return
    body = json.dumps(fields | {"metadata": {"a": {"b": 1}}}).encode()
    msgspec.json.decode(projection.of(body))


@given(st.text(max_size=80) | st.binary(max_size=80).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_no_text_is_a_link_or_a_place(text: str) -> None:
    with pytest.raises(OcelotError):
        links.verify(ONE, text, 0)
    with pytest.raises(OcelotError):
        place.open_(ONE, text)


@given(st.sampled_from(["application/json", "application/x-www-form-urlencoded"]), st.binary(max_size=100))
def test_a_grants_form_is_read_or_refused(kind: str, data: bytes) -> None:
    if not bodies.is_utf8(data):
        return
    try:
        form = _form(kind, data)
    except OcelotError:
        return
    assert all(isinstance(value, str) for value in form.values())


@given(st.sampled_from(event.FREE_FIELDS), st.sampled_from(["\n", "\r", "\r\n", "\n\n \r"]), st.integers(0, 6))
def test_a_line_break_is_never_in_an_events_bytes(field: str, ends: str, at: int) -> None:
    parts = ['{"action":"a",', f'"{field}":', "{", '"of":', "[1,", '{"delete":{"_id":"x"}}]', "}", "}"]
    data = "".join(part + (ends if n >= at else "") for n, part in enumerate(parts)).encode()
    [run] = list(encoded([decoded(data)], NOW))
    [line] = run.lines
    assert line.rstrip(b"\n").splitlines() == [line[:-1]]
    assert json.loads(line)[field] == {"of": [1, {"delete": {"_id": "x"}}]}
