"""Statistics counted here, event by event, from the fields that the store keeps: the same figures, all exact."""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from core.query import ip_key
from core.stats import Ask, DistinctFigure, Figures, Group, GroupFigure, Over, OverFigure, Rest, Target

Row = Mapping[str, Any]
"""The named fields of an event; `timestamp` and `received_at` in microseconds."""


def figures_of(rows: Sequence[Row], ask: Ask) -> Figures:
    """The figures of an ask without facets."""
    return Figures(
        total=len(rows),
        over=None if ask.over is None else _over(rows, ask.over),
        groups=tuple(_group(rows, group) for group in ask.groups),
        distinct=tuple(_distinct(rows, target) for target in ask.distinct),
        ranks=(),
    )


def _over(rows: Sequence[Row], over: Over) -> OverFigure:
    counts = [0] * (len(over.edges) - 1)
    for row in rows:
        counts[bisect_right(over.edges, row[str(over.target)]) - 1] += 1
    return OverFigure(tuple(counts), Rest())


def _group(rows: Sequence[Row], group: Group) -> GroupFigure:
    counts, missing = _counts(rows, group.target)
    key = ip_key if group.target == "ip_address" else str
    ordered = sorted(counts.items(), key=lambda each: (-each[1], key(each[0])))
    top = ordered[: group.top]
    return GroupFigure(tuple(top), counts.total() - sum(count for _, count in top), Rest(missing))


def _distinct(rows: Sequence[Row], target: Target) -> DistinctFigure:
    counts, missing = _counts(rows, target)
    return DistinctFigure(len(counts), True, Rest(missing))


def _counts(rows: Sequence[Row], target: Target) -> tuple[Counter[str], int]:
    counts: Counter[str] = Counter()
    missing = 0
    for row in rows:
        values = set(_values(row.get(str(target)), target))
        counts.update(values)
        missing += not values
    return counts, missing


def _values(value: Any, target: Target) -> Iterator[str]:
    if isinstance(value, list):
        yield from value
    elif value is not None:
        yield address_text(value) if target == "ip_address" else value


def address_text(text: str) -> str:
    """An address as it is shown: an IPv4-mapped one as IPv4."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
