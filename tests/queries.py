"""Hypothesis strategies: events that look alike and queries that meet some of them.

Both draw from the same few values, since a query that matches nothing tests nothing.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from core import instant
from core.query import And, Condition, During, EventQuery, Leaf, Match, Node, Not, Or, Range, Text, Value

TEXTS = ["a", "ab", "abc", "a.b", "B", "é", "a\ud7ff", "a\ue000", "a\U0010ffff", "\U0010ffff", "$x", "1", "", "a\x00b"]
"""Neighbours in code point order, where a prefix's end is easily drawn wrong, and what a query might misread."""
ADDRESSES = ["10.0.0.1", "10.0.0.255", "10.0.1.0", "::ffff:10.0.0.1", "2001:db8::1", "::", "ffff:" * 7 + "ffff"]
NETWORKS = ["10.0.0.0/24", "10.0.0.1/32", "0.0.0.0/0", "::/0", "2001:db8::/32", "::ffff:10.0.0.0/120", "ffff::/16"]
FIELDS = ["action", "outcome", "user_id", "tags", "source"]
MOMENTS = [0, 1, 1_000_000, 59_999_999, 60_000_000, 60_000_001, 1_780_000_000_000_000, 1_780_000_060_000_000]

text = st.sampled_from(TEXTS)
some_text = st.sampled_from([value for value in TEXTS if value])
moment = st.sampled_from(MOMENTS)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Named fields of an event, `timestamp` among them."""
    fields: dict[str, Any] = {"timestamp": instant.to_text(draw(moment))}
    for name in FIELDS:
        if draw(st.booleans()):
            fields[name] = draw(st.lists(text, max_size=3)) if name == "tags" else draw(text)
    if draw(st.booleans()):
        fields["ip_address"] = draw(st.sampled_from(ADDRESSES))
    return fields


def trees(leaves: st.SearchStrategy[Leaf]) -> st.SearchStrategy[Node]:
    """Trees over these leaves; an operator may have one part, and now and then none."""

    def joined(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        several = st.lists(parts, max_size=3).map(tuple)
        return several.map(Or) | several.map(And) | parts.map(Not)

    return st.recursive(leaves, joined, max_leaves=6)


_exists = st.just(Value("", Match.EXISTS))
_named_value = st.one_of(some_text.map(Value), st.builds(Value, some_text, st.just(Match.PREFIX)), _exists)
_address_value = st.one_of(
    st.sampled_from(ADDRESSES).map(Value), st.builds(Value, st.sampled_from(NETWORKS), st.just(Match.CIDR)), _exists
)
conditions = st.one_of(
    st.builds(
        Condition, st.sampled_from(FIELDS), st.lists(_named_value, min_size=1, max_size=3).map(tuple), st.booleans()
    ),
    st.builds(
        Condition, st.just("ip_address"), st.lists(_address_value, min_size=1, max_size=3).map(tuple), st.booleans()
    ),
)
ranges = st.builds(Range, st.none() | moment, st.none() | moment)
_stored_leaves = conditions | st.builds(During, st.sampled_from(["timestamp", "received_at"]), ranges)
stored_queries = st.builds(
    EventQuery,
    conditions=st.lists(conditions, max_size=2).map(tuple),
    where=st.none() | trees(_stored_leaves),
    timestamp=ranges,
    received_at=st.just(Range()) | st.builds(Range, st.none() | moment, st.none()),
    sort=st.sampled_from(["timestamp", "received_at"]),
    descending=st.booleans(),
)
"""Queries that the store can answer."""


def written(query: EventQuery) -> dict[str, Any]:
    """The query as a client writes it in JSON. One condition with several ways to match is written as an `or`."""
    body: dict[str, Any] = {"sort": ("-" if query.descending else "") + query.sort}
    nodes = [written_node(node) for node in query.filters if _says_something(node)]
    return body | ({"query": {"and": nodes}} if nodes else {})


def written_node(node: Node) -> dict[str, Any]:
    match node:
        case And(parts) | Or(parts):
            return {"and" if isinstance(node, And) else "or": [written_node(part) for part in parts]}
        case Not(part):
            return {"not": written_node(part)}
        case Text(text):
            return {"text": text}
        case During(field, bounds):
            limits = {"from": bounds.start, "to": bounds.end}
            return {"field": field} | {name: instant.to_text(us) for name, us in limits.items() if us is not None}
        case Condition():
            some = [_written_value(node.field, value) for value in node.values]
            either = some[0] if len(some) == 1 else {"or": some}
            return {"not": either} if node.negated else either


def _written_value(field: str, value: Value) -> dict[str, Any]:
    if value.match is Match.EXISTS:
        return {"field": field, "exists": True}
    operator = "phrase" if field == "message" else {"equal": "equals"}.get(value.match.value, value.match.value)
    return {"field": field, operator: value.text}


def can_be_written(node: Node) -> bool:
    """Whether JSON can say it: no operator without parts, no time without a bound."""
    match node:
        case And(parts) | Or(parts):
            return bool(parts) and all(map(can_be_written, parts))
        case Not(part):
            return can_be_written(part)
    return _says_something(node)


def _says_something(node: Node) -> bool:
    return not isinstance(node, During) or node.range != Range()
