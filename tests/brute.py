"""Queries answered by brute force from events' stored bytes: what every store and index must answer."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from msgspec import UnsetType

from core import instant
from core.changes import changed_paths
from core.event import FREE_FIELDS, StoredEvent, decode_stored
from core.query import And, Condition, During, EventQuery, Match, Node, Not, Or, Range, Text, Value


def answer(query: EventQuery, bodies: Iterable[bytes]) -> list[str]:
    """The ids of the events that match, in the query's order."""
    found = []
    for body in bodies:
        if matches(query, body):
            event = decode_stored(body)
            found.append((instant.from_text(getattr(event, query.sort)), event.id))
    return [event_id for _, event_id in sorted(found, reverse=query.descending)]


def matches(query: EventQuery, body: bytes) -> bool:
    """Whether an event meets every condition of the query."""
    event = decode_stored(body)
    return (
        _within(query.timestamp, event.timestamp)
        and _within(query.received_at, event.received_at)
        and all(_meets(condition, event, body) for condition in query.conditions)
        and (query.text is None or _holds(Text(query.text), event, body))
        and (query.where is None or _holds(query.where, event, body))
    )


@lru_cache(maxsize=8192)
def leaves(body: bytes) -> tuple[tuple[str, str], ...]:
    """Each free-form leaf as (dotted path, text): keys joined by dots, arrays passed through, null no value."""
    event = json.loads(body, object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number)
    return tuple(leaf for key, value in event if key in FREE_FIELDS for leaf in _leaves(key, value))


def named_texts(event: dict[str, Any], names: Iterable[str]) -> Iterator[str]:
    """The texts of named fields, arrays' elements one by one."""
    for name in names:
        value = event.get(name)
        if value is not None:
            yield from value if isinstance(value, list) else (value,)


def address_key(text: str) -> int:
    """An address as a number, IPv4 as IPv4-mapped IPv6."""
    address = ipaddress.ip_address(text)
    return int(address) + (0xFFFF << 32 if address.version == 4 else 0)


class _Pairs(list[tuple[str, Any]]):
    """An object with all of its members, equal keys included."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def _leaves(path: str, node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, _Pairs):
        for key, value in node:
            yield from _leaves(f"{path}.{key}", value)
    elif isinstance(node, list):
        for element in node:
            yield from _leaves(path, element)
    elif isinstance(node, bool):
        yield path, str(node).lower()
    elif node is not None:
        yield path, str(node)


def _holds(node: Node, event: StoredEvent, body: bytes) -> bool:
    match node:
        case And(parts):
            return all(_holds(part, event, body) for part in parts)
        case Or(parts):
            return any(_holds(part, event, body) for part in parts)
        case Not(part):
            return not _holds(part, event, body)
        case Condition():
            return _meets(node, event, body)
        case During(field, bounds):
            return _within(bounds, getattr(event, field))
        case Text(text):
            from tests.brute_text import matches_text

            return matches_text(text, body)


def _within(bounds: Range, text: str) -> bool:
    us = instant.from_text(text)
    return (bounds.start is None or bounds.start <= us) and (bounds.end is None or us < bounds.end)


def _meets(condition: Condition, event: StoredEvent, body: bytes) -> bool:
    return any(_has(condition, value, event, body) for value in condition.values) != condition.negated


def _has(condition: Condition, value: Value, event: StoredEvent, body: bytes) -> bool:
    field = condition.field
    if condition.is_free:
        return _has_leaf(field, value, body)
    if field == "changed_paths":
        return any(_compares(value, path) for path in _changed(event))
    there = getattr(event, field)
    if field == "message":
        from tests.brute_text import has_phrase

        return there is not None and (value.match is Match.EXISTS or has_phrase(value.text, there))
    if there is None:
        return False
    if field == "ip_address":
        return _has_address(value, there)
    return any(_compares(value, text) for text in (there if isinstance(there, list) else [there]))


def _has_leaf(path: str, value: Value, body: bytes) -> bool:
    if value.match is Match.EXISTS:
        return any(at == path or at.startswith(path + ".") for at, _ in leaves(body))
    return any(at == path and _compares(value, text) for at, text in leaves(body))


def _has_address(value: Value, there: str) -> bool:
    if value.match is Match.CIDR:
        network = ipaddress.ip_network(value.text, strict=False)
        return address_key(str(network[0])) <= address_key(there) <= address_key(str(network[-1]))
    return value.match is Match.EXISTS or address_key(value.text) == address_key(there)


def _compares(value: Value, text: str) -> bool:
    if value.match is Match.PREFIX:
        return text.startswith(value.text)
    return value.match is Match.EXISTS or text == value.text


def _changed(event: StoredEvent) -> list[str]:
    before, after = event.before_state, event.after_state
    if isinstance(before, UnsetType) or isinstance(after, UnsetType):
        return []
    return changed_paths(bytes(before), bytes(after))
