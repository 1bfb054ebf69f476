"""Statistics by brute force from events' stored bytes: what every index and the store must answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from core import instant
from core.changes import changed_paths
from core.event import decode_stored
from core.facets import Facet
from core.query import EventQuery
from core.stats import Ask, DistinctFigure, Figures, GroupFigure, OverFigure, RanksFigure, Rest, Target
from tests import brute, brute_facets

Event = tuple[bytes, frozenset[int]]
"""An event's bytes, and the serials of the facets that it was indexed with."""


def figures(query: EventQuery, ask: Ask, events: Iterable[Event]) -> Figures:
    found = [event for event in events if brute.matches(query, event[0])]
    over = None
    if ask.over is not None:
        moments = [value for event in found for value in values(ask.over.target, event)]
        counts = [sum(low <= moment < high for moment in moments) for low, high in pairwise(ask.over.edges)]
        over = OverFigure(tuple(counts), rest(ask.over.target, found))
    return Figures(
        total=len(found),
        over=over,
        groups=tuple(_group(group.target, group.top, found) for group in ask.groups),
        distinct=tuple(
            DistinctFigure(len({v for event in found for v in values(target, event)}), True, rest(target, found))
            for target in ask.distinct
        ),
        ranks=tuple(_ranks(ranks.facet, ranks.percents, found) for ranks in ask.ranks),
    )


def extent(query: EventQuery, target: Target, events: Iterable[Event]) -> tuple[int, int] | None:
    """The first moment and the last, exactly."""
    found = [value for event in events if brute.matches(query, event[0]) for value in values(target, event)]
    return (min(found), max(found)) if found else None


def values(target: Target, event: Event) -> list[Any]:
    """An event's different values, in no order."""
    body, indexed_with = event
    if isinstance(target, Facet):
        if target.serial not in indexed_with:
            return []
        found = brute_facets.values(target, body)
        return list(set(found)) if target.type in ("keyword", "ip") else found[:1]
    decoded = decode_stored(body)
    if target == "changed_paths":
        return changed_paths(bytes(decoded.before_state), bytes(decoded.after_state)) if _both(decoded) else []
    value = getattr(decoded, target)
    if value is None:
        return []
    if target in ("timestamp", "received_at"):
        return [instant.from_text(value)]
    if target == "ip_address":
        return [brute_facets.address(value)]
    return list(set(value)) if isinstance(value, list) else [value]


def rest(target: Target, found: Sequence[Event]) -> Rest:
    if not isinstance(target, Facet):
        return Rest(sum(not values(target, event) for event in found))
    indexed = [event for event in found if target.serial in event[1]]
    return Rest(sum(not values(target, event) for event in indexed), len(found) - len(indexed))


def _group(target: Target, top: int, found: Sequence[Event]) -> GroupFigure:
    counts: dict[Any, int] = {}
    for event in found:
        for value in values(target, event):
            counts[value] = counts.get(value, 0) + 1
    of_addresses = target == "ip_address" or (isinstance(target, Facet) and target.type == "ip")
    key = brute.address_key if of_addresses else lambda value: value
    ordered = sorted(counts.items(), key=lambda each: (-each[1], key(each[0])))
    return GroupFigure(tuple(ordered[:top]), sum(n for _, n in ordered[top:]), rest(target, found))


def _ranks(facet: Facet, percents: Sequence[float], found: Sequence[Event]) -> RanksFigure:
    numbers = sorted(value for event in found for value in values(facet, event))
    left = rest(facet, found)
    if not numbers:
        return RanksFigure(0, (), None, None, left)
    ranks = [math.ceil(Fraction(str(percent)) * len(numbers) / 100) for percent in percents]
    return RanksFigure(len(numbers), tuple(numbers[max(rank, 1) - 1] for rank in ranks), numbers[0], numbers[-1], left)


def _both(decoded: Any) -> bool:
    return bool(decoded.before_state) and bool(decoded.after_state)
