"""Closing the index's gap: what the store has and the index lacks is indexed, what the store lacks is removed from it.

Both sides are read in the order in which events were accepted, and compared id by id: counts that agree prove nothing.
What is younger than the watermark is left alone, as it may be on its way. Nothing is removed that is not looked for in
the store once more right before; and whatever is done may be done again, so that a job goes on from where it was saved.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from consumer.jobs.runner import Work
from core import instant
from core.comparison import Comparison
from core.errors import Conflict, NotFound
from core.jobs import Job, Json, Progress
from core.placement import place
from core.ports import Control, EventIndex, EventStore, IndexDocument, IndexOutcome, Ledger
from core.query import Position
from core.tenant import Tenant

_DAY: Final = 86_400_000_000
_BATCH: Final = 500
_SAVE_SECONDS: Final = 2.0
MAX_NAMED: Final = 100


@dataclass(slots=True)
class _Found:
    """What the checkpoint keeps, and the report tells: counts, and the first ids of each kind."""

    compared: int = 0
    not_indexed: int = 0
    not_stored: int = 0
    indexed: int = 0
    removed: int = 0
    refused: int = 0
    """By the index."""
    ids_not_indexed: list[str] = field(default_factory=list)
    ids_not_stored: list[str] = field(default_factory=list)
    ids_refused: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        return self.not_indexed - self.indexed + self.not_stored - self.removed


class Reconcile:
    """The handler of `reconcile` jobs. With `dry_run` in its spec a job tells what it would do."""

    def __init__(
        self,
        control: Control,
        store: EventStore,
        index: EventIndex,
        ledger: Ledger,
        *,
        clock: Callable[[], int] = instant.now_us,
    ) -> None:
        self._control = control
        self._store = store
        self._index = index
        self._ledger = ledger
        self._clock = clock

    async def run(self, work: Work) -> Json:
        tenant = await self._control.tenant(work.job.tenant_id)
        if tenant is None:
            raise NotFound("the tenant is gone")
        mark = await self._ledger.complete_through(tenant.id)
        if await self._ledger.rebuilding(tenant.id):
            raise Conflict("the index is being rebuilt; ask again when that has ended")
        asked, now = work.job.spec, self._clock()
        start = max(asked.get("received_from") or 0, tenant.created_at - _DAY, 0)
        end = min(asked.get("received_to") or now, now if mark is None else mark)
        kept = work.job.progress.checkpoint
        found = _Found(**kept["found"]) if kept else _Found()
        run = _Run(self._store, self._index, work, tenant, found, dry_run=asked["dry_run"])
        await run.through(start, end, Position(*kept["reached"]) if kept else None)
        return {"received_from": start, "received_to": max(start, end), **asdict(found), "left": found.left}

    async def clean(self, job: Job) -> None:
        """Nothing: a job leaves nothing half made."""


class _Run:
    """One job at work."""

    def __init__(
        self, store: EventStore, index: EventIndex, work: Work, tenant: Tenant, found: _Found, *, dry_run: bool
    ) -> None:
        self._store = store
        self._index = index
        self._work = work
        self._tenant = tenant
        self._found = found
        self._dry_run = dry_run
        self._saved_at = time.monotonic()

    async def through(self, start: int, end: int, behind: Position | None) -> None:
        if start >= end:
            return
        if not self._dry_run:
            await self._index.refresh(self._work.scope)
        found = self._found
        async for each in Comparison(self._store, self._index, self._work.scope).differences(start, end, behind):
            found.compared += each.compared
            found.not_indexed += len(each.not_indexed)
            found.not_stored += len(each.not_stored)
            _name(found.ids_not_indexed, [position.id for position in each.not_indexed])
            _name(found.ids_not_stored, [position.id for position in each.not_stored])
            if not self._dry_run:
                for first in range(0, len(each.not_indexed), _BATCH):
                    await self._index_some(each.not_indexed[first : first + _BATCH])
                for first in range(0, len(each.not_stored), _BATCH):
                    await self._remove_some(each.not_stored[first : first + _BATCH])
            await self._save(each.reached)

    async def _index_some(self, positions: Sequence[Position]) -> None:
        stored = await self._store.fetch(self._work.scope, [each.id for each in positions])
        placed: dict[str, list[IndexDocument]] = defaultdict(list)
        for event in stored.values():
            placed[event.placement].append(IndexDocument(event.id, event.body))
        # What left the store since it was listed lacks nothing any more.
        self._found.not_indexed -= len(positions) - len(stored)
        for placement, documents in placed.items():
            outcomes = await self._index.index(self._work.scope, placement, documents)
            for document, outcome in zip(documents, outcomes, strict=True):
                if isinstance(outcome, IndexOutcome):
                    self._found.indexed += 1
                else:
                    self._found.refused += 1
                    _name(self._found.ids_refused, [document.id])

    async def _remove_some(self, positions: Sequence[Position]) -> None:
        there = await self._store.fetch(self._work.scope, [each.id for each in positions])
        gone = [each for each in positions if each.id not in there]
        self._found.not_stored -= len(positions) - len(gone)
        placed: dict[str, list[str]] = defaultdict(list)
        for each in gone:
            placed[place(self._tenant.placements, each.us)].append(each.id)
        for placement, ids in placed.items():
            self._found.removed += await self._index.remove(self._work.scope, placement, ids)

    async def _save(self, reached: Position) -> None:
        now = time.monotonic()
        if not reached.id or now - self._saved_at < _SAVE_SECONDS:  # without an id it is the end
            return
        self._saved_at = now
        checkpoint: Json = {"reached": [reached.us, reached.id], "found": asdict(self._found)}
        await self._work.save(Progress(self._found.compared, None, checkpoint))


def _name(names: list[str], more: Sequence[str]) -> None:
    names += more[: MAX_NAMED - len(names)]
