"""Segments of the archive without some of their events: a new file takes the old one's place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from core.archiving.files import SegmentFiles
from core.ids import uuid7s
from core.jobs import Json
from core.ports import Stored
from core.segments import Segment, name_of
from core.tenant import TenantScope
from core.wiring import Backends


class Rewriter:
    """Rewrites segments of one tenant, one at a time.

    `begun` names the segment that is being rewritten and its successor, by their ids and folders. It belongs into the
    caller's checkpoint, which `save` keeps: after a crash, `end` brings what was begun to its end or takes it back, so
    that no file stays which no record names.
    """

    def __init__(
        self,
        backends: Backends,
        files: SegmentFiles,
        scope: TenantScope,
        clock: Callable[[], int],
        save: Callable[[], Awaitable[None]],
        begun: Json | None = None,
    ) -> None:
        self._segments = backends.segments
        self._archive = backends.archive
        self._files = files
        self._scope = scope
        self._clock = clock
        self._save = save
        self.begun = begun

    async def without(self, segment: Segment, events: Sequence[Stored]) -> None:
        """Put the segment without these events in its own place. Raises `Conflict` for a file that is damaged."""
        gone = {event.id for event in events}
        rest = [event for event in await self._files.read(segment) if event.id not in gone]
        at = self._clock()
        successor = uuid7s(at, 1)[0]
        folder = name_of(segment.tenant_id, segment.first.us, successor).rpartition("/")[0]
        self.begun = {"old": segment.id, "old_folder": segment.folder, "new": successor, "new_folder": folder}
        await self._save()
        made: Segment | None = None
        if rest:
            made = await self._files.write(self._scope, successor, rest, at=at, left=segment.left)
            made = replace(made, state=segment.state, restored_until=segment.restored_until)
        await self._segments.replace(self._scope, segment, made)
        await self.end()

    async def end(self) -> None:
        """End what was begun, or take it back."""
        begun = self.begun
        if begun is None:
            return
        old = await self._segments.get(self._scope, begun["old"])
        made = await self._segments.get(self._scope, begun["new"])
        if old is not None and made is not None:
            await self._segments.replace(self._scope, old, made)
            old = None
        await self._archive.remove(begun["new_folder"] if old is not None else begun["old_folder"])
        self.begun = None
        await self._save()
