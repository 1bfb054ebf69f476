"""Retention: events past a moment go into the archive, and only then out of store and index.

A placement at a time, the oldest first: its events are written into segments, each read back before it is recorded;
then they are taken out, segment by segment. Nothing but the records of segments says how far that is, so whoever takes
the job up again finds them: recorded and not yet removed means to remove, and what lies past the last of these is still
to archive. A placement that is past the moment as a whole, and has nothing that is held, is one drop of its index.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from consumer.jobs.retained import BATCH, Ports, quiet, take_out, tenant_of
from consumer.jobs.runner import Work
from consumer.jobs.segmenting import Gathered, forget_writing, saved
from core import instant
from core.holds import Held, held_in
from core.ids import uuid7s
from core.jobs import Job, Json, Progress
from core.placement import placements_within, span_of
from core.ports import IndexDocument, Stored
from core.query import EventQuery, Position, Range
from core.segments import Segment, SegmentState
from core.tenant import Tenant, for_system

log = logging.getLogger(__name__)
SEGMENT_EVENTS: Final = 50_000
SEGMENT_BYTES: Final = 32 * 1024 * 1024
"""What a segment holds at most, and a job in memory a few times."""
_SAVE_SECONDS: Final = 5.0
_LIST: Final = 500


class Retention:
    """The handler of `retention` jobs, whose spec has `before` (microseconds of `received_at`)."""

    def __init__(
        self,
        ports: Ports,
        *,
        clock: Callable[[], int] = instant.now_us,
        segment_events: int = SEGMENT_EVENTS,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._ports = ports
        self.clock = clock
        self.segment = (segment_events, segment_bytes)

    async def run(self, work: Work) -> Json:
        tenant = await tenant_of(self._ports, work)
        return await _Run(self, self._ports, work, tenant).run()

    async def clean(self, job: Job) -> None:
        """Remove the file that a job which failed was writing."""
        await forget_writing(self._ports, for_system(job.tenant_id, "job:retention"), saved(job))


class _Run:
    """One runner at a job."""

    def __init__(self, handler: Retention, ports: Ports, work: Work, tenant: Tenant) -> None:
        self._handler = handler
        self._ports = ports
        self._work = work
        self._scope = work.scope
        self._tenant = tenant
        self._before: int = work.job.spec["before"]
        self._state = saved(work.job)
        self._held = Held(tenant.id, ())
        self._restored: list[Segment] = []
        self._saved_at = 0.0

    async def run(self) -> Json:
        ports, state = self._ports, self._state
        if (made := await forget_writing(ports, self._scope, state)) is not None:
            self._count(made)
        state.writing = None
        await self._save(force=True)
        for segment in await self._of_state(SegmentState.RESTORED):
            if (segment.restored_until or 0) <= self._handler.clock():
                await take_out(ports, self._work, segment)
                await ports.segments.mark(self._scope, segment.id, SegmentState.REMOVED)
        self._restored = await self._of_state(SegmentState.RESTORED)
        if (await held_in(ports.holds, self._scope)).everything:
            return self._result(held=None)
        for placement in await self._placements():
            if placement not in state.done:
                await self._placement(placement)
                state.done.append(placement)
                await self._save(force=True)
        await self._drop_empty()
        await self._save(force=True)
        return self._result(held=sum(state.left.values()) + sum(state.tail.values()))

    def _result(self, *, held: int | None) -> Json:
        """`held`: how many past events stay; None when a hold covers everything and nobody counts."""
        state = self._state
        return {
            "archived": state.archived,
            "bytes": state.bytes,
            "files": state.files,
            "held": held,
            "dropped_indices": sorted(state.dropped),
        }

    async def _placements(self) -> list[str]:
        """Those with events to archive, or with segments to take out; the oldest first."""
        found = {segment.placement for segment in await self._of_state(SegmentState.ARCHIVED)}
        past = EventQuery(received_at=Range(None, self._before), sort="received_at", descending=False)
        # A drain comes out of the empty stretch before the first event in steps that every store bears.
        async for batch in self._ports.store.drain(self._scope, past, after=None):
            if batch.events:
                oldest = batch.events[0].received_at
                found.update(placements_within(self._tenant.placements, oldest, self._before))
                break
        return sorted(found, key=span_of)

    async def _placement(self, placement: str) -> None:
        waiting = [each for each in await self._of_state(SegmentState.ARCHIVED) if each.placement == placement]
        waiting += await self._archive(placement, waiting[-1].last if waiting else None)
        if not waiting:
            return
        left = sum(each.left for each in waiting) + self._state.tail.get(placement, 0)
        whole = left == 0 and span_of(placement)[1] <= self._before and await self._is_held_as_before()
        if whole:
            await quiet(self._ports, self._scope)
            await self._ports.index.drop_placement(self._scope, placement)
        for segment in waiting:
            await take_out(self._ports, self._work, segment, indexed=not whole)
            await self._ports.segments.mark(self._scope, segment.id, SegmentState.REMOVED)
            await self._save()
        if whole:
            await self._dropped(placement)

    async def _archive(self, placement: str, after: Position | None) -> list[Segment]:
        """Segments of all that lies past `after` and is not held."""
        self._held = await held_in(self._ports.holds, self._scope)
        state = self._state
        if after is None:
            state.left[placement] = 0
        state.tail[placement] = 0
        made: list[Segment] = []
        gathered = Gathered()
        start, end = span_of(placement)
        query = EventQuery(received_at=Range(start, min(end, self._before)), sort="received_at", descending=False)
        async for batch in self._ports.store.drain(self._scope, query, after=after, whole=True):
            own = [event for event in batch.events if event.placement == placement]
            for event, goes in zip(own, await asyncio.to_thread(self._sifted, own), strict=True):
                if goes and gathered.ends_before(event, *self._handler.segment):
                    made.append(await self._segment(gathered))
                    gathered = Gathered(passed=gathered.passed_since)
                gathered.meet(event, goes=goes)
            await self._save()
        if gathered.events:
            made.append(await self._segment(gathered))
        state.tail[placement] = gathered.passed_since if gathered.events else gathered.passed
        return made

    def _sifted(self, events: Sequence[Stored]) -> list[bool]:
        """Whether each goes into the archive: it is whole, not held, and not there for a while only."""
        return [self._goes(event) for event in events]

    def _goes(self, event: Stored) -> bool:
        if self._held.covering(event) is not None or any(_holds(each, event) for each in self._restored):
            return False
        if hashlib.sha256(event.body).digest() != event.hash:
            log.error("event %s of tenant %s is not as its hash says: it stays", event.id, self._scope.tenant_id)
            return False
        return True

    async def _segment(self, gathered: Gathered) -> Segment:
        """The segment of what was gathered, written, read back and recorded."""
        now, events, passed = self._handler.clock(), gathered.events, gathered.passed
        segment_id = uuid7s(now, 1)[0]
        self._state.writing = (segment_id, events[0].received_at)
        await self._save(force=True)
        segment = await self._ports.files.write(self._scope, segment_id, events, at=now, left=passed)
        await self._ports.segments.add(self._scope, segment)
        self._count(segment)
        self._state.writing = None
        await self._save(force=True)
        return segment

    def _count(self, segment: Segment) -> None:
        state = self._state
        state.files += 1
        state.archived += segment.events
        state.bytes += segment.bytes
        state.left[segment.placement] = state.left.get(segment.placement, 0) + segment.left

    async def _is_held_as_before(self) -> bool:
        """Whether no hold was placed since the events were sifted."""
        now = await held_in(self._ports.holds, self._scope)
        return {hold.id for hold in now.holds} <= {hold.id for hold in self._held.holds}

    async def _drop_empty(self) -> None:
        """Drop the indices of past placements of which the store has nothing: by id, documents go and shards stay."""
        for generation in await self._ports.index.generations(self._scope):
            placement = generation.placement
            if generation.live and span_of(placement)[1] <= self._before and not await self._any(placement):
                await quiet(self._ports, self._scope)
                await self._ports.index.drop_placement(self._scope, placement)
                await self._dropped(placement)

    async def _any(self, placement: str) -> bool:
        start, end = span_of(placement)
        query = EventQuery(received_at=Range(start, end), sort="received_at", descending=False)
        async for batch in self._ports.store.drain(self._scope, query, after=None):
            if any(event.placement == placement for event in batch.events):
                return True
        return False

    async def _dropped(self, placement: str) -> None:
        """After an index was dropped: what came meanwhile, or was held meanwhile, is indexed anew."""
        start, end = span_of(placement)
        query = EventQuery(received_at=Range(start, end), sort="received_at", descending=False)
        left = 0
        async for batch in self._ports.store.drain(self._scope, query, after=None):
            own = [IndexDocument(event.id, event.body) for event in batch.events if event.placement == placement]
            for at in range(0, len(own), BATCH):
                await self._ports.index.index(self._scope, placement, own[at : at + BATCH])
            left += len(own)
        if not left and placement not in self._state.dropped:
            self._state.dropped.append(placement)

    async def _of_state(self, state: SegmentState) -> list[Segment]:
        found: list[Segment] = []
        after: Position | None = None
        while True:
            page = await self._ports.segments.listing(self._scope, state=state, after=after, limit=_LIST)
            found += page
            if len(page) < _LIST:
                return found
            after = page[-1].first

    async def _save(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._saved_at > _SAVE_SECONDS:
            self._saved_at = now
            checkpoint: Json = msgspec.to_builtins(self._state)
            await self._work.save(Progress(self._state.archived, None, checkpoint))


def _holds(segment: Segment, event: Stored) -> bool:
    place = (event.received_at, event.id)
    return (segment.first.us, segment.first.id) <= place <= (segment.last.us, segment.last.id)
