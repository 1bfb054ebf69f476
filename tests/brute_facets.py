"""Facets' values read from stored bytes by brute force: each leaf of the event, one after another."""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from core import instant
from core.facets import Facet, FacetType

_JSON_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class _Written(str):
    """A number as it is written."""

    __slots__ = ()


def values(facet: Facet, body: bytes) -> list[Any]:
    """Every fitting value in the order of the document: texts, floats, microseconds, addresses' texts."""
    event = json.loads(body, parse_int=_Written, parse_float=_Written)
    found = [leaf for path, leaf in _all(event) if path == facet.path]
    return [value for value in (_read(facet.type, leaf) for leaf in found) if value is not None]


def address(text: str) -> str:
    """An address as it is shown; raises ValueError."""
    found = ipaddress.ip_address(text)
    return str(getattr(found, "ipv4_mapped", None) or found)


def shown(kind: FacetType, value: Any) -> Any:
    """A value as the index is given it."""
    return instant.to_text(value) if kind is FacetType.DATE else value


def _all(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, child in node.items():
            yield from _all(child, f"{path}.{key}" if path else key)
    elif isinstance(node, list):
        for child in node:
            yield from _all(child, path)
    elif node is not None:
        yield path, node


def _read(kind: FacetType, leaf: Any) -> Any:
    text = ("false", "true")[leaf] if isinstance(leaf, bool) else str(leaf)
    if kind is FacetType.KEYWORD:
        return text if len(text.encode()) <= 1024 else None
    if isinstance(leaf, bool):
        return None
    if kind is FacetType.NUMBER:
        if not _JSON_NUMBER.fullmatch(text) or not math.isfinite(float(text)):
            return None
        return abs(float(text)) if float(text) == 0 else float(text)
    try:
        if isinstance(leaf, _Written):
            return None
        if kind is FacetType.DATE:
            us = instant.from_text(text)
            return us if 0 <= us < 9_214_646_400_000_000 else None
        return address(text)
    except ValueError:
        return None
