"""From an `EventQuery` to OpenSearch's query language. A user's text only ever becomes a value of a term, prefix, range
or phrase clause, never of `query_string`, `regexp`, `wildcard` or a script. What full text means is said in
`core.query.words`.

A free-form value is compared by its text: a string's own, a number's as written (`1.0` is not `1`), `true`, `false`.
A `flat_object` keeps `path=value` as one term, so a key with `=` in it (`{"a=b": "c"}`) is found by the path before the
`=` as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any, Final

from core import instant
from core.errors import InvalidQuery
from core.event import FREE_FIELDS
from core.query import (
    EXACT_FIELDS,
    And,
    Condition,
    During,
    EventQuery,
    Match,
    Node,
    Not,
    Or,
    Position,
    Text,
    Value,
    check,
    words_of,
)

Clause = dict[str, Any]

# 2262-01-01: `date_nanos` ends in that year, and the index refuses a bound beyond.
MAX_US: Final = 9_214_646_400_000_000
_NOTHING: Final[Clause] = {"match_none": {}}
_EVERYTHING: Final[Clause] = {"match_all": {}}


def query_of(query: EventQuery, tenant_id: str) -> Clause:
    """The clause for the events that `query` asks for; raises `InvalidQuery` for what the index cannot answer.

    The tenant is a clause too, though the alias holds no other's: a wall behind the wall.
    """
    check(query)
    must: list[Clause] = [{"term": {"tenant_id": tenant_id}}]
    must_not: list[Clause] = []
    for node in query.filters:
        negated, clause = _signed(node)
        (must_not if negated else must).append(clause)
    clause = {"filter": [part for part in must if part is not _EVERYTHING]}
    if must_not:
        clause["must_not"] = must_not
    return {"bool": clause}


def sort_of(query: EventQuery) -> list[Clause]:
    """The order: by time, equal times by id, so that a position is unique."""
    order = "desc" if query.descending else "asc"
    return [{query.sort: {"order": order, "numeric_type": "date_nanos"}}, {"id": {"order": order}}]


def search_after(position: Position) -> list[int | str]:
    """The sort values of a position: nanoseconds and the id."""
    return [position.us * 1000, position.id]


def positions_of(sorts: Iterable[tuple[int, str]]) -> list[Position]:
    """The inverse of `search_after`, of all hits of a page."""
    return [Position(nanoseconds // 1000, event_id) for nanoseconds, event_id in sorts]


def _signed(node: Node) -> tuple[bool, Clause]:
    """Whether the node is a denial, and the clause that it denies or states."""
    match node:
        case Condition():
            return node.negated, _condition(node)
        case Not(part):
            return True, _clause(part)
        case And(parts):
            return False, {"bool": {"filter": [_clause(part) for part in parts]}} if parts else _EVERYTHING
        case Or(parts):
            return False, _any([_clause(part) for part in parts])
        case During():
            return False, _times(node)
        case Text(text):
            return False, _text(text)


def _clause(node: Node) -> Clause:
    negated, clause = _signed(node)
    return {"bool": {"must_not": [clause]}} if negated else clause


def _text(text: str) -> Clause:
    words, whole = words_of(text)
    found = [_any([_phrase(word), *_exact(word)]) for word in words]
    alternatives = [] if whole is None else _exact(whole)
    if found:
        alternatives.append({"bool": {"filter": found}})
    return _any(alternatives)


def _exact(text: str) -> list[Clause]:
    """Clauses for the events that have `text` as the exact value of a field or of anything in a free-form one."""
    clauses: list[Clause] = [{"term": {name: text}} for name in (*EXACT_FIELDS, *FREE_FIELDS)]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return clauses
    return clauses if "%" in text else [*clauses, {"term": {"ip_address": str(address)}}]


def _phrase(text: str) -> Clause:
    return {"match_phrase": {"message": text}}


def _times(during: During) -> Clause:
    start, end = during.range.start, during.range.end
    if (end is not None and end <= 0) or (start is not None and start >= MAX_US):
        return _NOTHING
    limits: dict[str, str] = {}
    if start is not None and start > 0:
        limits["gte"] = instant.to_text(start)
    if end is not None and end < MAX_US:
        limits["lt"] = instant.to_text(end)
    return {"range": {during.field: limits}} if limits else _EVERYTHING


def _condition(condition: Condition) -> Clause:
    field = condition.field
    if field == "message":
        return _any([_value(field, value) for value in condition.values])
    equal = [value.text for value in condition.values if value.match is Match.EQUAL]
    clauses = [_value(field, value) for value in condition.values if value.match is not Match.EQUAL]
    if equal:
        clauses.append({"terms": {field: equal}})
    return _any(clauses)


def _value(field: str, value: Value) -> Clause:
    match value.match:
        case Match.EXISTS if field.split(".", 1)[0] in FREE_FIELDS:
            # A leaf by its values, an object by its path.
            return _any([{"prefix": {field: ""}}, {"term": {"paths": field}}])
        case Match.EXISTS:
            return {"exists": {"field": field}}
        case Match.CIDR if field == "ip_address":
            # As a range, because the index takes no CIDR of IPv4-mapped addresses.
            network = ipaddress.ip_network(value.text, strict=False)
            return {"range": {field: {"gte": str(network[0]), "lte": str(network[-1])}}}
        case Match.EQUAL if field == "message":
            return _phrase(value.text)
        case Match.PREFIX if field not in ("ip_address", "message", "id"):
            return {"prefix": {field: value.text}}
    raise InvalidQuery(f"{field} cannot be matched by {value.match.value}")


def _any(clauses: list[Clause]) -> Clause:
    if len(clauses) == 1:
        return clauses[0]
    return {"bool": {"should": clauses, "minimum_should_match": 1}} if clauses else _NOTHING
