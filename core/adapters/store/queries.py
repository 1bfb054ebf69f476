"""`EventQuery` as a MongoDB filter, within the dialect that every server here answers alike.

Ranges are half-open (`$gte`, `$lt`): SecantusDB drops the row at the bound of `$lte` on an index's later key.
"""

from __future__ import annotations

from typing import Any, Final

from core.adapters.store.client import BsonMap
from core.errors import InvalidQuery
from core.event import KEYWORD_FIELDS
from core.query import (
    TIME_FIELDS,
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
    cidr_bounds,
    ip_key,
)

_LAST: Final = "\U0010ffff"
# An empty filter inside of `$and` or `$nor` is refused by some servers.
_EVERYTHING: Final[BsonMap] = {"_id": {"$exists": True}}


def filter_of(query: EventQuery, tenant_id: str) -> BsonMap:
    """The filter for all of the query but the range of its sort field; raises `InvalidQuery` when it needs the index.

    `_id` comes first: SecantusDB takes the index of the filter's first key, and by tenant it scans the tenant.
    """
    if query.needs_index:
        raise InvalidQuery("full text, messages and free-form paths are searched in the index alone")
    found: BsonMap = {}
    if (ids := ids_of(query)) is not None:
        found["_id"] = {"$in": sorted(ids)}
    found["tenant_id"] = tenant_id
    other = "received_at" if query.sort == "timestamp" else "timestamp"
    if bounds := range_of(getattr(query, other)):
        found[other] = bounds
    parts = [_condition(condition) for condition in query.conditions]
    if query.where is not None:
        parts.append(_node(query.where))
    if parts:
        found["$and"] = parts
    return found


def ids_of(query: EventQuery) -> set[str] | None:
    """The ids that the query names, when it names any: no other event can match."""
    named = [
        {value.text for value in condition.values}
        for condition in query.conditions
        if condition.field == "id" and not condition.negated and all(v.match is Match.EQUAL for v in condition.values)
    ]
    return set.intersection(*named) if named else None


def range_of(bounds: Range) -> dict[str, int]:
    found = {"$gte": bounds.start, "$lt": bounds.end}
    return {operator: us for operator, us in found.items() if us is not None}


def successor(prefix: str) -> str | None:
    """The least string above every string that begins with `prefix`, in code point order; None: there is none.

    Servers compare UTF-8 bytes, which sort as code points do. Surrogates are no characters, so U+E000 follows U+D7FF.
    """
    stem = prefix.rstrip(_LAST)
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)


def _node(node: Node) -> BsonMap:
    match node:
        case Condition():
            return _condition(node)
        case Not(part):
            return {"$nor": [_node(part)]}
        case And(parts):
            return {"$and": [_node(part) for part in parts]} if parts else _EVERYTHING
        case Or(parts):
            return {"$or": [_node(part) for part in parts]} if parts else {"$nor": [_EVERYTHING]}
        case During(field, bounds) if field in TIME_FIELDS:
            within = range_of(bounds)
            return {field: within} if within else _EVERYTHING
        case During(field) | Text(field):
            raise InvalidQuery(f"{field} is nothing that the store can filter by")


def _condition(condition: Condition) -> BsonMap:
    parts = [_value(condition.field, value) for value in condition.values]
    if condition.negated:
        return {"$nor": parts}
    return parts[0] if len(parts) == 1 else {"$or": parts}


def _value(field: str, value: Value) -> BsonMap:
    try:
        if field == "ip_address":
            return {"ip_key": _address(value)}
        if field in ("id", *KEYWORD_FIELDS):
            return {"_id" if field == "id" else field: _text(field, value)}
    except ValueError:
        raise InvalidQuery(f"{field}: not a value that it can have") from None
    raise InvalidQuery(f"{field} is no field that the store can filter by")


def _address(value: Value) -> Any:
    if value.match is Match.EXISTS:
        return {"$exists": True}
    if value.match is Match.EQUAL:
        return ip_key(value.text)
    if value.match is Match.CIDR:
        first, last = cidr_bounds(value.text)
        # The least string above `last`: keys have 32 digits, so the next one is greater still.
        return {"$gte": first, "$lt": last + "0"}
    raise ValueError(value.match)


def _text(field: str, value: Value) -> Any:
    if value.match is Match.EXISTS:
        return {"$exists": True}
    if value.match is Match.EQUAL:
        return value.text
    if value.match is Match.PREFIX:
        end = successor(value.text)
        bounds = {"$gte": value.text} if end is None else {"$gte": value.text, "$lt": end}
        # Over an array, two bounds may be met by two different elements; $elemMatch asks for one.
        return {"$elemMatch": bounds} if field == "tags" else bounds
    raise ValueError(value.match)
