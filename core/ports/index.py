"""What Ocelot asks of an index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec

from core.query import EventQuery, Position
from core.stats import Ask, Figures, Target
from core.tenant import TenantScope


class IndexDocument(msgspec.Struct, frozen=True, gc=False):
    """A stored event on its way into the index."""

    id: str
    body: bytes


class IndexOutcome(StrEnum):
    INDEXED = "indexed"
    PRESENT = "present"
    REDUCED = "reduced"
    """Indexed without what the index refuses, and flagged `index_reduced`; the store has the whole."""


@dataclass(frozen=True, slots=True)
class HitPage:
    """Hits in the query's order. `total` is exact when `total_exact`, else a lower bound."""

    hits: list[Position]
    total: int
    total_exact: bool


@dataclass(frozen=True, slots=True)
class Generation:
    """One of the indices of a placement; the live one is written to and searched."""

    placement: str
    number: int
    live: bool
    began: int | None = None
    """When its filling from the store began (microseconds); None for one that grew with its events."""
    job: str | None = None
    """The job that made it."""
    identity: str = field(default="", compare=False)
    """What the server knows it by: another one of the same name has another."""


class EventIndex(Protocol):
    """A searchable copy of the store, which may be lost and made again."""

    async def index(
        self, scope: TenantScope, placement: str, documents: Sequence[IndexDocument], *, beside: bool = False
    ) -> list[IndexOutcome | Exception]:
        """One outcome for each document, visible to search within the refresh interval; makes the placement's first
        generation and its aliases when missing. Indexing again is harmless. An exception in the list is that
        document's own fault.

        `beside`: into the generation that `begin` made, not into the live one; `Unavailable` when there is none.
        """

    async def search(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> HitPage:
        """A page of ids; an event is never skipped or repeated from page to page."""

    async def generations(self, scope: TenantScope) -> list[Generation]:
        """All of the tenant's."""

    async def begin(self, scope: TenantScope, generation: Generation) -> None:
        """Make it, empty and unsearched, beside the live one; harmless when it is there."""

    async def switch(self, scope: TenantScope, generation: Generation) -> None:
        """Make the begun generation the live one, in one step: no search and no write meets both or neither."""

    async def drop_generation(self, scope: TenantScope, generation: Generation) -> None:
        """Remove one that is not live; harmless when it is gone. Raises `Conflict` for a live one."""

    async def drop_placement(self, scope: TenantScope, placement: str) -> None:
        """Remove every generation of the placement; harmless when there is none. A later event makes it anew."""

    async def aggregate(self, scope: TenantScope, query: EventQuery, ask: Ask) -> Figures:
        """The figures of all events that the query finds, each as exact as it says."""

    async def extent(self, scope: TenantScope, query: EventQuery, target: Target) -> tuple[int, int] | None:
        """A range of microseconds, start inclusive, end exclusive, that holds the query's events by a time, and is
        longer at neither end than by a millisecond; None when none has that time."""

    async def remove(self, scope: TenantScope, placement: str, ids: Collection[str]) -> int:
        """Remove these events from the placement's live generation, for good and at once; how many were there.

        Not visible to search within the refresh interval. Removing again is harmless.
        """

    async def count(self, scope: TenantScope) -> int:
        """Searchable events of the tenant, after a refresh."""

    async def refresh(self, scope: TenantScope) -> None:
        """Make everything indexed so far visible to search."""

    async def drop(self, scope: TenantScope) -> None:
        """Remove every index of the tenant."""

    async def ping(self) -> None: ...

    async def aclose(self) -> None: ...
