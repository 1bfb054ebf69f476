"""`EventQuery` as data: it survives being kept, joins with another, and has bounds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidQuery
from core.query import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    MAX_WORDS,
    And,
    Condition,
    During,
    EventQuery,
    Match,
    Node,
    Not,
    Or,
    Range,
    Text,
    Value,
    check,
    depth,
    of_nodes,
    parse,
)
from tests import brute
from tests.contracts.stores import body_of
from tests.queries import conditions, events, ranges, stored_queries, trees

ANY = conditions | st.builds(During, st.sampled_from(["timestamp", "received_at"]), ranges)
ANY |= st.sampled_from(["a", "ab b"]).map(Text)
LEAF = Condition("user_id", (Value("a"),))


def nested(levels: int) -> Node:
    node: Node = LEAF
    for level in range(levels):
        node = Not(node) if level % 2 else Or((node, LEAF))
    return node


def body(fields: dict[str, Any], number: int) -> bytes:
    return body_of("tenant00", fields, at=number)


@given(stored_queries, st.none() | trees(ANY))
def test_a_query_survives_being_kept(query: EventQuery, where: Node | None) -> None:
    query = msgspec.structs.replace(query, where=where)
    assert msgspec.json.decode(msgspec.json.encode(query), type=EventQuery) == query
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(query), type=EventQuery) == query


@given(stored_queries, stored_queries, trees(ANY), st.lists(events(), min_size=1, max_size=8))
def test_two_queries_joined_find_what_both_find(
    one: EventQuery, other: EventQuery, where: Node, some: list[dict[str, Any]]
) -> None:
    other = msgspec.structs.replace(other, where=where, text="a")
    bodies = [body(fields, number) for number, fields in enumerate(some)]
    both = one.restricted_to(other)
    assert set(brute.answer(both, bodies)) == set(brute.answer(one, bodies)) & set(brute.answer(other, bodies))
    assert (both.sort, both.descending) == (one.sort, one.descending)
    assert both.needs_index


@given(stored_queries)
def test_the_filters_are_the_whole_query(query: EventQuery) -> None:
    again = of_nodes(query.filters, sort=query.sort, descending=query.descending)
    bodies = [body({"user_id": text}, number) for number, text in enumerate("ab")]
    assert brute.answer(again, bodies) == brute.answer(query, bodies)
    assert of_nodes([And(query.filters)]).filters == of_nodes(query.filters).filters


def test_what_can_be_said_without_a_tree_is_said_without_it() -> None:
    ids = Condition("id", (Value("x"),))
    during = During("timestamp", Range(1, 9))
    query = of_nodes([And((LEAF, And((ids, during)))), Text("a"), During("timestamp", Range(5))])
    assert query == EventQuery(text="a", conditions=(LEAF, ids), timestamp=Range(5, 9))
    assert of_nodes([Text("a"), Text("b")]).where == Text("b")


@pytest.mark.parametrize(
    ("leaf", "needed"),
    [
        (LEAF, False),
        (During("timestamp", Range(1)), False),
        (Text("a"), True),
        (Condition("metadata.a", (Value("", Match.EXISTS),)), True),
        (Condition("message", (Value("a"),)), True),
    ],
)
def test_one_leaf_that_needs_the_index_is_enough(leaf: Condition | During | Text, needed: bool) -> None:
    for where in (leaf, Not(leaf), Or((LEAF, And((leaf,))))):
        assert EventQuery(where=where).needs_index is needed


@pytest.mark.parametrize(
    "query",
    [
        EventQuery(where=nested(MAX_DEPTH + 1)),
        EventQuery(where=Or((LEAF,) * (MAX_CONDITIONS + 1))),
        EventQuery(where=Or((Condition("user_id", (Value("a"),) * 200), Condition("action", (Value("a"),) * 57)))),
        EventQuery(text=" ".join(f"w{n}" for n in range(20)), where=Text(" ".join(f"v{n}" for n in range(13)))),
        EventQuery(
            where=Or(
                (Text(" ".join(f"w{n}" for n in range(32))), Condition("metadata.a", (Value("", Match.EXISTS),) * 250))
            )
        ),
    ],
    ids=["depth", "conditions", "values", "words", "clauses"],
)
def test_what_is_too_large_is_refused(query: EventQuery) -> None:
    with pytest.raises(InvalidQuery):
        check(query)


def test_what_just_fits_is_taken() -> None:
    check(EventQuery(where=nested(MAX_DEPTH)))
    check(EventQuery(where=Or((LEAF,) * MAX_CONDITIONS)))
    check(EventQuery(conditions=(Condition("user_id", (Value("a"),) * MAX_VALUES),)))
    check(EventQuery(text=" ".join(f"w{n}" for n in range(MAX_WORDS))))
    assert depth(nested(MAX_DEPTH)) == MAX_DEPTH


def test_a_restriction_stays_whatever_the_page_is_resolved_to() -> None:
    page = parse([("from", "-1h")], 10**13).restricted_to(EventQuery(timestamp=Range(5, 10**10)))
    assert page.query.timestamp == Range(10**13 - 3600 * 10**6, 10**10)
    assert page.at(3600 * 10**6 + 7, from_store=False).query.timestamp == Range(7, 10**10)
