"""What goes to the index: derived fields, the reduced forms of an event, and the body of a bulk request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.adapters.index import bulk, derived, ladder
from core.ports import IndexDocument
from tests import brute
from tests.contracts.index_events import stamped

TENANT = "tenant00tenant00"
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.é", max_size=3), inner, max_size=3),
    max_leaves=20,
)
METADATA = st.dictionaries(st.text("ab.é", min_size=1, max_size=3), TREES, max_size=4)


def event(metadata: bytes) -> IndexDocument:
    return stamped(b'{"action":"a","metadata":%s}' % metadata, TENANT, 1)


def members_of(body: bytes) -> dict[str, Any]:
    added = derived.derived_fields(body)
    found: dict[str, Any] = json.loads(body[:-1] + added + b"}", parse_int=str)
    return {name: found[name] for name in found.keys() - json.loads(body, parse_int=str).keys()}


def entry_of(entry: bytes) -> tuple[dict[str, Any], Any]:
    """The command and the document of an entry."""
    command, document, rest = entry.split(b"\n")
    assert rest == b""
    return json.loads(command), json.loads(document)


@given(METADATA)
def test_paths_are_what_has_a_value_under_it(metadata: dict[str, Any]) -> None:
    body = event(json.dumps(metadata).encode()).body
    leaves = [path for path, _ in brute.leaves(body)]
    above = {path[:n] for path in leaves for n, char in enumerate(path) if char == "."} - {"metadata"}
    paths = members_of(body).get("paths", [])
    assert set(paths) >= {path for path in above if not path.endswith(".")}
    assert all(any(leaf == path or leaf.startswith(path + ".") for leaf in leaves) for path in paths)


def test_the_common_event_gets_nothing() -> None:
    assert derived.derived_fields(stamped({"action": "a", "message": '"metadata":'}, TENANT, 1).body) == b""
    assert derived.derived_fields(event(b'{"a":1,"b":[2]}').body) == b""


@pytest.mark.parametrize("key", [rb"a.b", rb"a\u002Eb", rb"a.\"b", rb"\\a.b\\", rb"a.b\/"])
def test_a_dotted_key_is_seen_in_a_flat_object(key: bytes) -> None:
    assert members_of(event(b'{"x":"v.","%b" :1}' % key).body)["paths"] == [
        "metadata." + json.loads(b'"%b"' % key).split(".")[0]
    ]


def test_changed_paths_are_derived() -> None:
    body = stamped({"action": "a", "before_state": {"a": 1}, "after_state": {"a": 2}}, TENANT, 1).body
    assert members_of(body) == {"changed_paths": ["/a"]}


@pytest.mark.parametrize("value", [b"1e400", b"7" * 5000], ids=["exponent", "digits"])
def test_odd_values_keep_no_path_from_being_found(value: bytes) -> None:
    body = event(b'{"a":{"n":"here"}}').body.replace(b'"here"', value)
    assert members_of(body)["paths"] == ["metadata.a"]


@pytest.mark.parametrize(
    "body", [b'{"metadata":', b'{"metadata":{"a":}}', b'{"metadata":' + b"[" * 5000, b'\xff"metadata":']
)
def test_a_broken_body_spoils_no_batch(body: bytes) -> None:
    assert derived.derived_fields(body) == b""


def test_paths_are_bounded() -> None:
    many = {f"k{n}": {"v": 1} for n in range(3000)}
    assert len(members_of(event(json.dumps(many).encode()).body)["paths"]) == derived.MAX_PATHS
    deep = b'{"%s":' % (b"k" * 2000) * 60 + b"1" + b"}" * 60
    assert members_of(event(deep).body) == {}
    wide = {"é" * 400 + str(n): {"v": 1} for n in range(150)}
    paths = members_of(event(json.dumps(wide, ensure_ascii=False).encode()).body)["paths"]
    assert sum(len(path.encode()) for path in paths) <= derived.MAX_PATHS_BYTES
    assert 50 < len(paths) < 150


@given(METADATA)
def test_shortening_loses_no_leaf_that_fits(metadata: dict[str, Any]) -> None:
    document = event(json.dumps(metadata).encode())
    command, reduced = entry_of(ladder.shortened(document.id, document.body))
    assert command == {"create": {"_id": document.id}}
    assert reduced["index_reduced"] == "shortened"
    again = json.dumps({"metadata": reduced["metadata"]}).encode()
    assert sorted(brute.leaves(again)) == sorted(brute.leaves(document.body))
    whole = json.loads(document.body)
    assert all(reduced[name] == value for name, value in whole.items() if name != "metadata")
    assert set(reduced.get("paths", [])) == set(members_of(document.body).get("paths", []))


def test_shortening_cuts_at_a_character() -> None:
    document = event(b'{"deep":{"long":"%s"},"k":1e400}' % ("€".encode() * 20_000))
    _, reduced = entry_of(ladder.shortened(document.id, document.body))
    size = len(reduced["metadata"]["deep"]["long"].encode()) + len("metadata.deep.long=")
    assert ladder.MAX_TERM_BYTES - 3 < size <= ladder.MAX_TERM_BYTES
    assert set(reduced["metadata"]["deep"]["long"]) == {"€"}
    assert reduced["metadata"]["k"] == "1e400"


def test_a_repeated_key_holds_all_its_values() -> None:
    document = event(b'{"a":1,"a":[2],"a":{"b":3},"%s1":1,"%s2":2}' % (b"k" * 60_000, b"k" * 60_000))
    _, reduced = entry_of(ladder.shortened(document.id, document.body))
    assert reduced["metadata"] == {"a": ["1", ["2"], {"b": "3"}], "k" * ladder.MAX_KEY_BYTES: ["1", "2"]}
    assert reduced["paths"] == ["metadata.a"]


def test_the_last_rung_has_the_named_fields_alone() -> None:
    document = stamped({"action": "a", "metadata": {"a": 1}, "before_state": {}, "tags": ["t"]}, TENANT, 1)
    _, reduced = entry_of(ladder.named_only(document.id, document.body))
    assert reduced.keys() == {
        "id", "tenant_id", "timestamp", "received_at", "salt", "action", "severity", "tags", "index_reduced",
    }  # fmt: skip
    assert reduced["index_reduced"] == "named_only"


def test_an_entry_is_the_events_own_bytes() -> None:
    document = event(b'{"n":1.10,"big":123456789012345678901234567890,"a":1,"a":2}')
    assert bulk.entry(document.id, document.body).split(b"\n")[1] == document.body
    spliced = bulk.entry(document.id, document.body, b',"paths":["x"]').split(b"\n")[1]
    assert spliced == document.body[:-1] + b',"paths":["x"]}'


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 60))
def test_batches_hold_every_entry_once_and_fit(sizes: list[int], bound: int) -> None:
    entries = [b"x" * size for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "MAX_BODY_BYTES", bound)
        batches = [entries[batch] for batch in bulk.batches(entries)]
    assert [entry for batch in batches for entry in batch] == entries
    assert all(len(batch) == 1 or sum(map(len, batch)) <= bound for batch in batches)


@pytest.mark.parametrize("event_id", ["", 'x"y', "x\ny", "a b", "x" * 129, "é"])
def test_an_id_that_would_break_its_line(event_id: str) -> None:
    body = stamped({"action": "a"}, TENANT, 1).body
    with pytest.raises(ValueError, match="id"):
        bulk.check(IndexDocument(event_id, body), TENANT)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"id":"x"', b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_event(body: bytes) -> None:
    with pytest.raises(ValueError, match="no event"):
        bulk.check(IndexDocument("x", body), TENANT)
