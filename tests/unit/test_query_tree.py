"""Queries as JSON: what is written is what is asked, and what is wrong is named by its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import Invalid, InvalidQuery
from core.query import (
    MAX_DEPTH,
    Condition,
    During,
    EventQuery,
    Match,
    Not,
    Or,
    Page,
    Range,
    Text,
    Value,
    parse,
    parse_body,
    parse_document,
    parse_story,
)
from tests import brute
from tests.contracts.stores import body_of
from tests.queries import can_be_written, events, stored_queries, trees, written
from tests.unit.test_query import ANY

NOW = 1_780_000_000_000_000


def page(document: Any) -> Page:
    return parse_body(json.dumps(document).encode(), NOW)


def where(tree: Any) -> EventQuery:
    return page({"query": tree}).query


@given(stored_queries, st.none() | trees(ANY), st.lists(events(), min_size=1, max_size=8))
def test_what_is_written_is_what_is_asked(query: EventQuery, extra: Any, some: list[dict[str, Any]]) -> None:
    query = EventQuery(where=extra, sort="received_at").restricted_to(query) if extra else query
    assume(query.where is None or can_be_written(query.where))
    document = written(query)
    try:
        read = page(document).query
    except InvalidQuery as error:
        assert "deep" in error.message  # noqa: PT017 - the one bound that these trees can pass
        return
    bodies = [body_of("tenant00", fields, at=number) for number, fields in enumerate(some)]
    assert brute.answer(read, bodies) == brute.answer(query, bodies)


@pytest.mark.parametrize(
    ("url", "document"),
    [
        ([], {}),
        ([("user_id", "a"), ("user_id", "b")], {"query": {"field": "user_id", "equals": ["a", "b"]}}),
        ([("user_id", "!*")], {"query": {"field": "user_id", "exists": False}}),
        ([("action", "aws.*")], {"query": {"field": "action", "prefix": "aws."}}),
        ([("ip_address", "10.0.0.1/8")], {"query": {"field": "ip_address", "cidr": "10.0.0.0/8"}}),
        ([("message", "a b")], {"query": {"field": "message", "phrase": "a b"}}),
        ([("metadata.n", "1.0"), ("metadata.n", "true")], {"query": {"field": "metadata.n", "equals": [1.0, True]}}),
        ([("q", "a"), ("from", "-1h")], {"query": {"and": [{"text": "a"}]}, "from": "-1h"}),
        ([("from", "-1h")], {"query": {"field": "timestamp", "from": "-1h"}}),
        (
            [("received_from", "-2h"), ("received_to", "now"), ("sort", "received_at"), ("limit", "7")],
            {"received_from": "-2h", "received_to": "now", "sort": "received_at", "limit": 7},
        ),
    ],
)  # fmt: skip
def test_both_ways_to_write_a_query_ask_the_same(url: list[tuple[str, str]], document: Any) -> None:
    one, other = parse(url, NOW), page(document)
    assert (one.query, one.limit, one.cursor) == (other.query, other.limit, other.cursor)


def test_no_character_of_a_value_has_a_meaning() -> None:
    for text in ("*", "!a", "a*", "\\!", "a\\*", "$where", "\x00", '"'):
        assert where({"field": "user_id", "equals": text}).conditions == (Condition("user_id", (Value(text),)),)


def test_numbers_are_kept_as_they_are_written() -> None:
    body = b'{"query":{"field":"metadata.n","equals":[1.0,1e400,123456789012345678901234567890]}}'
    [condition] = parse_body(body, NOW).query.conditions
    assert [value.text for value in condition.values] == ["1.0", "1e400", "123456789012345678901234567890"]


def test_operators_may_be_nested_and_mixed() -> None:
    tree = {"or": [{"not": {"text": "x"}}, {"field": "received_at", "to": "now"}]}
    assert where(tree).where == Or((Not(Text("x")), During("received_at", Range(None, NOW))))
    assert where({"field": "id", "exists": True}).conditions[0].values == (Value("", Match.EXISTS),)


def test_relative_times_in_a_tree_stay_with_the_first_pages_moment() -> None:
    document = {"query": {"or": [{"field": "timestamp", "from": "-1h"}, {"field": "user_id", "equals": "a"}]}}
    later = parse_document(document, NOW + 60_000_000)
    assert later.query != page(document).query
    assert later.at(NOW, from_store=False).query == page(document).query


def test_a_fingerprint_is_the_documents_own_in_any_order_of_its_members() -> None:
    tree = {"field": "user_id", "equals": "a"}
    made = page({"query": tree, "from": "-1h"}).fingerprint
    assert page({"from": "-1h", "cursor": "x", "limit": 3, "query": dict(reversed(tree.items()))}).fingerprint == made
    for other in ({"query": tree}, {"query": {"not": tree}, "from": "-1h"}, {"query": tree, "from": "-2h"}):
        assert page(other).fingerprint != made
    assert parse([("user_id", "a"), ("from", "-1h")], NOW).fingerprint != made


LEAF = {"field": "user_id", "equals": "a"}
FAULTS: list[tuple[Any, list[str | int]]] = [
    ([], []), (1, []), (None, []), ("x", []), ({"colour": 1}, ["colour"]), ({"q": "x"}, ["q"]),
    ({"query": None}, ["query"]), ({"query": []}, ["query"]), ({"query": {}}, ["query"]), ({"query": "x"}, ["query"]),
    ({"query": {"and": []}}, ["query", "and"]), ({"query": {"or": LEAF}}, ["query", "or"]),
    ({"query": {"not": [LEAF]}}, ["query", "not"]), ({"query": {"and": [LEAF, 1]}}, ["query", "and", 1]),
    ({"query": {"and": [LEAF], "or": [LEAF]}}, ["query", "or"]), ({"query": {"not": LEAF, "x": 1}}, ["query", "x"]),
    ({"query": {"or": [LEAF, {"and": [LEAF, {"not": {"field": "colour", "equals": "x"}}]}]}},
     ["query", "or", 1, "and", 1, "not", "field"]),
    ({"query": {"text": ""}}, ["query", "text"]), ({"query": {"text": "x" * 1025}}, ["query", "text"]),
    ({"query": {"text": 1}}, ["query", "text"]), ({"query": {"text": "x", "field": "user_id"}}, ["query", "field"]),
    ({"query": {"text": " ".join(f"w{n}" for n in range(33))}}, ["query", "text"]),
    ({"query": {"field": 1, "equals": "x"}}, ["query", "field"]), ({"query": {"equals": "x"}}, ["query"]),
    ({"query": {"field": "user_id"}}, ["query"]), ({"query": {"field": "user_id", "is": "x"}}, ["query"]),
    ({"query": {"field": "user_id", "equals": "x", "prefix": "x"}}, ["query"]),
    ({"query": {"field": "user_id", "equals": ""}}, ["query", "equals"]),
    ({"query": {"field": "user_id", "equals": []}}, ["query", "equals"]),
    ({"query": {"field": "user_id", "equals": None}}, ["query", "equals"]),
    ({"query": {"field": "user_id", "equals": 1}}, ["query", "equals"]),
    ({"query": {"field": "user_id", "equals": ["a", True]}}, ["query", "equals", 1]),
    ({"query": {"field": "metadata.a", "equals": {"b": 1}}}, ["query", "equals"]),
    ({"query": {"field": "metadata.a", "equals": [None]}}, ["query", "equals", 0]),
    ({"query": {"field": "metadata", "equals": "x"}}, ["query", "field"]),
    ({"query": {"field": "tenant_id", "equals": "x"}}, ["query", "field"]),
    ({"query": {"field": "$where", "equals": "x"}}, ["query", "field"]),
    ({"query": {"field": "user_id", "exists": "yes"}}, ["query", "exists"]),
    ({"query": {"field": "user_id", "cidr": "10.0.0.0/8"}}, ["query", "cidr"]),
    ({"query": {"field": "user_id", "phrase": "x"}}, ["query", "phrase"]),
    ({"query": {"field": "id", "prefix": "x"}}, ["query", "prefix"]),
    ({"query": {"field": "message", "equals": "x"}}, ["query", "equals"]),
    ({"query": {"field": "ip_address", "prefix": "10."}}, ["query", "prefix"]),
    ({"query": {"field": "ip_address", "equals": "10.0.0.0/8"}}, ["query", "equals"]),
    ({"query": {"field": "ip_address", "cidr": ["10.0.0.0/8", "10.0.0.1"]}}, ["query", "cidr", 1]),
    ({"query": {"field": "ip_address", "equals": "fe80::1%eth0"}}, ["query", "equals"]),
    ({"query": {"field": "timestamp"}}, ["query"]),
    ({"query": {"field": "timestamp", "equals": "x"}}, ["query", "equals"]),
    ({"query": {"field": "timestamp", "from": "yesterday"}}, ["query", "from"]),
    ({"query": {"field": "timestamp", "from": 1}}, ["query", "from"]),
    ({"from": "x"}, ["from"]), ({"to": None}, ["to"]), ({"received_to": 5}, ["received_to"]),
    ({"sort": "id"}, ["sort"]),
    ({"sort": 1}, ["sort"]), ({"limit": 0}, ["limit"]), ({"limit": 1001}, ["limit"]), ({"limit": "5"}, ["limit"]),
    ({"limit": 1.5}, ["limit"]), ({"limit": True}, ["limit"]), ({"limit": None}, ["limit"]),
    ({"cursor": 1}, ["cursor"]),
]  # fmt: skip


@pytest.mark.parametrize(("document", "place"), FAULTS, ids=[json.dumps(fault[0])[:60] for fault in FAULTS])
def test_a_fault_is_named_by_its_place(document: Any, place: list[str | int]) -> None:
    with pytest.raises(InvalidQuery) as refused:
        page(document)
    assert [list(fault.loc) for fault in refused.value.errors] == [place]
    assert refused.value.errors[0].msg in refused.value.message


def test_operators_nest_so_deep_and_no_deeper() -> None:
    tree: Any = LEAF
    for _ in range(MAX_DEPTH):
        tree = {"not": tree}
    where(tree)
    with pytest.raises(InvalidQuery) as refused:
        where({"or": [tree]})
    assert list(refused.value.errors[0].loc) == ["query", "or", 0, *["not"] * MAX_DEPTH]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"), (b"{", "malformed_json"), (b'{"limit":NaN}', "malformed_json"),
        (b"{} {}", "malformed_json"),
        (b'{"limit":Infinity}', "malformed_json"), (b"\xef\xbb\xbf{}", "malformed_json"), (b"\xff", "invalid_utf8"),
        (b'{"limit":1,"limit":2}', "invalid_query"), (b'{"query":{"text":"a","text":"b"}}', "invalid_query"),
        (b'{"query":{"text":"\\ud800"}}', "lone_surrogate"), (b'{"\\udfff":1}', "lone_surrogate"),
        (b'{"\\ud800":1,"\\ud800":2}', "invalid_query"), (b"[" * 60_000, "invalid_query"),
        (b'{"\\u0061":' + b"[" * 60_000, "invalid_query"), (b'{"limit":' + b"9" * 5000 + b"}", "invalid_query"),
        (b'{"query":' + b'{"not":' * 800 + b"1" + b"}" * 801, "invalid_query"),
        (b'{"x\\u0061":' + b"[" * 900 + b"]" * 900 + b"}", "invalid_query"),
    ],
)  # fmt: skip
def test_what_is_no_honest_json_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_body(body, NOW)
    assert refused.value.code == code


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\andortfieldqu0 ', max_size=60).map(str.encode))
def test_any_body_is_a_query_or_refused(body: bytes) -> None:
    try:
        parse_body(body, NOW)
    except Invalid as error:
        assert error.code in ("malformed_json", "invalid_utf8", "invalid_query", "lone_surrogate")  # noqa: PT017


# Stories -------------------------------------------------------------------------------------------------------------


def test_a_story_is_one_values_the_oldest_first() -> None:
    story = parse_story("trace_id", "!a*", [("from", "-1h"), ("limit", "3")], NOW)
    assert story.query == EventQuery(
        conditions=(Condition("trace_id", (Value("!a*"),)),), timestamp=Range(NOW - 3_600_000_000), descending=False
    )
    assert (story.limit, story.at(NOW + 1, from_store=False).query.conditions) == (3, story.query.conditions)
    others = [
        parse_story("trace_id", "b", [("from", "-1h")], NOW), parse_story("request_id", "!a*", [("from", "-1h")], NOW),
        parse_story("trace_id", "!a*", [], NOW), parse([("trace_id", "!a*"), ("from", "-1h")], NOW),
    ]  # fmt: skip
    assert story.fingerprint not in [other.fingerprint for other in others]
    assert parse_story("trace_id", "!a*", [("cursor", "x"), ("from", "-1h")], NOW).fingerprint == story.fingerprint


@pytest.mark.parametrize("name", ["user_id", "sort", "q", "trace_id", "x"])
def test_a_story_takes_no_other_filter(name: str) -> None:
    with pytest.raises(InvalidQuery) as refused:
        parse_story("trace_id", "a", [(name, "timestamp")], NOW)
    assert refused.value.errors[0].loc == ("query", name)
