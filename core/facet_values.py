"""The values that an event has for its tenant's facets, as the index takes them.

What does not fit a facet's type is left out and never costs the event anything.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from core import instant
from core.facets import Facet, FacetType

MAX_KEYWORD_BYTES: Final = 1024
MAX_VALUES: Final = 64
"""Values of one keyword or ip facet in one event; the first ones count."""
# `date_nanos` ends in 2262.
_END_OF_DATES: Final = 9_214_646_400_000_000
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
# Beyond it a text is no number that anyone counts, and int() takes quadratic time.
_MAX_NUMBER: Final = 400

Value = str | float


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


class _FreeFields(msgspec.Struct):
    before_state: Raw | UnsetType = UNSET
    after_state: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET


_free_fields: Final = msgspec.json.Decoder(_FreeFields).decode
_tree: Final = msgspec.json.Decoder(float_hook=_Number).decode


def values_of(body: bytes, facets: Sequence[Facet]) -> dict[str, Value | list[Value]]:
    """The values by slot, for the facets that have one: a list for keyword and ip, the first fitting one for others.

    Raises ValueError or RecursionError when the body is no JSON.
    """
    free = _free_fields(body)
    trees: dict[str, Any] = {}
    found: dict[str, Value | list[Value]] = {}
    for facet in facets:
        root, _, path = facet.path.partition(".")
        if root not in trees:
            raw = getattr(free, root)
            trees[root] = None if raw is UNSET else _tree_of(bytes(raw))
        values = _fitting(facet.type, _leaves(trees[root], path))
        if not values:
            continue
        found[facet.slot] = values if facet.type in _MANY else values[0]
    return found


_MANY: Final = frozenset({FacetType.KEYWORD, FacetType.IP})


def _tree_of(document: bytes) -> Any:
    # msgspec reads -0 as 0, whose text is another one.
    if b"-0" not in document:
        try:
            return _tree(document)
        except ValueError:
            pass  # integers of over 4,300 digits
    return json.loads(document, parse_int=_Number, parse_float=_Number)


def _leaves(node: Any, path: str | None) -> Iterator[Any]:
    """The leaves at a dotted path: a dotted key reads as nesting, arrays are passed through, null is no value.

    At its end the path is None; "" is a step yet to take.
    """
    if isinstance(node, list):
        for element in node:
            yield from _leaves(element, path)
    elif isinstance(node, dict):
        if path is None:
            return
        for key, value in node.items():
            if path == key:
                yield from _leaves(value, None)
            elif path.startswith(key) and path[len(key)] == ".":
                yield from _leaves(value, path[len(key) + 1 :])
    elif node is not None and path is None:
        yield node


def _fitting(kind: FacetType, leaves: Iterator[Any]) -> list[Value]:
    read, most = _READERS[kind], MAX_VALUES if kind in _MANY else 1
    found: dict[Value, None] = {}
    for leaf in leaves:
        value = read(leaf)
        if value is not None:
            found[value] = None
            if len(found) == most:
                break
    return list(found)


def _keyword(leaf: Any) -> str | None:
    if isinstance(leaf, bool):
        return "true" if leaf else "false"
    text = str(leaf)
    return text if len(text) <= MAX_KEYWORD_BYTES and len(text.encode()) <= MAX_KEYWORD_BYTES else None


def _number(leaf: Any) -> float | None:
    if isinstance(leaf, bool):
        return None
    if isinstance(leaf, str) and (len(leaf) > _MAX_NUMBER or not _NUMBER.fullmatch(leaf)):
        return None
    try:
        number = float(leaf)
    except OverflowError:
        return None
    # 0.0 and -0.0 are one number, and two values to an index.
    return number + 0.0 if math.isfinite(number) else None


def _date(leaf: Any) -> str | None:
    if not isinstance(leaf, str) or isinstance(leaf, _Number) or len(leaf) > 64:
        return None
    try:
        us = instant.from_text(leaf)
    except ValueError:
        return None
    return instant.to_text(us) if 0 <= us < _END_OF_DATES else None


def _ip(leaf: Any) -> str | None:
    if not isinstance(leaf, str) or isinstance(leaf, _Number) or len(leaf) > 45 or "%" in leaf:
        return None
    try:
        address = ipaddress.ip_address(leaf)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


_READERS: Final[dict[FacetType, Callable[[Any], Value | None]]] = {
    FacetType.KEYWORD: _keyword,
    FacetType.NUMBER: _number,
    FacetType.DATE: _date,
    FacetType.IP: _ip,
}
