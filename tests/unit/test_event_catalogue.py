"""The event catalogue: which schemas are taken, what they may cost, and what is said of an event that breaks one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.catalogue import Action, Catalogue, CatalogueCache, Checker, Mode, check_actions, described
from core.catalogue import check as checking
from core.catalogue.schemas import MAX_NODES, BadSchema, Cost, compile_schema, cost_of
from core.errors import Invalid, InvalidEvent, Unavailable
from core.tenant import TenantScope, for_system

SCOPE = for_system("aaaaaaaa", "test")
ORDER = {
    "required": ["user_id"],
    "properties": {
        "user_id": {"type": "string", "pattern": "^u-"},
        "metadata": {
            "type": "object",
            "required": ["cents"],
            "properties": {"cents": {"type": "integer", "maximum": 1000}, "card": {"type": "integer"}},
            "additionalProperties": False,
        },
    },
}


def catalogue(mode: Mode = Mode.ENFORCE, version: int = 1, **schemas: dict[str, Any] | None) -> Catalogue:
    actions = tuple(Action(name.replace("_", "."), schema) for name, schema in schemas.items())
    return Catalogue(version, mode, actions, 0, "test")


def checker(*actions: Action) -> Checker:
    return Checker(Catalogue(1, Mode.ENFORCE, actions, 0, "test"))


def fault(schema: dict[str, Any] | None, **event: Any) -> InvalidEvent | None:
    return checker(Action("a", schema)).fault(json.dumps({"action": "a", **event}).encode())


def faults(schema: dict[str, Any], **event: Any) -> set[tuple[tuple[Any, ...], str]]:
    found = fault(schema, **event)
    return {(error.loc, error.type) for error in found.errors} if found else set()


def refused(schema: dict[str, Any]) -> str:
    with pytest.raises(Invalid) as caught:
        check_actions({"a": Action("a", schema)})
    assert caught.value.code == "bad_catalogue"
    assert caught.value.errors[0].loc == ("actions", "a", "schema")
    return caught.value.errors[0].msg


# Schemas -------------------------------------------------------------------------------------------------------------

NOT_TAKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no schema": ({"type": "nope"}, "not a JSON Schema"),
    "a reference to the network": ({"$ref": "http://127.0.0.1:9/x"}, "JSON Pointer"),
    "a reference to a file": ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "JSON Pointer"),
    "a reference to the meta-schema": ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "JSON Pointer"),
    "a reference by anchor": ({"$ref": "#name"}, "JSON Pointer"),
    "a reference to itself": ({"$ref": "#"}, "JSON Pointer"),
    "a circle": ({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "back to itself"),
    "a wider circle": (
        {"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"not": {"$ref": "#/$defs/a"}}}}, "back to itself"
    ),
    "a reference to nothing": ({"$ref": "#/$defs/a"}, "leads nowhere"),
    "a base address": ({"$id": "http://127.0.0.1:9/", "type": "object"}, "$id is not taken"),
    "a dynamic reference": ({"items": {"$dynamicRef": "#x"}}, "$dynamicRef is not taken"),
    "another dialect": ({"$schema": "http://json-schema.org/draft-07/schema#"}, "$schema must be"),
    "a dialect of its own": ({"$schema": "http://127.0.0.1:9/x"}, "$schema must be"),
    "an unknown format": ({"properties": {"a": {"format": "e-mail"}}}, "format must be"),
    "the format regex": ({"format": "regex"}, "format must be"),
    "look-ahead": ({"pattern": "(?=a)b"}, "not a JSON Schema"),
    "a back reference": ({"pattern": r"(a)\1"}, "not a JSON Schema"),
    "a pattern that grows": ({"pattern": "(a{500}){500}"}, "not a JSON Schema"),
    "too long": ({"enum": ["x" * 40_000]}, "bytes"),
    "too many parts": ({"enum": list(range(MAX_NODES))}, "parts"),
    "references that double": (
        {"$ref": "#/$defs/d0", "$defs": {
            **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(20)}, "d20": {"type": "object"},
        }}, "parts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_TAKEN)
def test_a_schema_that_is_not_taken(kind: str) -> None:
    schema, message = NOT_TAKEN[kind]
    assert message in refused(schema)


def test_a_schema_that_is_too_deep() -> None:
    schema: dict[str, Any] = {}
    for _ in range(40):
        schema = {"not": schema}
    assert "levels" in refused(schema)


@pytest.mark.parametrize("name", ["", " ", "a b", "a*", "*.a", "a.*.b", "x" * 300, "ocelot.own", "Ocelot.*", "a\n"])
def test_a_name_that_is_not_taken(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_actions({name: Action(name)})
    assert caught.value.errors[0].loc == ("actions", name)


def test_too_many_actions_are_not_taken() -> None:
    with pytest.raises(Invalid, match="500"):
        check_actions({f"a{n}": Action(f"a{n}") for n in range(501)})


@pytest.mark.parametrize("name", ["a", "user.login", "aws.*", "*", "Größe:x/y", "a.b.*"])
def test_a_good_action_is_taken(name: str) -> None:
    check_actions({name: Action(name, ORDER | {"$schema": "https://json-schema.org/draft/2020-12/schema"})})


def test_nothing_is_fetched_even_by_a_schema_that_was_not_looked_through() -> None:
    with pytest.raises(BadSchema):
        compile_schema({"$ref": "http://127.0.0.1:9/x"})


def test_a_cost_counts_what_each_value_meets() -> None:
    assert cost_of({"type": "object"}) == Cost(once=2)
    assert cost_of({"items": {"type": "string"}}) == Cost(once=1, each=2)
    twice = {"$defs": {"a": {"type": "object"}}, "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}
    assert cost_of(twice) == Cost(once=1 + (1 + 2) + 2 * (1 + 2))


# Events --------------------------------------------------------------------------------------------------------------


def test_what_fits_is_taken() -> None:
    assert fault(ORDER, user_id="u-1", metadata={"cents": 5}) is None
    assert fault(ORDER, user_id="u-1") is None
    assert fault(None, anything="x") is None


def test_each_fault_is_told_with_its_place() -> None:
    assert faults(ORDER, user_id="x", metadata={"cents": 5000, "more": 1}) == {
        (("user_id",), "schema_pattern"),
        (("metadata", "cents"), "schema_maximum"),
        (("metadata", "more"), "schema_additionalProperties"),
    }
    assert faults(ORDER, metadata={}) == {
        (("user_id",), "schema_required"),
        (("metadata", "cents"), "schema_required"),
    }


def test_an_event_is_checked_as_it_was_sent() -> None:
    assert fault(ORDER, user_id="u-1", metadata={"cents": 5, "card": 4111111111111111}) is None
    closed = {"properties": dict.fromkeys(("action", "user_id"), True), "additionalProperties": False}
    assert fault(closed, user_id="x", idempotency_key="k", message=None) is None
    assert faults(closed, message="x") == {(("message",), "schema_additionalProperties")}
    assert faults({"required": ["severity"]}) == {(("severity",), "schema_required")}


def test_formats_are_checked() -> None:
    schema = {"properties": {"ip_address": {"format": "ipv4"}, "metadata": {"properties": {"at": {"format": "date"}}}}}
    assert faults(schema, ip_address="::1", metadata={"at": "never"}) == {
        (("ip_address",), "schema_format"),
        (("metadata", "at"), "schema_format"),
    }
    assert fault(schema, ip_address="10.0.0.1", metadata={"at": "2026-11-21"}) is None


SECRET = "hunter2-and-more"
TELLING: list[dict[str, Any]] = [
    {"properties": {"metadata": {"properties": {"password": {"maxLength": 3}}}}},
    {"properties": {"metadata": {"properties": {"password": {"const": "x"}}}}},
    {"properties": {"metadata": {"properties": {"password": {"enum": ["x"]}}}}},
    {"properties": {"metadata": {"properties": {"password": {"pattern": "^x"}}}}},
    {"properties": {"metadata": {"properties": {"password": {"type": "integer"}}}}},
    {"properties": {"metadata": {"properties": {"password": {"format": "uuid"}}}}},
    {"properties": {"metadata": {"properties": {"password": {"not": {"type": "string"}}}}}},
    {"properties": {"metadata": {"properties": {"password": {"anyOf": [{"const": 1}, {"const": 2}]}}}}},
    {"properties": {"metadata": {"properties": {"password": {"oneOf": [True, True]}}}}},
    {"properties": {"metadata": {"properties": {"password": False}}}},
    {"properties": {"metadata": {"const": {}}}},
    {"properties": {"metadata": {"maxProperties": 0}}},
    {"properties": {"metadata": {"minProperties": 9}}},
    {"properties": {"metadata": {"additionalProperties": False}}},
    {"properties": {"metadata": {"unevaluatedProperties": False}}},
    {"properties": {"metadata": {"propertyNames": {"maxLength": 3}}}},
    {"properties": {"metadata": {"additionalProperties": {"type": "integer"}}}},
    {"properties": {"tags": {"items": {"maxLength": 3}}}},
    {"properties": {"tags": {"contains": {"const": "x"}}}},
    {"properties": {"tags": {"uniqueItems": True}}},
    {"properties": {"tags": {"unevaluatedItems": False}}},
    {"properties": {"tags": {"maxItems": 1}}},
    {"not": {"required": ["action"]}},
    {"dependentRequired": {"action": ["outcome"]}},
]


@pytest.mark.parametrize("schema", TELLING, ids=str)
@pytest.mark.parametrize("detail", [checking._DETAIL_PAIRS, 0], ids=["all", "one"])
def test_no_fault_tells_a_value_or_a_secret_in_a_name(
    schema: dict[str, Any], detail: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_actions({"a": Action("a", schema)})
    monkeypatch.setattr(checking, "_DETAIL_PAIRS", detail)
    metadata = {"password": SECRET, f"password={SECRET}": SECRET}
    found = fault(schema, metadata=metadata, tags=[SECRET, SECRET], message=SECRET)
    assert found is not None
    assert found.errors
    assert SECRET not in found.message + str(found.errors)


def test_an_unknown_action_is_a_fault_and_the_longest_beginning_counts() -> None:
    known = checker(
        Action("user.login"),
        Action("user.*", {"required": ["user_id"]}),
        Action("user.key.*", {"required": ["source"]}),
    )

    def told(action: str) -> set[str]:
        found = known.fault(json.dumps({"action": action}).encode())
        return {error.type + ":" + str(error.loc[0]) for error in found.errors} if found else set()

    assert told("user.login") == set()
    assert told("user.logout") == {"schema_required:user_id"}
    assert told("user.key.made") == {"schema_required:source"}
    for action in ("user", "userx", "USER.login", "other"):
        assert told(action) == {"unknown_action:action"}
    assert checker(Action("*")).fault(b'{"action":"any"}') is None


def test_what_is_no_event_is_left_to_others() -> None:
    deep = b'{"action":"a","metadata":' + b'{"a":' * 70 + b"1" + b"}" * 71
    for item in (b"", b"[]", b"1", b"{", b'{"action":1}', b"{}", b"\xff", b"[" * 5000, deep):
        assert checker().fault(item) is None


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "-" + "9" * 5000, "1e-400", "9" * 30])
def test_numbers_that_no_float_holds_are_checked(number: str) -> None:
    schema = {"properties": {"metadata": {"properties": {"n": {"type": "number", "maximum": 10}}}}}
    item = f'{{"action":"a","metadata":{{"n":{number}}}}}'.encode()
    too_large = not number.startswith("-") and number != "1e-400"
    assert (checker(Action("a", schema)).fault(item) is not None) == too_large


def test_what_a_check_may_cost_is_bounded() -> None:
    alternatives = {"anyOf": [{"const": -n} for n in range(900)]}
    many = {"properties": {"metadata": {"properties": {"m": {"items": alternatives}}}}}
    check_actions({"a": Action("a", many)})
    assert faults(many, metadata={"m": list(range(1, 5000))}) == {((), "schema_cost")}
    # The library would gather 900 alternatives of each value before it told the first.
    assert faults(many, metadata={"m": list(range(1, 200))}) == {((), "schema")}


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["action", "user_id", "tags", "metadata", "x"]), st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=12,
    ))
)  # fmt: skip
def test_any_event_gets_an_answer(event: dict[str, Any]) -> None:
    found = checker(Action("*", ORDER)).fault(json.dumps(event).encode())
    assert found is None or found.errors


# The cache and the description ---------------------------------------------------------------------------------------


class Kept:
    """Catalogues of one tenant in memory."""

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}
        self.newest_one: Catalogue | None = None
        self.fail: Exception | None = None
        self.reads = 0

    async def newest(self) -> dict[str, int]:
        if self.fail:
            raise self.fail
        return dict(self.heads)

    async def get(self, scope: TenantScope, version: int | None = None) -> Catalogue | None:
        self.reads += 1
        if self.fail:
            raise self.fail
        return self.newest_one

    def put_now(self, made: Catalogue) -> None:
        self.newest_one, self.heads[SCOPE.tenant_id] = made, made.version


async def test_the_cache_follows_the_versions_and_outlives_a_store_that_is_down() -> None:
    kept = Kept()
    cache = CatalogueCache(kept)  # type: ignore[arg-type]
    kept.fail = Unavailable("store")
    with pytest.raises(Unavailable):  # nobody knows whether there is one: not as if there were none
        await cache.checker(SCOPE)
    kept.fail = None
    assert await cache.checker(SCOPE) is None
    assert kept.reads == 0
    kept.put_now(catalogue(a=None))
    await cache.refresh()
    first = await cache.checker(SCOPE)
    assert first is not None
    assert await cache.checker(SCOPE) is first
    assert kept.reads == 1
    kept.put_now(catalogue(version=2, b=None))
    await cache.refresh()
    kept.fail = Unavailable("store")
    assert await cache.checker(SCOPE) is first
    kept.fail = None
    second = await cache.checker(SCOPE)
    assert second is not None
    assert second.version == 2
    kept.put_now(catalogue(Mode.OFF, 3, b=None))
    await cache.refresh()
    assert await cache.checker(SCOPE) is None
    assert await cache.checker(for_system("bbbbbbbb", "test")) is None


def test_the_description_moves_pointers_to_where_the_schema_stands() -> None:
    number = {"properties": {"n": {"$ref": "#/$defs/a"}}}
    schema = {"$defs": {"a": {"type": "integer"}}, "properties": {"metadata": number}}
    actions = (Action("a b", schema), Action("a/b", None), Action("x.*", schema))
    made = described(Catalogue(4, Mode.WARN, actions, 0, ""), {}, "https://x")
    body = made["paths"]["/api/v1/logs"]["post"]["requestBody"]["content"]["application/json"]
    names = [form["$ref"] for form in body["schema"]["oneOf"]]
    assert names == ["#/components/schemas/a_b", "#/components/schemas/a_b_2", "#/components/schemas/x._"]
    assert made["info"]["version"] == "4"
    for name in names:
        # Each form, read on its own with the components beside it, says what the catalogue does.
        form = {"$ref": name, "components": made["components"]}
        validator = compile_schema(form)
        action = {"a_b": "a b", "a_b_2": "a/b", "x._": "x.y"}[name.rsplit("/", 1)[1]]
        assert validator.is_valid({"action": action, "metadata": {"n": 1}})
        assert validator.is_valid({"action": action, "metadata": {"n": "1"}}) == (action == "a/b")
        assert not validator.is_valid({"action": "other"})
