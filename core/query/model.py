"""`EventQuery`: the one type that says which events a reader asks for, whichever store answers it.

It is data: msgspec writes it and reads it back, so a job, a link or a cursor can keep one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import cached_property
from typing import Final, TypeAlias

import msgspec

from core.event import FREE_FIELDS, KEYWORD_FIELDS

EXACT_FIELDS: Final = ("id", *KEYWORD_FIELDS)
INDEX_FIELDS: Final = ("message", "changed_paths")
"""What only the index knows, beside free-form paths: the words of the message, and JSON Pointers of what changed."""
TIME_FIELDS: Final = ("timestamp", "received_at")


class Match(StrEnum):
    """How a `Value` is compared."""

    EQUAL = "equal"
    PREFIX = "prefix"
    EXISTS = "exists"
    CIDR = "cidr"


class Value(msgspec.Struct, frozen=True, array_like=True):
    """One value of a condition; `text` is empty for EXISTS."""

    text: str
    match: Match = Match.EQUAL


class Condition(msgspec.Struct, frozen=True, array_like=True, tag="field"):
    """`field` has one of `values`; `negated`: it has none of them (or is not there).

    `field` is one of `EXACT_FIELDS`, `ip_address`, `message` (a phrase), `changed_paths`, or a path such as
    `metadata.user.name`, which holds for the leaf values at that path, arrays and dotted keys included.
    """

    field: str
    values: tuple[Value, ...]
    negated: bool = False

    @property
    def is_free(self) -> bool:
        """Whether the field is a path into a free-form field."""
        return self.field.split(".", 1)[0] in FREE_FIELDS


class Text(msgspec.Struct, frozen=True, array_like=True, tag="text"):
    """Full text; see `core.query.words` for what it means."""

    text: str


class Range(msgspec.Struct, frozen=True, array_like=True):
    """Microseconds, `start` inclusive, `end` exclusive; None: no bound."""

    start: int | None = None
    end: int | None = None

    def __and__(self, other: Range) -> Range:
        """What lies in both."""
        starts = [us for us in (self.start, other.start) if us is not None]
        ends = [us for us in (self.end, other.end) if us is not None]
        return Range(max(starts, default=None), min(ends, default=None))


class During(msgspec.Struct, frozen=True, array_like=True, tag="during"):
    """`field`, one of `TIME_FIELDS`, lies in `range`."""

    field: str
    range: Range


class And(msgspec.Struct, frozen=True, array_like=True, tag="and"):
    """Every part holds; so does none."""

    parts: tuple[Node, ...]


class Or(msgspec.Struct, frozen=True, array_like=True, tag="or"):
    """At least one part holds; of none, none does."""

    parts: tuple[Node, ...]


class Not(msgspec.Struct, frozen=True, array_like=True, tag="not"):
    """The part does not hold."""

    part: Node


Leaf: TypeAlias = Condition | Text | During
Node: TypeAlias = Condition | Text | During | And | Or | Not


class EventQuery(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Events of one tenant (named by the scope, never here) that meet `text`, every condition, both ranges and `where`.

    What can be said without `where` is said without it: a store reads by the ranges and by ids among the conditions.
    """

    text: str | None = None
    conditions: tuple[Condition, ...] = ()
    timestamp: Range = Range()
    received_at: Range = Range()
    where: Node | None = None
    sort: str = "timestamp"
    descending: bool = True

    @cached_property
    def filters(self) -> tuple[Node, ...]:
        """All that must hold, as one list of nodes: who walks these has answered the whole query but its order."""
        found: list[Node] = [
            During(field, bounds) for field in TIME_FIELDS if (bounds := getattr(self, field)) != Range()
        ]
        if self.text is not None:
            found.append(Text(self.text))
        found.extend(self.conditions)
        if self.where is not None:
            found.append(self.where)
        return tuple(found)

    @property
    def needs_index(self) -> bool:
        """Whether only the index can answer: full text and free-form paths are not in the store's own fields."""
        return any(map(_needs_index, leaves(self.filters)))

    def restricted_to(self, other: EventQuery) -> EventQuery:
        """This query's events that `other` finds too, in this query's order."""
        return of_nodes((*self.filters, *other.filters), sort=self.sort, descending=self.descending)


def of_nodes(nodes: Iterable[Node], *, sort: str = "timestamp", descending: bool = True) -> EventQuery:
    """The query for the events that meet every node, with as little as possible left to `where`."""
    text: str | None = None
    conditions: list[Condition] = []
    bounds = dict.fromkeys(TIME_FIELDS, Range())
    rest: list[Node] = []
    for node in _flat(nodes):
        if isinstance(node, Condition):
            conditions.append(node)
        elif isinstance(node, During):
            bounds[node.field] &= node.range
        elif isinstance(node, Text) and text in (None, node.text):
            text = node.text
        else:
            rest.append(node)
    where = None if not rest else rest[0] if len(rest) == 1 else And(tuple(rest))
    return EventQuery(text=text, conditions=tuple(conditions), where=where, sort=sort, descending=descending, **bounds)


def leaves(nodes: Iterable[Node]) -> Iterator[Leaf]:
    """The leaves under `nodes`, from left to right."""
    for node in nodes:
        if isinstance(node, And | Or):
            yield from leaves(node.parts)
        elif isinstance(node, Not):
            yield from leaves((node.part,))
        else:
            yield node


def depth(node: Node) -> int:
    """How many operators are nested in the deepest place; 0 for a leaf."""
    if isinstance(node, And | Or):
        return 1 + max(map(depth, node.parts), default=0)
    return 1 + depth(node.part) if isinstance(node, Not) else 0


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the sort field's microseconds and the id of its last event."""

    us: int
    id: str


def _flat(nodes: Iterable[Node]) -> Iterator[Node]:
    for node in nodes:
        if isinstance(node, And):
            yield from _flat(node.parts)
        else:
            yield node


def _needs_index(leaf: Leaf) -> bool:
    if isinstance(leaf, Condition):
        return leaf.is_free or leaf.field in INDEX_FIELDS
    return isinstance(leaf, Text)
