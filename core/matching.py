"""Whether an event is one that an `EventQuery` asks for: the index's answer, worked out from the event itself.

A query is compiled once; what it asks of an event's body is decoded when it is asked for, once for all queries. Three
things that bound the index do not bound this: a value is compared to its end, however long it is, a path is found
however many there are, and there is nothing that is not indexed yet.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any, Final

from msgspec import UNSET, UnsetType

from core.changes import changed_paths
from core.event import FREE_FIELDS, KEYWORD_FIELDS, StoredEvent, decode_stored
from core.ports import FeedEvent, Stored
from core.query import (
    And,
    Condition,
    During,
    EventQuery,
    Match,
    Node,
    Not,
    Or,
    Text,
    Value,
    check,
    cidr_bounds,
    ip_key,
    words_of,
)
from core.words import has_phrase, words

Predicate = Callable[["Subject"], bool]
_Compare = Callable[[str], bool]
_END: Final = 1 << 62


class Subject:
    """An event that is asked about."""

    def __init__(self, event: FeedEvent) -> None:
        self.event = event

    @cached_property
    def decoded(self) -> StoredEvent:
        return decode_stored(self.event.body)

    @cached_property
    def said(self) -> list[str] | None:
        """The words of the message, when there is one."""
        message = self.decoded.message
        return None if message is None else words(message)

    @cached_property
    def leaves(self) -> list[tuple[str, str]]:
        """Each value of the free-form fields as (dotted path, text): arrays passed through, null no value."""
        found: list[tuple[str, str]] = []
        for name in FREE_FIELDS:
            raw = getattr(self.decoded, name)
            if raw is not UNSET:
                tree = json.loads(bytes(raw), object_pairs_hook=_Members, parse_int=str, parse_float=str)
                found.extend(_leaves(name, tree))
        return found

    @cached_property
    def changed(self) -> list[str]:
        before, after = self.decoded.before_state, self.decoded.after_state
        if isinstance(before, UnsetType) or isinstance(after, UnsetType):
            return []
        return changed_paths(bytes(before), bytes(after))

    @cached_property
    def values(self) -> frozenset[str]:
        """Every exact value: of the named fields, and of the free-form ones."""
        found = {self.event.id, *(text for _, text in self.leaves)}
        for name in KEYWORD_FIELDS:
            found.update(self.texts(name))
        return frozenset(found)

    def texts(self, field: str) -> Iterable[str]:
        """The values of a named field: none, one, or a list's."""
        if field == "id":
            return (self.event.id,)
        value = self.event.named.get(field)
        if value is None:
            return ()
        return value if isinstance(value, list) else (value,)

    def may_hold(self, needle: bytes) -> bool:
        """False only when these bytes, free of escapes, cannot be in any string or number of the body."""
        body = self.event.body
        return needle in body or b"\\" in body


@lru_cache(maxsize=256)
def compiled(query: EventQuery) -> Predicate:
    """The query as a predicate; its order counts for nothing. Raises `InvalidQuery` as the index would."""
    check(query)
    return _all(query.filters)


def event_of(stored: Stored, tenant_id: str) -> FeedEvent:
    """A stored event as a watch would have told of it, but for its place among the others."""
    event = decode_stored(stored.body)
    named = {name: value for name in KEYWORD_FIELDS if (value := getattr(event, name)) is not None and value != []}
    if event.ip_address is not None:
        named |= {"ip_address": event.ip_address, "ip_key": ip_key(event.ip_address)}
    return FeedEvent(stored.id, tenant_id, stored.timestamp, stored.received_at, named, stored.body, 0, b"")


def _node(node: Node) -> Predicate:
    match node:
        case Condition():
            return _condition(node)
        case During():
            return _during(node)
        case Text(text):
            return _text(text)
        case Not(part):
            held = _node(part)
            return lambda subject: not held(subject)
        case And(parts):
            return _all(parts)
        case Or(parts):
            some = [_node(part) for part in sorted(parts, key=_cost)]
            return lambda subject: any(held(subject) for held in some)


def _all(nodes: Iterable[Node]) -> Predicate:
    every = [_node(node) for node in sorted(nodes, key=_cost)]
    if len(every) == 1:
        return every[0]
    return lambda subject: all(held(subject) for held in every)


def _cost(node: Node) -> int:
    """What is cheap to ask is asked first: 0 for what lies beside the body, 1 for its message, 2 for all of it."""
    match node:
        case And(parts) | Or(parts):
            return max(map(_cost, parts), default=0)
        case Not(part):
            return _cost(part)
        case During():
            return 0
        case Text():
            return 2
    return 2 if node.is_free or node.field == "changed_paths" else 1 if node.field == "message" else 0


