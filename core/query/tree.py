"""A query as JSON, for what a URL cannot carry:

    {"query": TREE, "from": TIME, "to": TIME, "received_from": TIME, "received_to": TIME,
     "sort": "-timestamp", "limit": 50, "cursor": "..."}

Every member may be left out. A tree is one of

- `{"and": [TREE, ...]}`, `{"or": [TREE, ...]}`, `{"not": TREE}`;
- `{"text": "budget"}`: full text, as `q` in a URL;
- `{"field": NAME, OPERATOR: VALUE}`, where the operator is `equals`, `prefix`, `cidr` or `phrase`, and several values
  in an array mean or; or `exists`, with true or false;
- `{"field": "timestamp", "from": TIME, "to": TIME}`, likewise for `received_at`; one of the two bounds may be missing.

No character of a value has a meaning. A number or boolean stands for its text, and only in a free-form field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from core.errors import FieldError, InvalidQuery
from core.event import FREE_FIELDS
from core.query import values
from core.query.bounds import MAX_DEPTH, check
from core.query.model import (
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
    of_nodes,
)
from core.query.page import DEFAULT_LIMIT, MAX_LIMIT, Page, fingerprint
from core.query.strict_json import Number, plain, read

Place = tuple[str | int, ...]
_MEMBERS: Final = ("query", "from", "to", "received_from", "received_to", "sort", "limit", "cursor")
_MATCHES: Final = {"equals": Match.EQUAL, "prefix": Match.PREFIX, "cidr": Match.CIDR, "phrase": Match.EQUAL}
_FORMS: Final = "must be an object with and, or, not, text, or field and one operator"
_T = TypeVar("_T")


def parse_body(body: bytes, now: int) -> Page:
    """A page request from a JSON body; raises `InvalidQuery` naming the fault's place in it."""
    return parse_document(read(body), now)


def parse_document(document: Any, now: int) -> Page:
    """A page request from what `strict_json.read` returned."""
    asked = _object(document, ())
    for name in asked:
        if name not in _MEMBERS:
            raise _fault((name,), f"is none of {', '.join(_MEMBERS)}", "unknown_parameter")

    def resolve(now: int) -> EventQuery:
        return _query(asked, now)

    query = resolve(now)
    check(query)
    written = {name: plain(value) for name, value in asked.items() if name not in ("limit", "cursor")}
    cursor = asked.get("cursor")
    if cursor is not None:
        cursor = _text(cursor, ("cursor",))
    limit = _limit(asked["limit"]) if "limit" in asked else DEFAULT_LIMIT
    return Page(query, limit, cursor, fingerprint(written), now, resolve, cursor_place=("cursor",))


def _query(asked: dict[str, Any], now: int) -> EventQuery:
    sort, descending = _read(values.order, _text(asked.get("sort", "-timestamp"), ("sort",)), ("sort",))
    nodes: list[Node] = [
        During("timestamp", _range(asked, (), now)),
        During("received_at", _range(asked, (), now, "received_")),
    ]
    if "query" in asked:
        nodes.append(_node(asked["query"], ("query",), 0, now))
    return of_nodes(nodes, sort=sort, descending=descending)


def _node(written: Any, place: Place, level: int, now: int) -> Node:
    tree = _object(written, place)
    for operator in ("and", "or", "not"):
        if operator in tree:
            _only(tree, place, operator)
            if level == MAX_DEPTH:
                raise _fault((*place, operator), f"is nested too deep: {MAX_DEPTH} operators at most", "too_deep")
            return _operator(operator, tree[operator], (*place, operator), level + 1, now)
    if "text" in tree:
        _only(tree, place, "text")
        at = (*place, "text")
        return Text(_read(values.full_text, _text(tree["text"], at), at))
    if "field" not in tree:
        raise _fault(place, _FORMS)
    return _leaf(tree, place, now)


def _operator(operator: str, written: Any, place: Place, level: int, now: int) -> Node:
    if operator == "not":
        return Not(_node(written, place, level, now))
    if not isinstance(written, list) or not written:
        raise _fault(place, "must be an array of at least one")
    parts = tuple(_node(part, (*place, n), level, now) for n, part in enumerate(written))
    return And(parts) if operator == "and" else Or(parts)


