"""From bytes to records: bodies unpacked and cut within bounds, events decoded, checked, stamped and encoded."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from api import bodies
from api.admission import Admission
from core import event, instant
from core.bulk import MAX_EVENTS, Bulk, Form
from core.envelope import Record
from core.errors import Invalid, InvalidEvent, TooLarge
from core.masking import mask, mask_all
from core.prepare import Entry, decoded, encoded, entries_at_once, slices, stamped
from core.splitting import split
from core.tenant import Tenant

NOW = 1_780_000_000_000_000
TENANT = Tenant("aaaaaaaa", "t", b"s" * 32, 0)
LIMIT = 1 << 20


def taken(*items: bytes, key: str | None = None, now: int = NOW) -> list[tuple[str, Record] | InvalidEvent]:
    """What becomes of each item: its id and record, or what is wrong with it."""
    return each([decoded(item) for item in items], now, key)


def each(entries: Sequence[Entry], now: int = NOW, key: str | None = None) -> list[tuple[str, Record] | InvalidEvent]:
    keys: dict[str, bytes] = {}
    found: dict[int, tuple[str, Record] | InvalidEvent] = {}
    count = len(entries)
    for run in encoded(entries, now, key=key):
        run.lines[:] = mask_all(run.lines)
        prepared = stamped(TENANT, run, now, keys)
        found |= dict(zip(prepared.places, zip(prepared.ids, prepared.records, strict=True), strict=True))
        assert not found.keys() & prepared.faults.keys()
        found |= prepared.faults
    assert found.keys() == set(range(count))
    return [found[n] for n in range(count)]


def body_of(item: bytes) -> bytes:
    [prepared] = taken(item)
    assert not isinstance(prepared, InvalidEvent), prepared
    return prepared[1].body


# Free-form fields ----------------------------------------------------------------------------------------------------

white = st.text(alphabet=" \t\n\r", max_size=3)
numbers = st.one_of(
    st.integers(-(10**40), 10**40).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
)
strings = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=12).map(
        lambda text: json.dumps(text, ensure_ascii=False)
    ),
    st.text(alphabet=st.characters(codec="utf-8"), max_size=12).map(json.dumps),
)


@st.composite
def documents(draw: st.DrawFn, depth: int = 3, *, top: bool = True) -> str:
    """JSON written in any of the ways that it may be: any white space, numbers of any length, keys twice."""
    gap = lambda: draw(white)  # noqa: E731
    kind = "object" if top else draw(st.sampled_from(["number", "string", "word", "object", "array"]))
    if kind == "number":
        return draw(numbers)
    if kind == "string":
        return draw(strings)
    if kind == "word" or depth == 0:
        return draw(st.sampled_from(["true", "false", "null"])) if not top else "{}"
    inner = [draw(documents(depth - 1, top=False)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "array":
        return "[" + gap() + ",".join(gap() + text + gap() for text in inner) + "]"
    keys = [draw(strings | st.sampled_from(['"a.b"', '"$set"', '"a"', '""'])) for _ in inner]
    members = [gap() + key + gap() + ":" + gap() + text + gap() for key, text in zip(keys, inner, strict=True)]
    return "{" + gap() + ",".join(members) + "}"


@given(documents(), st.sampled_from(event.FREE_FIELDS))
def test_what_is_sent_as_a_free_form_field_comes_out_token_for_token(document: str, name: str) -> None:
    sent = document.encode()
    item = b'{"action":"x","' + name.encode() + b'":' + sent + b"}"
    if mask(item) is not item:
        return  # a secret by chance
    body = body_of(item)
    line = sent.replace(b"\n", b" ").replace(b"\r", b" ")
    assert body.endswith(b'"' + name.encode() + b'":' + line + b"}")
    assert b"\n" not in body


def test_an_event_that_is_out_of_the_ordinary_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """States, a null and a fault are looked at alone, and the depth is taken of what has many brackets alone."""
    plain = b'{"action":"a","metadata":{"n":1}}'
    odd = [
        b'{"action":"b","before_state":{"n":1},"after_state":null}',
        b'{"action":"c","metadata":null}',
        b'{"action":"d","before_state":[1]}',
    ]
    depths: list[bytes] = []
    monkeypatch.setattr(event, "depth_of", depths.append)
    encoded: list[bytes] = []
    one = event.encode
    monkeypatch.setattr(event, "encode", lambda given: encoded.append(given.action) or one(given))
    first, states, null, fault, last = taken(plain, *odd, plain)
    assert depths == []
    assert encoded == ["b", "c", "d"]
    assert isinstance(fault, InvalidEvent)
    assert fault.errors[0].loc == ("before_state",)
    ends = [b"" if isinstance(got, InvalidEvent) else got[1].body[-24:] for got in (first, states, null, last)]
    assert ends[0] == ends[3] == b'"INFO","metadata":{"n":1}}'[-24:]
    assert ends[1].endswith(b'"before_state":{"n":1}}')
    assert ends[2].endswith(b'"severity":"INFO"}')


@given(documents())
def test_stored_bytes_decode_to_what_was_sent(document: str) -> None:
    body = body_of(b'{"severity":"ERROR","action":"x","after_state":' + document.encode() + b"}")
    stored = event.decode_stored(body)
    assert (stored.action, stored.severity, stored.tenant_id) == ("x", "ERROR", "aaaaaaaa")
    assert instant.from_text(stored.received_at) == NOW


@given(documents())
def test_depth_is_that_of_a_walk(document: str) -> None:
    def walk(value: Any) -> int:
        if isinstance(value, list):
            return 1 + max((walk(each) for each in value), default=0)
        if isinstance(value, dict):
            return 1 + max((walk(each) for each in value.values()), default=0)
        return 0

    unique = json.loads(document, parse_int=str, parse_float=str, object_pairs_hook=lambda pairs: {
        n: value for n, (_, value) in enumerate(pairs)
    })  # fmt: skip
    assert event.depth_of(document.encode()) == walk(unique)


@given(st.lists(documents(), max_size=5), white)
def test_an_array_is_cut_as_the_parser_would(items: list[str], gap: str) -> None:
    array = (gap + "[" + gap + ",".join(gap + item + gap for item in items) + "]" + gap).encode()
    expected = [bytes(raw).strip() for raw in msgspec.json.decode(array, type=list[msgspec.Raw])]
    assert split(array, 10) == expected
    assert split(b'{ "events" :' + array + b"}\n", 10) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[", b"[1", b"[1,]", b"[,1]", b"[1]]", b"[1] 2", b'["]', b'{"events":[1]', b'{"events":[1],"a":1}',
     b'{"a":[1]}', b"x", b"[}"],
)  # fmt: skip
def test_what_is_no_array_is_not_cut(body: bytes) -> None:
    assert split(body, 10) is None


def test_cutting_ends_past_the_most() -> None:
    assert len(split(b"[" + b"1," * 1000 + b"1]", 10) or []) == 11


# Bulks ---------------------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.sampled_from([b'{"action":"a"}', b'{"action":""}', b"{}", b'{"action":"b","metadata":{"password":"p"}}'])
    )
)
def test_the_fast_and_the_slow_way_say_the_same(items: list[bytes]) -> None:
    if not items:
        return
    slow = taken(*items)
    bulk = Bulk(b"[" + b",".join(items) + b"]", Form.JSON)
    fast = entries_at_once(bulk)
    assert (fast is not None) == all(b'"action":""' not in item and item != b"{}" for item in items)
    assert bulk.items() == items
    for one, other in zip(each(fast), slow, strict=True) if fast is not None else ():
        assert not isinstance(one, InvalidEvent)
        assert not isinstance(other, InvalidEvent)
        assert one[1].body.split(b'"action"')[1] == other[1].body.split(b'"action"')[1]
        assert b'"password":"p"' not in one[1].body


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(1, 60))
def test_slices_join_to_the_whole_within_their_bounds(items: list[bytes], size: int) -> None:
    found = [items[start:end] for start, end in slices(items, size)]
    assert [item for run in found for item in run] == items
    assert all(len(run) == 1 or sum(map(len, run)) <= size for run in found)


@pytest.mark.parametrize("white", [" ", "\n\t\r "])
def test_an_array_is_one_however_much_white_space_comes_first(white: str) -> None:
    bulk = Bulk(white.encode() * 300 + b'[{"action":"a"},{"action":"b"}]', Form.JSON)
    assert bulk.items() == [b'{"action":"a"}', b'{"action":"b"}']
    assert entries_at_once(bulk) is not None


def test_a_dense_body_is_counted_before_it_is_decoded() -> None:
    for body in (b"[" + b'{"action":"a"},' * 300_000 + b"1]", b'{"events":[' + b"1," * 700_000 + b"1]}"):
        bulk = Bulk(body, Form.JSON)
        assert entries_at_once(bulk) is None
        with pytest.raises(TooLarge):
            bulk.items()
    assert len(Bulk(b"1\n" * MAX_EVENTS, Form.LINES).items()) == MAX_EVENTS
    many = b'{"action":"a","metadata":{"n":[' + b"1," * 700_000 + b"1]}}"
    assert Bulk(b"[" + many + b"]", Form.JSON).items() == [many]
    assert Bulk(many, Form.JSON).items() == [many]


def test_a_key_given_twice_must_come_with_the_same_content() -> None:
    one, two = b'{"action":"a","idempotency_key":"k"}', b'{"action":"b","idempotency_key":"k"}'
    first, again, other = taken(one, one, two)
    assert not isinstance(first, InvalidEvent)
    assert not isinstance(again, InvalidEvent)
    assert first[0] == again[0]
    assert first[1].content == again[1].content is not None
    assert isinstance(other, InvalidEvent)
    assert other.code == "key_conflict"


def test_the_keys_content_leaves_out_what_the_service_adds() -> None:
    def content(item: bytes, now: int) -> bytes | None:
        [made] = taken(item, key="k", now=now)
        assert not isinstance(made, InvalidEvent)
        return made[1].content

    item = b'{"action":"a","user_id":"u"}'
    assert content(item, NOW) == content(b'{"user_id":"u", "action":"a"}', NOW + 10**9)
    assert content(item, NOW) != content(b'{"action":"a","user_id":"v"}', NOW)


# Bodies --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_packed_bodies_come_out_whole(parts: list[bytes]) -> None:
    assert bodies.unpack("gzip", b"".join(map(gzip.compress, parts)), LIMIT) == b"".join(parts)
    assert bodies.unpack("zstd", b"".join(map(zstandard.compress, parts)), LIMIT) == b"".join(parts)


@given(st.binary(min_size=1, max_size=3000), st.sampled_from(["gzip", "zstd"]), st.data())
def test_a_body_that_was_cut_off_anywhere_is_damaged(content: bytes, encoding: str, data: st.DataObject) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    packed = pack(b"whole") + pack(content)
    at = data.draw(st.integers(len(pack(b"whole")) + 1, len(packed) - 1))
    with pytest.raises(Invalid) as refused:
        bodies.unpack(encoding, packed[:at], LIMIT)
    assert refused.value.code == "bad_encoding"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_unpacking_stops_at_the_limit_and_at_ten_thousand_members(encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    assert len(bodies.unpack(encoding, pack(bytes(LIMIT)), LIMIT)) == LIMIT
    with pytest.raises(TooLarge):
        bodies.unpack(encoding, pack(bytes(LIMIT + 1)), LIMIT)
    with pytest.raises(TooLarge):
        bodies.unpack(encoding, pack(bytes(LIMIT // 2 + 1)) * 2, LIMIT)
    assert bodies.unpack(encoding, pack(b"x") * MAX_EVENTS, LIMIT) == b"x" * MAX_EVENTS
    with pytest.raises(Invalid):
        bodies.unpack(encoding, pack(b"") * (MAX_EVENTS + 1), LIMIT)
    assert bodies.unpack(encoding, b"", LIMIT) == b""
    with pytest.raises(Invalid):
        bodies.unpack("deflate", zlib.compress(b"x"), LIMIT)


@given(st.binary(max_size=400))
def test_utf8_is_judged_as_python_judges_it(data: bytes) -> None:
    try:
        data.decode()
    except UnicodeDecodeError:
        with pytest.raises(Invalid):
            bodies.check_utf8(data)
    else:
        bodies.check_utf8(data)


@pytest.mark.parametrize("shift", range(4))
def test_a_character_on_the_edge_of_two_pieces_is_whole(shift: int) -> None:
    bodies.check_utf8(b"x" * (64 * 1024 - shift) + "🦊".encode() * 3)
    with pytest.raises(Invalid):
        bodies.check_utf8(b"x" * (64 * 1024 - shift) + "🦊".encode()[:3])


class SlowBody:
    """The body of a request whose client sends `chunks`, a pause before each, and then nothing more."""

    def __init__(self, *chunks: bytes, pause: float = 0) -> None:
        self.chunks = list(chunks)
        self.pause = pause

    async def __call__(self) -> dict[str, Any]:
        if not self.chunks:
            await asyncio.Event().wait()
        await asyncio.sleep(self.pause)
        chunk = self.chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": chunk != b"}"}


async def test_a_body_that_stops_coming_gives_up_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.2)
    admission = Admission(LIMIT, LIMIT)
    with pytest.raises(Invalid) as raised, admission.admit("aaaaaaaa", LIMIT):
        await bodies.read(Request({"type": "http", "headers": []}, SlowBody(b"{", b'"a":1')), LIMIT)
    assert raised.value.code == "body_timeout"
    assert admission.in_flight == 0


async def test_a_body_that_is_whole_is_read_as_it_is_and_within_the_same_bounds() -> None:
    scope = {"type": "http", "headers": [], bodies.WHOLE: True}
    assert await bodies.read(Request(scope, SlowBody(b"}")), LIMIT) == b"}"
    with pytest.raises(TooLarge):
        await bodies.read(Request(scope, SlowBody(b"}")), 0)

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Invalid) as raised:
        await bodies.read(Request(scope, gone), LIMIT)
    assert raised.value.code == "client_disconnected"


async def test_a_slow_body_that_goes_on_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.4)
    body = SlowBody(*[b" "] * 8, b"{", b"}", pause=0.1)
    assert await bodies.read(Request({"type": "http", "headers": []}, body), LIMIT) == b" " * 8 + b"{}"