def _during(during: During) -> Predicate:
    start = 0 if during.range.start is None else during.range.start
    end = _END if during.range.end is None else during.range.end
    if during.field == "timestamp":
        return lambda subject: start <= subject.event.timestamp < end
    return lambda subject: start <= subject.event.received_at < end


def _condition(condition: Condition) -> Predicate:
    field, values = condition.field, condition.values
    if condition.is_free:
        held = _any([_leaf(field, value) for value in values])
    elif field == "message":
        held = _any([_message(value) for value in values])
    elif field == "ip_address":
        held = _any([_address(value) for value in values])
    elif field == "changed_paths":
        compares = [_compare(value) for value in values]
        held = lambda subject: any(compare(path) for path in subject.changed for compare in compares)  # noqa: E731
    else:
        held = _named(field, values)
    if condition.negated:
        return lambda subject: not held(subject)
    return held


def _named(field: str, values: tuple[Value, ...]) -> Predicate:
    if all(value.match is Match.EQUAL for value in values):
        wanted = {value.text for value in values}
        return lambda subject: not wanted.isdisjoint(subject.texts(field))
    compares = [_compare(value) for value in values]
    return lambda subject: any(compare(text) for text in subject.texts(field) for compare in compares)


def _compare(value: Value) -> _Compare:
    if value.match is Match.EXISTS:
        return lambda text: True
    if value.match is Match.PREFIX:
        return lambda text: text.startswith(value.text)
    return value.text.__eq__


def _address(value: Value) -> Predicate:
    if value.match is Match.EXISTS:
        return lambda subject: "ip_key" in subject.event.named
    first, last = cidr_bounds(value.text) if value.match is Match.CIDR else (ip_key(value.text),) * 2
    return lambda subject: any(first <= key <= last for key in subject.texts("ip_key"))


def _message(value: Value) -> Predicate:
    if value.match is Match.EXISTS:
        return lambda subject: subject.decoded.message is not None
    phrase = words(value.text)
    return lambda subject: has_phrase(phrase, subject.said or [])


def _leaf(field: str, value: Value) -> Predicate:
    """As a `flat_object` keeps values, in one term `path=value`: a `=` in a key may be the one that is meant."""
    term = f"{field}={value.text}"
    if value.match is Match.EXISTS:
        below = (f"{field}.", term)
        return lambda subject: any(f"{path}={text}".startswith(below) for path, text in subject.leaves)
    needle = _needle(value.text)
    if value.match is Match.PREFIX:
        return lambda subject: (
            subject.may_hold(needle) and any(f"{path}={text}".startswith(term) for path, text in subject.leaves)
        )
    return lambda subject: subject.may_hold(needle) and any(f"{path}={text}" == term for path, text in subject.leaves)


def _needle(text: str) -> bytes:
    """The bytes that a value with this text has in a body without escapes; with a `=`, part may be a key's."""
    return b"" if "=" in text else text.encode()


def _text(text: str) -> Predicate:
    """See `core.query.words`."""
    asked, whole = words_of(text)
    parts = [_any([_said(part), _value(part)]) for part in asked]
    alternatives = [] if whole is None else [_value(whole)]
    if parts:
        alternatives.append(lambda subject: all(part(subject) for part in parts))
    return _any(alternatives)


def _said(phrase: str) -> Predicate:
    wanted = words(phrase)
    return lambda subject: has_phrase(wanted, subject.said or [])


def _value(text: str) -> Predicate:
    """That the event has `text` as an exact value anywhere."""
    needle = text.encode()
    held: Predicate = lambda subject: subject.may_hold(needle) and text in subject.values  # noqa: E731
    try:
        key = ip_key(text)
    except ValueError:
        return held
    return held if "%" in text else lambda subject: held(subject) or subject.event.named.get("ip_key") == key


def _any(some: list[Predicate]) -> Predicate:
    if len(some) == 1:
        return some[0]
    return lambda subject: any(held(subject) for held in some)


class _Members(list[tuple[str, Any]]):
    """An object's members, equal keys included."""


_WORDS_OF_JSON: Final = {True: "true", False: "false"}


def _leaves(path: str, node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, _Members):
        for key, value in node:
            yield from _leaves(f"{path}.{key}", value)
    elif isinstance(node, list):
        for element in node:
            yield from _leaves(path, element)
    elif isinstance(node, bool):
        yield path, _WORDS_OF_JSON[node]
    elif node is not None:
        yield path, node
