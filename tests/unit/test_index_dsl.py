"""Queries as the index gets them: no text of a user where it would be read as a command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.adapters.index import dsl
from core.errors import InvalidQuery
from core.query import MAX_WORDS, EventQuery, Position, Range, parse

TENANT = "tenant00tenant00"
# Every kind of clause that may be sent, `terms` and `term` among those that hold a user's text as a value.
KNOWN = {
    "bool", "filter", "must_not", "should", "minimum_should_match", "term", "terms", "prefix", "range", "exists",
    "match_phrase", "match_none", "match_all", "field", "gte", "lt", "lte",
}  # fmt: skip
TEXT = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["* OR *", "/.*/", "a:b", '"', "\\", "_exists_:x", "<script>"]
)
FIELDS = st.sampled_from(["user_id", "message", "metadata.a", "metadata.query_string", "after_state.*", "tags", "id"])


def clauses(node: Any, parent: str = "") -> Iterator[str]:
    """The names of the clauses; the fields that a leaf clause names are no clauses."""
    if isinstance(node, dict):
        for key, value in node.items():
            if parent not in ("term", "terms", "prefix", "match_phrase", "range"):
                yield key
            yield from clauses(value, key if parent != "range" else "")
    elif isinstance(node, list):
        for element in node:
            yield from clauses(element)


@given(st.lists(st.tuples(FIELDS, TEXT), max_size=4), st.none() | TEXT)
def test_a_users_text_is_only_ever_a_value(filters: list[tuple[str, str]], text: str | None) -> None:
    parameters = [*filters] if text is None else [*filters, ("q", text)]
    try:
        query = parse(parameters, 0).query
    except InvalidQuery:
        assume(False)
    sent = dsl.query_of(query, TENANT)
    assert set(clauses(sent)) <= KNOWN
    assert sent["bool"]["filter"][0] == {"term": {"tenant_id": TENANT}}


@pytest.mark.parametrize(
    ("text", "words", "whole"),
    [
        ("login", ["login"], None),
        ("  login ", ["login"], None),
        ("user login", ["user", "login"], "user login"),
        ('"user login"', ["user login"], '"user login"'),
        ('"user login" bob', ["user login", "bob"], '"user login" bob'),
        ('say "unfinished', ["say", '"unfinished'], 'say "unfinished'),
        ('a"b c"d', ['a"b', 'c"d'], 'a"b c"d'),
        ("a - b a", ["a", "b"], "a - b a"),
        ("***", [], "***"),
        ('""', [], '""'),
        ("日本 語", ["日本", "語"], "日本 語"),
    ],
)
def test_how_full_text_is_cut(text: str, words: list[str], whole: str | None) -> None:
    assert dsl.words_of(text) == (words, whole)


def test_as_many_words_as_may_be() -> None:
    dsl.query_of(EventQuery(text=" ".join(f"w{n}" for n in range(MAX_WORDS))), TENANT)
    too_many = " ".join(f"w{n}" for n in range(MAX_WORDS + 1))
    with pytest.raises(InvalidQuery, match="32 words"):
        dsl.query_of(EventQuery(text=too_many), TENANT)
    with pytest.raises(InvalidQuery) as caught:
        parse([("q", too_many)], 0)
    assert caught.value.errors[0].loc == ("query", "q")


@given(st.integers(0, dsl.MAX_US), st.text(max_size=40))
def test_a_position_survives_the_index(us: int, event_id: str) -> None:
    nanoseconds, same = dsl.search_after(Position(us, event_id))
    assert isinstance(nanoseconds, int)
    assert dsl.positions_of([(nanoseconds, str(same))]) == [Position(us, event_id)]


@pytest.mark.parametrize("bounds", [Range(dsl.MAX_US), Range(None, 0), Range(5, -1)])
def test_no_event_is_older_than_1970_or_younger_than_2261(bounds: Range) -> None:
    assert {"match_none": {}} in dsl.query_of(EventQuery(timestamp=bounds), TENANT)["bool"]["filter"]


@pytest.mark.parametrize("bounds", [Range(0), Range(-1, dsl.MAX_US), Range()])
def test_a_bound_that_bounds_nothing_is_left_out(bounds: Range) -> None:
    assert len(dsl.query_of(EventQuery(timestamp=bounds), TENANT)["bool"]["filter"]) == 1
