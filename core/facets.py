"""Facets: paths into free-form data that a tenant declares, so that the index can count, sort and range over them.

A facet has a slot, a field of the index's mapping such as `num_03`, never a field of its own name: no tenant makes
fields. It also has a serial, which its tenant never gives again. An indexed event names the serials that were declared
when it was indexed (`MARKS`), so what a removed facet left in a slot is never read as its successor's, and an event
indexed before the facet was declared is told from one that has no such value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from core.errors import FieldError, Invalid
from core.event import FREE_FIELDS

MAX_PATH: Final = 512
MARKS: Final = "facets"
"""The index's field with the serials of the facets that an event was indexed with."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)


class FacetType(StrEnum):
    KEYWORD = "keyword"
    NUMBER = "number"
    DATE = "date"
    IP = "ip"


SLOTS: Final[dict[FacetType, tuple[str, ...]]] = {
    kind: tuple(f"{prefix}_{n:02}" for n in range(count))
    for kind, prefix, count in (
        (FacetType.KEYWORD, "kw", 16),
        (FacetType.NUMBER, "num", 16),
        (FacetType.DATE, "date", 8),
        (FacetType.IP, "ip", 8),
    )
}
MAX_FACETS: Final = sum(map(len, SLOTS.values()))


class Declared(msgspec.Struct, frozen=True, order=True):
    """What a tenant declares: the values at `path` (as in a filter: `metadata.order.amount`) are `name`'s."""

    name: str
    path: str
    type: FacetType


class Facet(msgspec.Struct, frozen=True):
    """A declared facet with its place in the index."""

    name: str
    path: str
    type: FacetType
    slot: str
    serial: int

    @property
    def declared(self) -> Declared:
        return Declared(self.name, self.path, self.type)


class Facets(msgspec.Struct, frozen=True):
    """A tenant's facets; `serial` is the last one given, which only grows."""

    all: tuple[Facet, ...] = ()
    serial: int = 0

    def named(self, name: str) -> Facet | None:
        return next((facet for facet in self.all if facet.name == name), None)


NONE: Final = Facets()


def declare(old: Facets, asked: Sequence[Declared]) -> Facets:
    """The facets after `asked` replaces the declaration; raises `Invalid` naming each fault.

    What stays as it was keeps slot and serial. What is new, or changed, has a new serial in a free slot. Whatever
    changes makes `Facets.serial` grow, so that it tells two declarations apart.
    """
    _check(asked)
    kept = {facet.declared: facet for facet in old.all if facet.declared in asked}
    if len(kept) == len(asked) == len(old.all):
        return old
    used = {facet.slot for facet in kept.values()}
    serial, found = old.serial + 1, []
    for each in sorted(asked):
        facet = kept.get(each)
        if facet is None:
            slot = next(slot for slot in SLOTS[each.type] if slot not in used)
            used.add(slot)
            serial += 1
            facet = Facet(each.name, each.path, each.type, slot, serial)
        found.append(facet)
    return Facets(tuple(found), serial)


def _check(asked: Sequence[Declared]) -> None:
    faults = []
    names: set[str] = set()
    for n, each in enumerate(asked):
        loc: tuple[str | int, ...] = ("body", "facets", n)
        if not _NAME.fullmatch(each.name):
            message = "must have 1 to 32 of a-z, 0-9 and _, a letter first"
            faults.append(FieldError((*loc, "name"), message, "facet_name"))
        elif each.name in names:
            faults.append(FieldError((*loc, "name"), "is declared twice", "facet_twice"))
        names.add(each.name)
        if not _is_path(each.path):
            message = f"must be a path such as metadata.order.amount, of {MAX_PATH} characters at most"
            faults.append(FieldError((*loc, "path"), message, "facet_path"))
    for kind, slots in SLOTS.items():
        if sum(each.type is kind for each in asked) > len(slots):
            message = f"there may be {len(slots)} facets of the type {kind.value}"
            faults.append(FieldError(("body", "facets"), message, "too_many_facets"))
    if faults:
        detail = "; ".join(f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in faults)
        raise Invalid(detail, code="invalid_request", errors=faults)


def _is_path(path: str) -> bool:
    root, _, rest = path.partition(".")
    return (
        root in FREE_FIELDS
        and len(path) <= MAX_PATH
        and bool(rest)
        and not rest.startswith(".")
        and not rest.endswith(".")
        and "\0" not in path
    )