def _leaf(tree: dict[str, Any], place: Place, now: int) -> Node:
    field = _text(tree["field"], (*place, "field"))
    if field in TIME_FIELDS:
        _only(tree, place, "field", "from", "to")
        if len(tree) == 1:
            raise _fault(place, "needs from or to")
        return During(field, _range(tree, place, now))
    if not values.is_field(field):
        message = "is neither a named field nor a path such as metadata.user.name"
        raise _fault((*place, "field"), message, "unknown_parameter")
    operators = [name for name in tree if name != "field"]
    if len(operators) != 1 or operators[0] not in (*_MATCHES, "exists"):
        raise _fault(place, f"needs exactly one of {', '.join(_MATCHES)} or exists")
    return _condition(field, operators[0], tree[operators[0]], (*place, operators[0]))


def _condition(field: str, operator: str, written: Any, place: Place) -> Condition:
    if operator == "exists":
        if not isinstance(written, bool):
            raise _fault(place, "must be true or false")
        return Condition(field, (Value("", Match.EXISTS),), not written)
    _check_operator(field, operator, place)
    if written == []:
        raise _fault(place, "must have a value")
    return Condition(field, tuple(_value(field, operator, value, at) for value, at in _each(written, place)))


def _check_operator(field: str, operator: str, place: Place) -> None:
    """Raise unless the field can be compared so."""
    wanted = {"message": "phrase", "ip_address": "equals or cidr", "id": "equals"}.get(field, "equals or prefix")
    if operator not in wanted.split(" or "):
        raise _fault(place, f"{field} is compared by {wanted}, or exists")


def _value(field: str, operator: str, written: Any, place: Place) -> Value:
    if field.split(".", 1)[0] in FREE_FIELDS and isinstance(written, bool | Number):
        written = {True: "true", False: "false"}[written] if isinstance(written, bool) else str(written)
    text = _text(written, place)
    if not text:
        raise _fault(place, "must have a value")
    if field != "ip_address":
        return Value(text, _MATCHES[operator])
    value = _read(values.address, text, place)
    if value.match is not _MATCHES[operator]:
        raise _fault(place, "must be an IP address" if operator == "equals" else "must be a CIDR such as 10.0.0.0/8")
    return value


def _each(written: Any, place: Place) -> Iterator[tuple[Any, Place]]:
    if not isinstance(written, list):
        yield written, place
        return
    for number, value in enumerate(written):
        yield value, (*place, number)


def _range(tree: dict[str, Any], place: Place, now: int, prefix: str = "") -> Range:
    def bound(name: str) -> int | None:
        if name not in tree:
            return None
        at = (*place, name)
        return _read(lambda text: values.moment(text, now), _text(tree[name], at), at)

    return Range(bound(f"{prefix}from"), bound(f"{prefix}to"))


def _limit(written: Any) -> int:
    if not (isinstance(written, Number) and written.isdigit() and len(written) < 9 and 1 <= int(written) <= MAX_LIMIT):
        raise _fault(("limit",), f"must be a number from 1 to {MAX_LIMIT}")
    return int(written)


def _object(written: Any, place: Place) -> dict[str, Any]:
    if not isinstance(written, dict):
        raise _fault(place, "must be an object")
    return written


def _only(tree: dict[str, Any], place: Place, *names: str) -> None:
    for name in tree:
        if name not in names:
            raise _fault((*place, name), f"cannot stand beside {names[0]}")


def _text(written: Any, place: Place) -> str:
    if not isinstance(written, str) or isinstance(written, Number):
        raise _fault(place, "must be a string")
    return written


def _read(read: Callable[[str], _T], text: str, place: Place) -> _T:
    try:
        return read(text)
    except ValueError as error:
        raise _fault(place, str(error)) from None


def _fault(place: Place, message: str, kind: str = "parameter") -> InvalidQuery:
    where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
    return InvalidQuery(f"{where or 'the body'} {message}", errors=[FieldError(place, message, kind)])
