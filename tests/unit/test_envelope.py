"""Envelopes: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from core import envelope
from core.envelope import Header, Record
from core.errors import UndecodableEnvelope

RECORDS = st.lists(
    st.builds(
        Record,
        tenant_id=st.from_regex(r"[a-z0-9]{8,32}", fullmatch=True),
        placement=st.just("202611"),
        body=st.binary(max_size=2000),
        content=st.none() | st.binary(min_size=32, max_size=32),
    ),
    max_size=20,
)


def header(records: list[Record]) -> Header:
    events: dict[str, int] = {}
    for record in records:
        events[record.tenant_id] = events.get(record.tenant_id, 0) + 1
    return Header(id="p-1", producer="p", sequence=1, made_at=1_795_261_200_000_000, events=events, trace=None)


@given(RECORDS)
def test_unpack_is_the_inverse_of_pack(records):
    head = header(records)
    message = envelope.pack(head, records)
    assert envelope.unpack(message) == (head, records)
    assert envelope.peek(message) == head
    assert envelope.pack(head, records) == message


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x01\xff\xff\xff\xff")
@example(b"\x01\x00\x00\x00\x00")
def test_no_other_bytes_are_an_envelope(data):
    with pytest.raises(UndecodableEnvelope):
        envelope.unpack(data)


@given(st.data())
def test_a_damaged_envelope_is_never_another_one(data):
    records = [Record("aaaaaaaa", "202611", b'{"action":"user.login"}' * 20)]
    message = envelope.pack(header(records), records)
    cut = data.draw(st.integers(0, len(message) - 1))
    with pytest.raises(UndecodableEnvelope):
        envelope.unpack(message[:cut])


def test_another_version_is_refused():
    message = envelope.pack(header([]), [])
    with pytest.raises(UndecodableEnvelope, match="version 2"):
        envelope.unpack(b"\x02" + message[1:])


def test_a_bomb_is_refused_in_bounded_memory():
    head = envelope.pack(header([]), [])
    length = int.from_bytes(head[1:5], "big") + 5
    bomb = zstandard.ZstdCompressor().compress(bytes(64 * 1024 * 1024))
    with pytest.raises(UndecodableEnvelope):
        envelope.unpack(head[:length] + bomb)


def test_a_header_that_counts_otherwise_is_refused():
    record = Record("aaaaaaaa", "202611", b"{}")
    with pytest.raises(UndecodableEnvelope, match="counts"):
        envelope.unpack(envelope.pack(header([record]), [record, record]))
