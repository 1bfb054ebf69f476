"""From an `EventQuery` to OpenSearch's query language. A user's text only ever becomes a value of a term, prefix, range
or phrase clause, never of `query_string`, `regexp`, `wildcard` or a script.

Full text (`EventQuery.text`) is cut at white space into words; `"two words"` between white space is one phrase. An
event matches when each word or phrase is found, or when the whole text is the exact value of a field. A word or phrase
is found when

- `message` holds its words next to each other, in that order: case does not count, and what is neither letter nor
  digit separates (`10.0.0.1` is four words in a row; `login` is found in `user.login`); or
- it is the exact value, case included, of a named field or of any value in `metadata`, `before_state`, `after_state`.

A word without a letter or digit (`-`, `***`) is passed over, unless it is the whole text.

A free-form value is compared by its text: a string's own, a number's as written (`1.0` is not `1`), `true`, `false`.
A `flat_object` keeps `path=value` as one term, so a key with `=` in it (`{"a=b": "c"}`) is found by the path before the
`=` as well.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Final

from core import instant
from core.errors import FieldError, InvalidQuery
from core.event import FREE_FIELDS
from core.query import EXACT_FIELDS, TIME_FIELDS, Condition, EventQuery, Match, Position, Range, Value

Clause = dict[str, Any]

# Each word costs 18 clauses of the 1,024 that a query may have.
MAX_WORDS: Final = 32
# 2262-01-01: `date_nanos` ends in that year, and the index refuses a bound beyond.
MAX_US: Final = 9_214_646_400_000_000
_WORDS: Final = re.compile(r'(?<!\S)"([^"]*)"(?!\S)|(\S+)')
_NOTHING: Final[Clause] = {"match_none": {}}


def query_of(query: EventQuery, tenant_id: str) -> Clause:
    """The clause for the events that `query` asks for; raises `InvalidQuery` for what the index cannot answer.

    The tenant is a clause too, though the alias holds no other's: a wall behind the wall.
    """
    must: list[Clause] = [{"term": {"tenant_id": tenant_id}}]
    must_not: list[Clause] = []
    for name in TIME_FIELDS:
        must.extend(_times(name, getattr(query, name)))
    if query.text is not None:
        must.append(_text(query.text))
    for condition in query.conditions:
        (must_not if condition.negated else must).append(_condition(condition))
    clause: Clause = {"filter": must}
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


def position_of(sort: tuple[int, str]) -> Position:
    """The inverse of `search_after`."""
    return Position(sort[0] // 1000, sort[1])


def words_of(text: str) -> tuple[list[str], str | None]:
    """The words and phrases that must be found, and the whole text unless it is the only one of them."""
    written = [phrase or word for phrase, word in _WORDS.findall(text)]
    words = list(dict.fromkeys(word for word in written if any(map(str.isalnum, word))))
    whole = text.strip()
    return words, None if words == written == [whole] else whole


def _text(text: str) -> Clause:
    words, whole = words_of(text)
    if len(words) > MAX_WORDS:
        message = f"may have {MAX_WORDS} words"
        raise InvalidQuery(f"q {message}", errors=[FieldError(("query", "q"), message, "parameter")])
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


def _times(name: str, bounds: Range) -> list[Clause]:
    start, end = bounds.start, bounds.end
    if (end is not None and end <= 0) or (start is not None and start >= MAX_US):
        return [_NOTHING]
    limits: dict[str, str] = {}
    if start is not None and start > 0:
        limits["gte"] = instant.to_text(start)
    if end is not None and end < MAX_US:
        limits["lt"] = instant.to_text(end)
    return [{"range": {name: limits}}] if limits else []


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
