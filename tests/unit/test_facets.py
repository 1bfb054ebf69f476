"""Facets: what a tenant may declare, which slot each gets, and which values of an event go there."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core import facet_source
from core.adapters.index import bulk, ladder
from core.adapters.index.derived import facet_fields
from core.adapters.index.mapping import mappings
from core.errors import Conflict, Invalid, NotFound, Unavailable
from core.facet_source import FacetSource, redeclare
from core.facet_values import MAX_KEYWORD_BYTES, MAX_VALUES, values_of
from core.facets import MARKS, MAX_FACETS, NONE, SLOTS, Declared, Facets, FacetType, declare
from core.tenant import Tenant
from tests import brute_facets
from tests.unit.ports import Failing, anything

KEYWORD, NUMBER, DATE, IP = FacetType.KEYWORD, FacetType.NUMBER, FacetType.DATE, FacetType.IP


def one(kind: FacetType, path: str = "metadata.v") -> Facets:
    return declare(NONE, [Declared("v", path, kind)])


def value(kind: FacetType, leaf: bytes | str, path: str = "metadata.v") -> Any:
    """The slot's value for an event with `leaf`, as JSON, at metadata.v."""
    raw = leaf if isinstance(leaf, bytes) else leaf.encode()
    facets = one(kind, path)
    return values_of(b'{"action":"a","metadata":{"v":' + raw + b"}}", facets.all).get(facets.all[0].slot)


# Declarations --------------------------------------------------------------------------------------------------------

declarations = st.lists(
    st.builds(
        Declared,
        st.sampled_from(["a", "b", "c", "d_1"]),
        st.sampled_from(["metadata.a", "metadata.a.b", "after_state.x"]),
        st.sampled_from(FacetType),
    ),
    max_size=4,
    unique_by=lambda each: each.name,
)


@given(st.lists(declarations, max_size=8))
def test_no_serial_is_given_twice_and_no_slot_is_shared(history: list[list[Declared]]) -> None:
    facets, given_out = NONE, {}
    for asked in history:
        before, facets = facets, declare(facets, asked)
        assert sorted(facet.declared for facet in facets.all) == sorted(asked)
        assert len({facet.slot for facet in facets.all}) == len(asked)
        assert (facets.serial == before.serial) == (sorted(asked) == sorted(f.declared for f in before.all))
        for facet in facets.all:
            assert facet.slot in SLOTS[facet.type]
            assert given_out.setdefault(facet.serial, facet) == facet
            assert facet.serial <= facets.serial
        for facet in before.all:
            if facet.declared in asked:
                assert facet in facets.all


