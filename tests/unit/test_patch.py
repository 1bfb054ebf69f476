"""RFC 6902 patches: applied by another implementation they make the state after; and they agree with changed_paths."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import jsonpatch
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.changes import MAX_PATHS, changed_paths
from core.patch import MAX_PATCH_BYTES, patch

SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.5, 1.0, 1e300]) | st.text("a/~", max_size=1)
)
KEYS = st.text("a/~.0é", max_size=2)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
OBJECTS = st.dictionaries(KEYS, TREES, max_size=4)


@dataclass(frozen=True)
class Number:
    """A number as it is written."""

    text: str


def written(value: object) -> bytes:
    return json.dumps(value).encode()


def read(text: bytes | msgspec.Raw) -> Any:
    return json.loads(bytes(text), parse_int=Number, parse_float=Number)


def operations(before: bytes | None, after: bytes | None) -> list[dict[str, Any]]:
    found = [read(operation) for operation in patch(before, after)]
    assert all(list(operation) == ["op", "path", "value"][: len(operation)] for operation in found)
    return found


def applied(before: bytes | None, after: bytes | None) -> Any:
    """The state before, patched by the other implementation."""
    return jsonpatch.apply_patch(read(before or b"null"), operations(before, after))


def steps(pointer: str) -> tuple[str, ...]:
    return tuple(pointer.split("/")[1:])


def under(pointer: str, other: str) -> bool:
    """Whether a pointer is another one or leads below it."""
    return steps(pointer)[: len(steps(other))] == steps(other)


@given(TREES, TREES)
def test_the_patch_makes_the_state_after(before: Any, after: Any) -> None:
    assert applied(written(before), written(after)) == read(written(after))


@given(OBJECTS, OBJECTS)
def test_the_patch_agrees_with_the_changed_paths(before: dict[str, Any], after: dict[str, Any]) -> None:
    found = [operation["path"] for operation in operations(written(before), written(after))]
    changed = changed_paths(written(before), written(after))
    assert all(any(under(path, pointer) for pointer in changed) for path in found)
    assert all(any(under(path, pointer) for path in found) for pointer in changed)


@given(TREES)
def test_spelling_is_no_change(state: Any) -> None:
    spread = json.dumps(state, indent=1, ensure_ascii=False, sort_keys=True).encode()
    assert patch(written(state), spread) == []


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_arrays_are_patched_by_their_elements(before: list[int], after: list[int]) -> None:
    old, new = (
        written([{"n": n, "pad": "x" * 400} for n in before]),
        written([{"n": n, "pad": "x" * 400} for n in after]),
    )
    assert applied(old, new) == read(new)
    if before and after and len(before) == len(after):
        assert all(operation["path"].endswith("/n") for operation in operations(old, new))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('{"a":1}', '{"a":2}', '[{"op":"replace","path":"/a","value":2}]'),
        ('{"a":1}', "{}", '[{"op":"remove","path":"/a"}]'),
        ("{}", '{"a":null}', '[{"op":"add","path":"/a","value":null}]'),
        ('{"a":null}', "{}", '[{"op":"remove","path":"/a"}]'),
        ('{"a":null}', '{"a":{}}', '[{"op":"replace","path":"/a","value":{}}]'),
        ('{"a":{}}', '{"a":[]}', '[{"op":"replace","path":"/a","value":[]}]'),
        ('{"a":1}', '{"a":"1"}', '[{"op":"replace","path":"/a","value":"1"}]'),
        ('{"a":true}', '{"a":1}', '[{"op":"replace","path":"/a","value":1}]'),
        ('{"a/b":{"c~d":1}}', '{"a/b":{"c~d":2}}', '[{"op":"replace","path":"/a~1b/c~0d","value":2}]'),
        ('{"~1":1,"":1}', '{"~1":2,"":2}',
         '[{"op":"replace","path":"/~01","value":2},{"op":"replace","path":"/","value":2}]'),
        ('{"a":1}', '{"a":1.0}', '[{"op":"replace","path":"/a","value":1.0}]'),
        ('{"a":1e400}', '{"a":-1E+400}', '[{"op":"replace","path":"/a","value":-1E+400}]'),
        ('{"a":123456789012345678901234567890}', '{"a":123456789012345678901234567891}',
         '[{"op":"replace","path":"/a","value":123456789012345678901234567891}]'),
        ('{"a":0}', '{"a":{"n": 1.10, "m":[ 1e400 ]}}',
         '[{"op":"replace","path":"/a","value":{"n": 1.10, "m":[ 1e400 ]}}]'),
        # A key that stands twice counts with its last value.
        ('{"a":1,"a":2}', '{"a":2}', "[]"),
        ('{"a":2}', '{"a":2,"a":3}', '[{"op":"replace","path":"/a","value":3}]'),
        # A state that is not there is null.
        (None, '{"a":1}', '[{"op":"replace","path":"","value":{"a":1}}]'),
        ('{"a":1}', None, '[{"op":"replace","path":"","value":null}]'),
        (None, None, "[]"),
        ("{}", None, '[{"op":"replace","path":"","value":null}]'),
        ('{"tags":["one","two","three"]}', '{"tags":["one","two","three","four"]}',
         '[{"op":"add","path":"/tags/3","value":"four"}]'),
        ('{"tags":["one","two"]}', '{"tags":["six","ten"]}',
         '[{"op":"replace","path":"/tags","value":["six","ten"]}]'),
        ('{"tags":["%s"]}' % ("x" * 60), '{"tags":["new","%s"]}' % ("x" * 60),
         '[{"op":"add","path":"/tags/0","value":"new"}]'),
        ('{"tags":["%s",1,2]}' % ("x" * 90), '{"tags":["%s"]}' % ("x" * 90),
         '[{"op":"remove","path":"/tags/2"},{"op":"remove","path":"/tags/1"}]'),
    ],
)  # fmt: skip
def test_it_is_written_so(before: str | None, after: str | None, expected: str) -> None:
    old, new = (None if state is None else state.encode() for state in (before, after))
    assert msgspec.json.encode(patch(old, new)).decode() == expected
    assert applied(old, new) == read(new or b"null")


def test_thirty_digits_survive_the_other_implementation_too() -> None:
    before, after = b'{"n":{"x":1e400,"y":0}}', b'{"n":{"x":1e401,"y":100000000000000000000000000001}}'
    assert applied(before, after) == {"n": {"x": Number("1e401"), "y": Number("100000000000000000000000000001")}}


# States that are made to cost -----------------------------------------------------------------------------------------

SIZE = 100_000
LONG = "k" * (SIZE // 2)
HOSTILE = {
    "many members": ({f"k{n}": n for n in range(9000)}, {f"k{n}": -1 - n for n in range(9000)}),
    "many elements": ([*range(20000)], [*range(1, 20001)]),
    "many below a long key": ({LONG: {str(n): n for n in range(5000)}}, {LONG: {str(n): -1 - n for n in range(5000)}}),
    "equal ones below a long key": ({LONG: [[]] * 9000 + [1]}, {LONG: [[]] * 9000 + [2]}),
    "one element in front": ([{"n": n} for n in range(9000)], [0, *({"n": n} for n in range(9000))]),
    "arrays in arrays": ([[[n] for n in range(5000)]] * 3, [[[n, n] for n in range(5000)]] * 3),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_patch_is_right_and_bounded_whatever_the_states(name: str) -> None:
    before, after = (written({"state": state, "other": 1}) for state in HOSTILE[name])
    assert applied(before, after) == read(after)
    assert sum(map(len, map(bytes, patch(before, after)))) <= MAX_PATCH_BYTES + len(after) + 100


@pytest.mark.parametrize(
    ("opened", "closed", "depth"), [(b'{"k":', b"}", 61), (b"[", b"]", 61), (b'[{"k":', b"}]", 30)]
)
def test_states_as_deep_as_an_event_may_be(opened: bytes, closed: bytes, depth: int) -> None:
    pad = b",".join(b"%d" % n for n in range(8000))
    before, after = (opened * depth + b"[%s,%s]" % (pad, end) + closed * depth for end in (b"-1", b"-2"))
    assert applied(before, after) == read(after)
    assert [operation["path"].endswith("/8000") for operation in operations(before, after)] == [True]


def test_more_changes_than_paths_are_all_in_the_patch() -> None:
    before, after = ({f"k{n}": n + more for n in range(2 * MAX_PATHS)} for more in (0, 1))
    assert len(patch(written(before), written(after))) == 2 * MAX_PATHS
    assert len(changed_paths(written(before), written(after))) == MAX_PATHS
