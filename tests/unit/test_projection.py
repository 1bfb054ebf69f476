"""`fields=`: what is named and nothing else, in the tokens that are stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidQuery
from core.projection import MAX_FIELD_BYTES, MAX_FIELDS, NAMES, Projection

KEYS = st.text('ab."\\é', min_size=1, max_size=3)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('a,:{}[]"\\ ', max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, TREES, max_size=4)
PATHS = st.lists(st.text("ab.é", min_size=1, max_size=4), min_size=1, max_size=3)


def shown(fields: str | list[str], event: str) -> str:
    return Projection.parse([fields] if isinstance(fields, str) else fields).of(event.encode()).decode()


def pruned(value: Any, paths: list[str]) -> Any:
    """What lies under one of the paths, from decoded values; None for nothing."""
    if isinstance(value, list):
        return [kept for element in value if (kept := pruned(element, paths)) is not None] or None
    if not isinstance(value, dict):
        return None
    found = {}
    for key, member in value.items():
        if any(((path + ".").startswith(key + ".") and path == key) or key.startswith(path + ".") for path in paths):
            found[key] = member
        else:
            below = [path.removeprefix(key + ".") for path in paths if path.startswith(key + ".")]
            if below and (kept := pruned(member, below)) is not None:
                found[key] = kept
    return found or None


@given(OBJECTS, PATHS, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_paths_pick_what_lies_under_them(metadata: dict[str, Any], paths: list[str], indent: Any, ascii_: bool) -> None:
    paths = [path for path in paths if not path.startswith(".") and not path.endswith(".")]
    if not paths:
        return
    event = json.dumps({"action": "x", "metadata": metadata}, indent=indent, ensure_ascii=ascii_)
    expected = pruned(metadata, paths)
    found = json.loads(shown(",".join(f"metadata.{path}" for path in paths), event))
    assert found == ({} if expected is None else {"metadata": expected})


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES), min_size=1))
def test_names_pick_their_fields_in_the_events_order(there: set[str], asked: set[str]) -> None:
    event = {name: {"of": name} for name in NAMES if name in there}
    found = json.loads(shown(",".join(asked), json.dumps(event)))
    assert list(found.items()) == [(name, value) for name, value in event.items() if name in asked]


EVENT = (
    '{"id":"1","action":"x","metadata":{"n":123456789012345678901234567890, "e" : 1e400,"f":1.10,"a":[1,{"e":-0.0},'
    '[{"e":2}]],"u.v":"\\u00e9","u":{"v":"é","w":1},"t":1,"t":{"e":[ ]},"\\u006b":"}"},"salt":"s"}'
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("id", '{"id":"1"}'),
        ("salt,id", '{"id":"1","salt":"s"}'),
        ("outcome", "{}"),
        ("metadata.n", '{"metadata":{"n":123456789012345678901234567890}}'),
        ("metadata.e,id", '{"id":"1","metadata":{"e":1e400}}'),
        ("metadata.f", '{"metadata":{"f":1.10}}'),
        ("metadata.a", '{"metadata":{"a":[1,{"e":-0.0},[{"e":2}]]}}'),
        ("metadata.a.e", '{"metadata":{"a":[{"e":-0.0},[{"e":2}]]}}'),
        ("metadata.u.v", '{"metadata":{"u.v":"\\u00e9","u":{"v":"é"}}}'),
        ("metadata.u", '{"metadata":{"u.v":"\\u00e9","u":{"v":"é","w":1}}}'),
        ("metadata.t", '{"metadata":{"t":1,"t":{"e":[ ]}}}'),
        ("metadata.t.e", '{"metadata":{"t":{"e":[ ]}}}'),
        ("metadata.k", '{"metadata":{"\\u006b":"}"}}'),
        ("metadata.none", "{}"),
        ("metadata.n.x", "{}"),
        ("before_state.n", "{}"),
    ],
)
def test_tokens_stay_as_they_are(fields: str, expected: str) -> None:
    assert shown(fields, EVENT) == expected
    assert shown([*fields.split(","), fields], EVENT) == expected


def test_a_whole_field_holds_its_paths() -> None:
    assert shown("metadata.n,metadata", EVENT) == shown("metadata", EVENT)
    assert shown("metadata", EVENT).endswith('"\\u006b":"}"}}')


@pytest.mark.parametrize(
    "fields",
    ["", "id,", ",id", "Id", "nothing", "metadata.", "metadata..a", "metadata.a.", "action.x", "tags.0", " id",
     "paths", "changed_paths", "_id", "hash", "*", "metadata\0"],
)  # fmt: skip
def test_what_is_no_field_is_refused_by_its_name(fields: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        Projection.parse([fields])
    assert refused.value.errors[0].loc == ("query", "fields")
    assert refused.value.errors[0].type == "unknown_field"


def test_fields_are_bounded() -> None:
    Projection.parse([f"metadata.k{n}" for n in range(MAX_FIELDS)])
    Projection.parse(["metadata." + "k" * (MAX_FIELD_BYTES - 9)])
    for fields in ([f"metadata.k{n}" for n in range(MAX_FIELDS + 1)], ["metadata." + "k" * (MAX_FIELD_BYTES - 8)]):
        with pytest.raises(InvalidQuery):
            Projection.parse(fields)