def test_a_slot_that_is_free_again_has_another_serial() -> None:
    first = one(NUMBER)
    second = declare(declare(first, []), [Declared("w", "metadata.w", NUMBER)])
    assert second.all[0].slot == first.all[0].slot
    assert second.all[0].serial > first.all[0].serial


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("", "metadata.a"), ("A", "metadata.a"), ("a-b", "metadata.a"), ("x" * 33, "metadata.a"), ("1a", "metadata.a"),
        ("ä", "metadata.a"), ("a", "metadata"), ("a", "metadata."), ("a", "metadata..a"), ("a", "metadata.a."),
        ("a", "user_id"), ("a", "action.x"), ("a", "metadata." + "x" * 512), ("a", "metadata.\0"), ("a", ""),
    ],
)  # fmt: skip
def test_a_bad_declaration_is_refused(name: str, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        declare(NONE, [Declared("fine", "metadata.fine", KEYWORD), Declared(name, path, KEYWORD)])
    assert caught.value.errors[0].loc[:3] == ("body", "facets", 1)


def test_names_are_given_once_and_slots_are_bounded() -> None:
    with pytest.raises(Invalid):
        declare(NONE, [Declared("a", "metadata.a", KEYWORD), Declared("a", "metadata.b", NUMBER)])
    for kind, slots in SLOTS.items():
        fitting = [Declared(f"f{n}", "metadata.a", kind) for n in range(len(slots))]
        assert len(declare(NONE, fitting).all) == len(slots)
        with pytest.raises(Invalid):
            declare(NONE, [*fitting, Declared("more", "metadata.a", kind)])
    assert sum(map(len, SLOTS.values())) == MAX_FACETS


def test_every_slot_is_in_the_mapping_and_nothing_is_named_by_a_tenant() -> None:
    properties = mappings()["properties"]
    for kind, slots in SLOTS.items():
        expected = {KEYWORD: "keyword", NUMBER: "double", DATE: "date_nanos", IP: "ip"}[kind]
        assert {properties[slot]["type"] for slot in slots} == {expected}
    assert MARKS in properties


# Values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "leaf", "expected"),
    [
        (KEYWORD, '"x"', ["x"]), (KEYWORD, '""', [""]), (KEYWORD, "1.0", ["1.0"]), (KEYWORD, "-0", ["-0"]),
        (KEYWORD, "1e400", ["1e400"]), (KEYWORD, "9" * 5000, None), (KEYWORD, "true", ["true"]),
        (KEYWORD, "null", None),
        (KEYWORD, '["b",["a",{"z":1}],"b",null,false]', ["b", "a", "false"]), (KEYWORD, '{"w":1}', None),
        (KEYWORD, json.dumps("é" * 512), ["é" * 512]), (KEYWORD, json.dumps("é" * 513), None),
        (NUMBER, "1", 1.0), (NUMBER, "-2.5e3", -2500.0), (NUMBER, '"12.5"', 12.5), (NUMBER, '" 12"', None),
        (NUMBER, '"0x10"', None), (NUMBER, '"1_000"', None), (NUMBER, '"nan"', None), (NUMBER, '"٣"', None),
        (NUMBER, "1e400", None), (NUMBER, "9" * 5000, None), (NUMBER, "true", None), (NUMBER, '["x",7,8]', 7.0),
        (NUMBER, "1" + "0" * 30, 1e30), (NUMBER, '""', None), (NUMBER, "[]", None), (NUMBER, "5e-324", 5e-324),
        (DATE, '"2026-11-21T13:40:00.1234567+02:00"', "2026-11-21T11:40:00.123456Z"), (DATE, '"2026-11-21"', None),
        (DATE, '"1969-12-31T23:59:59Z"', None), (DATE, '"1970-01-01T00:00:00Z"', "1970-01-01T00:00:00.000000Z"),
        (DATE, '"2262-01-01T00:00:00Z"', None), (DATE, "1780000000", None), (DATE, '"9999-12-31T23:59:59-23:00"', None),
        (IP, '"10.0.0.1"', ["10.0.0.1"]), (IP, '"::ffff:10.0.0.1"', ["10.0.0.1"]), (IP, '"10.0.0.0/8"', None),
        (IP, '["2001:DB8:0::1","x","2001:db8::1"]', ["2001:db8::1"]), (IP, '"fe80::1%eth0"', None), (IP, "1", None),
    ],
)  # fmt: skip
def test_a_value_that_fits_is_taken_and_any_other_left_out(kind: FacetType, leaf: str, expected: Any) -> None:
    found = value(kind, leaf)
    assert found == expected
    assert type(found) is type(expected)


def test_minus_nought_is_nought() -> None:
    assert math.copysign(1, value(NUMBER, "-0.0")) == 1
    assert math.copysign(1, value(NUMBER, "-0")) == 1


def test_the_first_values_count() -> None:
    many = json.dumps([str(n) for n in range(MAX_VALUES + 9)])
    assert value(KEYWORD, many) == [str(n) for n in range(MAX_VALUES)]


keys = st.sampled_from(["a", "b", "a.b", "", ".", "a.", "ä"])
leaves = st.sampled_from(["x", "", 1, 1.5, -0.0, True, None, 10**30, "10.0.0.1", "2026-01-01T00:00:00Z", "7", "1e3"])
trees = st.recursive(leaves, lambda t: st.lists(t, max_size=3) | st.dictionaries(keys, t, max_size=3), max_leaves=12)


@example({"a.": "x"}, ["a.."], KEYWORD)
@given(
    st.dictionaries(keys, trees, max_size=3),
    st.lists(st.sampled_from(["a", "a.b", "b", "a..", "b.a.b", "a.b.a", ".a"]), min_size=1, max_size=3),
    st.sampled_from(FacetType),
)
def test_the_values_are_those_that_a_look_through_all_leaves_finds(
    metadata: dict[str, Any], steps: list[str], kind: FacetType
) -> None:
    path = "metadata." + ".".join(steps)
    facet = declare(NONE, [Declared("v", "metadata.v", kind)]).all[0]
    facet = msgspec.structs.replace(facet, path=path)
    body = json.dumps({"action": "a", "metadata": metadata}).encode()
    found = values_of(body, [facet]).get(facet.slot)
    expected = brute_facets.values(facet, body)
    if kind in (KEYWORD, IP):
        assert sorted(found or []) == sorted(set(expected))
    else:
        assert found == (brute_facets.shown(kind, expected[0]) if expected else None)


