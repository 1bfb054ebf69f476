"""`changed_paths`: what differs between two states, within its bounds."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import MAX_PATH_BYTES, MAX_PATHS, changed_paths

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab/~é", max_size=3)
KEYS = st.text("ab/~.", max_size=2)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner))
OBJECTS = st.dictionaries(KEYS, TREES, max_size=4)


def written(value: object) -> bytes:
    return json.dumps(value).encode()


def naive(before: Any, after: Any, at: str = "") -> set[str]:
    """The pointers, from decoded values."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: set[str] = set()
        for key in before.keys() | after.keys():
            step = at + "/" + key.replace("~", "~0").replace("/", "~1")
            found |= naive(before[key], after[key], step) if key in before and key in after else {step}
        return found
    return set() if written(before) == written(after) else {at}


def resolve(document: Any, pointer: str) -> tuple[bool, Any]:
    """What stands at a pointer, and whether anything does."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(document, dict) or key not in document:
            return False, None
        document = document[key]
    return True, document


@given(OBJECTS, OBJECTS)
def test_it_names_what_differs(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = changed_paths(written(before), written(after))
    assert set(found) == naive(before, after)
    assert len(set(found)) == len(found)
    for pointer in found:
        was, now = resolve(before, pointer), resolve(after, pointer)
        assert was[0] != now[0] or written(was[1]) != written(now[1])


@given(OBJECTS)
def test_spelling_is_no_change(state: dict[str, Any]) -> None:
    spread = json.dumps(dict(reversed(state.items())), indent=2, ensure_ascii=False).encode()
    assert changed_paths(written(state), spread) == []


@pytest.mark.parametrize("other", [None, b"null", b"[]", b"1", b'"{}"', b""])
def test_both_states_must_be_objects(other: bytes | None) -> None:
    assert changed_paths(b'{"a":1}', other) == changed_paths(other, b'{"a":1}') == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"1", b"1.0"),
        (b"1", b'"1"'),
        (b"true", b'"true"'),
        (b"null", b"false"),
        (b"1e400", b"1e401"),
        (b"123456789012345678901234567890", b"123456789012345678901234567891"),
        (b"0.12345678901234567890", b"0.12345678901234567891"),
        (b"[1,2]", b"[2,1]"),
        (b"{}", b"[]"),
        (b"[1.0]", b'[["1.0"]]'),
    ],
)
def test_values_are_compared_as_written(before: bytes, after: bytes) -> None:
    assert changed_paths(b'{"a":{"b":%s}}' % before, b'{"a":{"b":%s}}' % after) == ["/a/b"]


@pytest.mark.parametrize(("before", "after"), [(b'"\\u00e9"', '"é"'.encode()), (b"[1, 2]", b"[1,2]"), (b"{ }", b"{}")])
def test_equal_values_may_be_spelt_otherwise(before: bytes, after: bytes) -> None:
    assert changed_paths(b'{"a":%s}' % before, b' {"a":%s}' % after) == []


def test_the_count_is_bounded() -> None:
    many = {f"k{n}": {"v": n} for n in range(3 * MAX_PATHS)}
    other = {key: {"v": -1} for key in many}
    assert changed_paths(written(many), written(other)) == [f"/k{n}/v" for n in range(MAX_PATHS)]


def test_a_long_pointer_gives_way_to_its_parent() -> None:
    before = {"a": {"k" * MAX_PATH_BYTES: 1, "j" * MAX_PATH_BYTES: 1}, "é" * MAX_PATH_BYTES: 1}
    after = {"a": {"k" * MAX_PATH_BYTES: 2, "j" * MAX_PATH_BYTES: 2}, "é" * MAX_PATH_BYTES: 2, "b": 1}
    assert changed_paths(written(before), written(after)) == ["/a", "/b"]
    key = "k" * (MAX_PATH_BYTES - 1)
    assert changed_paths(written({key: 1}), written({key: 2})) == ["/" + key]


def test_states_as_deep_as_an_event_may_be() -> None:
    before, after = b'{"k":' * 64 + b"1" + b"}" * 64, b'{"k":' * 64 + b"2" + b"}" * 64
    assert changed_paths(before, after) == ["/k" * 64]
