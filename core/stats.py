"""What statistics are asked for and what they are: pure data, whoever counts.

A target is a named field or a facet. Of the events that a query finds, a facet's figures count those that were indexed
with the facet; those that were not (`not_indexed`) are told apart from those without a value (`missing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from core.event import KEYWORD_FIELDS
from core.facets import Facet
from core.timeline import Interval

MAX_INTERVALS: Final = 1500
MAX_TARGETS: Final = 4
"""Targets of each kind (groups, distinct counts, percentiles) in one request."""
MAX_TOP: Final = 1000
MAX_PERCENTS: Final = 10
EXACT_VALUES: Final = 5000
"""A field with fewer different values in each shard is counted exactly, by value and how many there are."""
MAX_STEPS: Final = 25_000
"""Equal steps of time that an index may count in for one timeline: with all targets, under its 65,535 buckets."""
NAMED_TARGETS: Final = (*KEYWORD_FIELDS, "ip_address", "changed_paths")
INDEX_TARGETS: Final = ("changed_paths",)
"""Those that the store does not keep beside an event's bytes."""

Target: TypeAlias = str | Facet
Key: TypeAlias = str | float


class Over(msgspec.Struct, frozen=True):
    """Counts of the events with `edges[i] <= target < edges[i + 1]`, microseconds; `target` is a time or a date facet.

    The edges are those of `core.timeline.edges_of` with `interval`, and no event that is counted lies outside them.
    """

    target: Target
    interval: Interval
    edges: tuple[int, ...]


class Group(msgspec.Struct, frozen=True):
    target: Target
    top: int


class Ranks(msgspec.Struct, frozen=True):
    """Percentiles of a number facet; `percents` are above 0 and at most 100."""

    facet: Facet
    percents: tuple[float, ...]


class Ask(msgspec.Struct, frozen=True):
    over: Over | None = None
    groups: tuple[Group, ...] = ()
    distinct: tuple[Target, ...] = ()
    ranks: tuple[Ranks, ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """Events that a figure leaves out: without a value, and not indexed with the facet."""

    missing: int = 0
    not_indexed: int = 0


@dataclass(frozen=True, slots=True)
class OverFigure:
    counts: tuple[int, ...]
    rest: Rest


@dataclass(frozen=True, slots=True)
class GroupFigure:
    """The `top` values by count, equal counts by value. `other` counts those of the other values.

    An event with several values counts once for each. No count is off by more than `error`, and no value that is left
    out has more than the last one shown and `error` together.
    """

    top: tuple[tuple[Key, int], ...]
    other: int
    rest: Rest
    error: int = 0


@dataclass(frozen=True, slots=True)
class DistinctFigure:
    """How many different values there are; not `exact`: an estimate, within 1 % as a rule."""

    count: int
    exact: bool
    rest: Rest


@dataclass(frozen=True, slots=True)
class RanksFigure:
    """For each percent the least value that as many percent of the `count` values do not exceed (nearest rank)."""

    count: int
    values: tuple[float, ...]
    least: float | None
    greatest: float | None
    rest: Rest


@dataclass(frozen=True, slots=True)
class Figures:
    """The answer to an `Ask`, each list in its order. `total` is exact."""

    total: int
    over: OverFigure | None
    groups: tuple[GroupFigure, ...]
    distinct: tuple[DistinctFigure, ...]
    ranks: tuple[RanksFigure, ...]
