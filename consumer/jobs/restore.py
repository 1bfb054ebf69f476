"""Restoring: archived events of a range are stored and indexed again, in their exact bytes, for a while.

They stay in the archive all the same. A segment is marked before its first event comes back, so that retention leaves
it alone, and done only when all of them are in: a runner that takes the job up again does the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from consumer.jobs.retained import BATCH, Ports, book, quiet, tenant_of
from consumer.jobs.runner import Work
from core import instant
from core.envelope import Record
from core.jobs import Job, Json, Progress
from core.ports import IndexDocument, InsertOutcome, Stored
from core.rows import row_of
from core.segments import Segment, SegmentState

_BATCH: Final = 500


class _Counts(msgspec.Struct):
    restored: int = 0
    """Back in store, in the bytes that were archived."""
    conflicts: int = 0
    """The store has another event under the id, sent since with the same key: it stays."""
    failed: int = 0
    """The index, or the store, does not take it."""


class Checkpoint(msgspec.Struct):
    done: list[str] = []
    counts: _Counts = msgspec.field(default_factory=_Counts)


class Restore:
    """The handler of `restore` jobs, whose spec has `received_from`, `received_to` and `until` (microseconds)."""

    def __init__(self, ports: Ports, *, clock: Callable[[], int] = instant.now_us) -> None:
        self._ports = ports
        self._clock = clock

    async def run(self, work: Work) -> Json:
        await tenant_of(self._ports, work)
        spec = work.job.spec
        start, end, until = spec["received_from"], spec["received_to"], spec["until"]
        kept = work.job.progress.checkpoint
        state = msgspec.convert(kept, Checkpoint) if kept else Checkpoint()
        segments = await self._ports.segments.within(work.scope, start, end)
        total = sum(segment.events for segment in segments)
        for segment in segments:
            if segment.id in state.done:
                continue
            await quiet(self._ports, work.scope)
            longest = max(until, segment.restored_until or 0)
            await self._ports.segments.mark(work.scope, segment.id, SegmentState.RESTORED, restored_until=longest)
            counts = await self._segment(work, segment, start, end)
            await quiet(self._ports, work.scope)  # else a rebuild beside may have missed what came back
            for name in msgspec.structs.asdict(counts):
                setattr(state.counts, name, getattr(state.counts, name) + getattr(counts, name))
            state.done.append(segment.id)
            await work.save(Progress(state.counts.restored, total, msgspec.to_builtins(state)))
        await self._ports.index.refresh(work.scope)
        return {"files": len(state.done), **msgspec.to_builtins(state.counts), "until": instant.to_text(until)}

    async def clean(self, job: Job) -> None:
        """Nothing: what was brought back goes when its time has come."""

    async def _segment(self, work: Work, segment: Segment, start: int, end: int) -> _Counts:
        counts = _Counts()
        events = [event for event in await self._ports.files.read(segment) if start <= event.received_at < end]
        missing: list[Stored] = []
        for at in range(0, len(events), BATCH):
            some = events[at : at + BATCH]
            there = await self._ports.store.fetch(work.scope, [event.id for event in some])
            missing += [event for event in some if event.id not in there]
        await book(self._ports, f"restore:{segment.id}:{work.job.id}", segment, missing, -1)
        for at in range(0, len(events), _BATCH):
            await self._batch(work, events[at : at + _BATCH], counts)
        return counts

    async def _batch(self, work: Work, events: Sequence[Stored], counts: _Counts) -> None:
        rows = [
            row_of(Record(work.job.tenant_id, event.placement, event.body, event.content), event.envelope)
            for event in events
        ]
        outcomes = await self._ports.store.insert(rows, again=True)
        there: dict[str, Stored] = {}
        if any(outcome is not InsertOutcome.STORED for outcome in outcomes):
            there = await self._ports.store.fetch(work.scope, [event.id for event in events])
        documents: dict[str, list[IndexDocument]] = defaultdict(list)
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, Exception):
                counts.failed += 1
                continue
            found = there.get(event.id, event)  # the index takes what the store holds
            documents[found.placement].append(IndexDocument(found.id, found.body))
            if found.hash == event.hash:
                counts.restored += 1
            else:
                counts.conflicts += 1
        for placement, some in documents.items():
            answers = await self._ports.index.index(work.scope, placement, some)
            counts.failed += sum(isinstance(answer, Exception) for answer in answers)