def test_the_members_are_marked_with_every_serial_also_without_a_value() -> None:
    facets = declare(NONE, [Declared("a", "metadata.a", NUMBER), Declared("b", "metadata.b", KEYWORD)])
    spliced = facet_fields(b'{"action":"x","metadata":{"b":"q"}}', facets.all)
    assert json.loads(b"{" + spliced[1:] + b"}") == {
        MARKS: [str(facet.serial) for facet in facets.all],
        "kw_00": ["q"],
    }
    assert facet_fields(b'{"action":"x"}', ()) == b""
    assert facet_fields(b"nonsense", facets.all) == b""


def test_a_shortened_event_keeps_its_facets_and_one_of_named_fields_alone_has_none() -> None:
    facets = one(NUMBER).all
    body = b'{"id":"x","action":"a","metadata":{"v":3}}'
    shortened, named = (rung("x", body, facet_fields(body, facets)) for rung in ladder.RUNGS)
    assert json.loads(shortened.split(b"\n")[1])["num_00"] == 3
    assert not {"num_00", MARKS} & json.loads(named.split(b"\n")[1]).keys()
    assert bulk.entry("x", body, facet_fields(body, facets)).endswith(b"}\n")


def test_no_value_is_larger_than_a_term_may_be() -> None:
    assert value(KEYWORD, json.dumps("x" * MAX_KEYWORD_BYTES)) == ["x" * MAX_KEYWORD_BYTES]
    assert value(KEYWORD, json.dumps("x" * (MAX_KEYWORD_BYTES + 1))) is None


# Who knows them ------------------------------------------------------------------------------------------------------


class Records(Failing):
    """Control records of one tenant, in memory; `meanwhile` is declared by someone else before each change."""

    def __init__(self) -> None:
        super().__init__()
        self.held = Tenant("aaaaaaaa", "A", b"", 0)
        self.reads = 0
        self.meanwhile = 0

    async def facets(self) -> dict[str, Facets]:
        self.reads += 1
        self._try()
        return {self.held.id: self.held.facets}

    async def tenant(self, tenant_id: str) -> Tenant | None:
        return self.held if tenant_id == self.held.id else None

    async def replace_facets(self, tenant_id: str, old: Facets, new: Facets) -> bool:
        if self.meanwhile:
            self.meanwhile -= 1
            self._set(declare(self.held.facets, [Declared(f"other{self.meanwhile}", "metadata.o", IP)]))
        if self.held.facets.serial != old.serial:
            return False
        self._set(new)
        return True

    def _set(self, facets: Facets) -> None:
        self.held = Tenant("aaaaaaaa", "A", b"", 0, facets=facets)


async def test_a_declaration_is_known_within_seconds_and_is_not_read_for_each_event() -> None:
    records, now = Records(), [0.0]
    source = FacetSource(anything(records), lambda: now[0])
    assert await source.of("aaaaaaaa") == ()
    declared = await redeclare(anything(records), "aaaaaaaa", [Declared("v", "metadata.v", NUMBER)])
    for _ in range(100):
        assert await source.of("aaaaaaaa") == ()
    assert records.reads == 1
    now[0] += facet_source.REFRESH_SECONDS
    assert await source.of("aaaaaaaa") == declared.all
    assert await source.of("bbbbbbbb") == ()
    records.fail = Unavailable("store")
    now[0] += 1000
    assert await source.of("aaaaaaaa") == declared.all


async def test_nothing_is_indexed_without_its_facets_because_they_are_not_known() -> None:
    records = Records()
    records.fail = Unavailable("store")
    with pytest.raises(Unavailable):
        await FacetSource(anything(records)).of("aaaaaaaa")


async def test_two_declarations_at_once_share_no_serial() -> None:
    records = Records()
    records.meanwhile = 2
    made = await redeclare(anything(records), "aaaaaaaa", [Declared("v", "metadata.v", NUMBER)])
    assert records.held.facets == made
    assert made.all[0].serial > 2
    records.meanwhile = 100
    with pytest.raises(Conflict):
        await redeclare(anything(records), "aaaaaaaa", [])
    with pytest.raises(NotFound):
        await redeclare(anything(records), "bbbbbbbb", [])
