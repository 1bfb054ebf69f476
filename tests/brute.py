"""The answer to a query, computed from the events' bytes alone: what every store and index must agree with.

Free-form values are compared by their text: a string's own, a number's as written, `true`, `false`; null is no value.
The path to a value is its keys joined by dots, arrays passed through, so `{"a.b": 1}` and `{"a": [{"b": 1}]}` both hold
`1` at `a.b`.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from core import instant
from core.event import FREE_FIELDS, KEYWORD_FIELDS
from core.query import Condition, EventQuery, Match, Range, Value, ip_key

_PIECES = re.compile(r'(?<!\S)"([^"]*)"(?!\S)|(\S+)')
# Unicode's marks without a glyph are no part of a word and end none.
_INVISIBLE = re.compile("[\u00ad\u061c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


@dataclass(frozen=True)
class _Object:
    """A JSON object as its pairs: a key may occur twice."""

    pairs: list[tuple[str, Any]]

    def last(self) -> dict[str, Any]:
        return dict(self.pairs)


class _Number(str):
    """A number as written."""

    __slots__ = ()


def answer(query: EventQuery, bodies: Iterable[bytes]) -> list[str]:
    """The ids of the matching events in the query's order."""
    found = []
    for body in bodies:
        if matches(query, body):
            event = _parse(body).last()
            found.append((instant.from_text(event[query.sort]), event["id"]))
    return [event_id for _, event_id in sorted(found, reverse=query.descending)]


def matches(query: EventQuery, body: bytes) -> bool:
    """Whether the event meets every part of the query."""
    event = _parse(body).last()
    return (
        _within(query.timestamp, event["timestamp"])
        and _within(query.received_at, event["received_at"])
        and (query.text is None or _has_text(event, query.text))
        and all(_meets(condition, event) for condition in query.conditions)
    )


def _parse(body: bytes) -> _Object:
    parsed = json.loads(body, object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number)
    assert isinstance(parsed, _Object)
    return parsed


def _within(bounds: Range, text: str) -> bool:
    us = instant.from_text(text)
    return (bounds.start is None or us >= bounds.start) and (bounds.end is None or us < bounds.end)


def _meets(condition: Condition, event: dict[str, Any]) -> bool:
    return any(_holds(condition.field, value, event) for value in condition.values) != condition.negated


def _holds(field: str, value: Value, event: dict[str, Any]) -> bool:
    root, _, path = field.partition(".")
    if root in FREE_FIELDS:
        under = [
            text
            for leaf, text in leaves(event.get(root))
            if leaf == path or (value.match is Match.EXISTS and leaf.startswith(path + "."))
        ]
        return any(_compares(value, text) for text in under)
    if field == "ip_address":
        return _address_holds(value, event.get(field))
    if field == "message" and value.match is not Match.EXISTS:
        return _has_phrase(event, value.text)
    return any(_compares(value, text) for text in _values(event.get(field)))


def _compares(value: Value, text: str) -> bool:
    if value.match is Match.EXISTS:
        return True
    return text.startswith(value.text) if value.match is Match.PREFIX else text == value.text


def _values(value: Any) -> list[str]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every value below a parsed free-form field with its path; null is none."""
    if isinstance(value, _Object):
        for key, below in value.pairs:
            yield from leaves(below, (*path, key))
    elif isinstance(value, list):
        for below in value:
            yield from leaves(below, path)
    elif isinstance(value, bool):
        yield ".".join(path), "true" if value else "false"
    elif value is not None:
        yield ".".join(path), str(value)


def _address_holds(value: Value, text: str | None) -> bool:
    if text is None:
        return False
    if value.match is Match.EXISTS:
        return True
    if value.match is Match.CIDR:
        asked, there = ipaddress.ip_network(value.text, strict=False), ipaddress.ip_address(text)
        return _as_v6(asked[0]) <= _as_v6(there) <= _as_v6(asked[-1])
    return ip_key(text) == ip_key(value.text)


def _as_v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    if isinstance(address, ipaddress.IPv6Address):
        return address
    return ipaddress.IPv6Address(f"::ffff:{address}")


def _has_text(event: dict[str, Any], text: str) -> bool:
    """Each word or quoted phrase is in the message or is a field's exact value, or the whole text is such a value."""
    pieces = [phrase or word for phrase, word in _PIECES.findall(text)]
    words = [piece for piece in pieces if any(map(str.isalnum, piece))]
    found = bool(words) and all(_has_phrase(event, word) or _has_exact(event, word) for word in words)
    return found or _has_exact(event, text.strip())


def _has_exact(event: dict[str, Any], text: str) -> bool:
    named = [value for name in ("id", *KEYWORD_FIELDS) for value in _values(event.get(name))]
    free = [value for name in FREE_FIELDS for _, value in leaves(event.get(name))]
    if text in named or text in free:
        return True
    try:
        return "%" not in text and _address_holds(Value(text), event.get("ip_address"))
    except ValueError:
        return False


def _has_phrase(event: dict[str, Any], phrase: str) -> bool:
    asked, there = _words(phrase), _words(event.get("message") or "")
    return bool(asked) and any(there[n : n + len(asked)] == asked for n in range(len(there) - len(asked) + 1))


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", _INVISIBLE.sub("", text).lower())
