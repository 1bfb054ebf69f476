"""Segments: the files of the archive that hold the events which retention has taken out, and the record of them.

A segment holds events of one tenant, placement and UTC day of `received_at`. Its file is written once, read back and
checked before its record is made, and no event is removed that is not in such a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from core import instant
from core.query import Position
from core.tenant import TenantScope

FOLDER: Final = "archive"


class SegmentState(StrEnum):
    ARCHIVED = "archived"
    """The file is whole; its events are still to be removed from store and index, or some of them."""
    REMOVED = "removed"
    """The events are in the archive alone, but for those that came again or were held meanwhile."""
    RESTORED = "restored"
    """They were brought back, all or some of them, and stay until `restored_until`."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file. Times are microseconds; `hours` counts its events by the hour (since 1970) of `received_at`."""

    id: str
    tenant_id: str
    placement: str
    name: str
    """Of the file in the archive."""
    first: Position
    last: Position
    """The places, by (received_at, id), of its first and its last event."""
    events: int
    bytes: int
    """Of the events."""
    size: int
    """Of the file."""
    sha256: str
    """Of the file."""
    archived_at: int
    left: int = 0
    """Events that were passed over on the way to its first and its last: held, or restored."""
    state: SegmentState = SegmentState.ARCHIVED
    restored_until: int | None = None
    hours: dict[int, int] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """All of the archive that is the segment's."""
        return self.name.rpartition("/")[0]


class Segments(Protocol):
    """The record of every segment of a tenant, in the order of their first events."""

    async def add(self, scope: TenantScope, segment: Segment) -> None:
        """Durable on return; adding again is harmless."""

    async def get(self, scope: TenantScope, segment_id: str) -> Segment | None: ...

    async def listing(
        self, scope: TenantScope, *, state: SegmentState | None = None, after: Position | None, limit: int
    ) -> list[Segment]:
        """Those whose first event lies past `after`, of one state if it is given."""

    async def within(self, scope: TenantScope, start: int, end: int) -> list[Segment]:
        """Those that may hold events with `start <= received_at < end`."""

    async def mark(
        self, scope: TenantScope, segment_id: str, state: SegmentState, *, restored_until: int | None = None
    ) -> None:
        """Give the segment this state; harmless when it is gone."""

    async def replace(self, scope: TenantScope, old: Segment, new: Segment | None) -> None:
        """Put `new`, of another id, in the place of `old`; None: nothing. Replacing again is harmless."""

    async def due(self, now: int) -> list[str]:
        """The tenants with restored segments whose time has come."""

    async def forget(self, scope: TenantScope) -> None:
        """Remove the tenant's record."""


def folder_of(tenant_id: str) -> str:
    """Where all segments of a tenant lie in the archive."""
    return f"{FOLDER}/{tenant_id}"


def name_of(tenant_id: str, received_at: int, segment_id: str) -> str:
    """The file of a segment, by the day of its events; each has a folder of its own, which is removed with it."""
    day = instant.to_text(received_at)[:10].replace("-", "/")
    return f"{folder_of(tenant_id)}/{day}/{segment_id}/events.parquet"
