"""The files of segments in the archive: written once, and never believed unread."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

from core.errors import Conflict, NotFound
from core.ports import Archive, Stored
from core.query import Position
from core.segments import Segment, name_of
from core.tenant import TenantScope

_HOUR: Final = 3_600_000_000


class SegmentFiles:
    """`level` is zstd's. What is heavy runs in threads."""

    def __init__(self, archive: Archive, level: int) -> None:
        self._archive = archive
        self._level = level

    async def write(
        self, scope: TenantScope, segment_id: str, events: Sequence[Stored], *, at: int, left: int = 0
    ) -> Segment:
        """The segment of these events, whole ones in order, of one placement and day; its file was read back.

        Raises `Conflict` when what was read is not what was written: the file is then to be removed.
        """
        data = await asyncio.to_thread(_encoded, events, self._level)
        segment = Segment(
            id=segment_id,
            tenant_id=scope.tenant_id,
            placement=events[0].placement,
            name=name_of(scope.tenant_id, events[0].received_at, segment_id),
            first=_place(events[0]),
            last=_place(events[-1]),
            events=len(events),
            bytes=sum(len(event.body) for event in events),
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            archived_at=at,
            left=left,
            hours=dict(Counter(event.received_at // _HOUR for event in events)),
        )
        await self._archive.keep(segment.name, data)
        del data
        if await self.read(segment) != list(events):
            raise _damaged(segment)
        return segment

    async def read(self, segment: Segment) -> list[Stored]:
        """Its events, each with the bytes that its hash covers; raises `Conflict` when the file is not as it was."""
        try:
            pieces = [piece async for piece in self._archive.read(segment.name)]
            return await asyncio.to_thread(_checked, b"".join(pieces), segment)
        except (NotFound, ValueError) as error:
            raise _damaged(segment) from error

    async def remove(self, scope: TenantScope, segment_id: str, received_at: int) -> None:
        """Remove what there is of the segment's file, its record being gone or never made."""
        await self._archive.remove(name_of(scope.tenant_id, received_at, segment_id).rpartition("/")[0])


def _encoded(events: Sequence[Stored], level: int) -> bytes:
    from core.archiving.parquet import encoded

    return encoded(events, level)


def _checked(data: bytes, segment: Segment) -> list[Stored]:
    from core.archiving.parquet import decoded

    if hashlib.sha256(data).hexdigest() != segment.sha256:
        raise ValueError("the file has changed")
    events = decoded(data)
    if len(events) != segment.events or any(hashlib.sha256(e.body).digest() != e.hash for e in events):
        raise ValueError("an event has changed")
    return events


def _place(event: Stored) -> Position:
    return Position(event.received_at, event.id)


def _damaged(segment: Segment) -> Conflict:
    return Conflict(f"the archived file {segment.name} is not as it was written")
