"""Rebuilding placements of a tenant's index: a new generation is filled from the store, beside the live one.

For each placement: begin a generation, fill it, run again what was stored since it began, move the aliases, run again
what was stored meanwhile, wait until no write that was on its way to the old generation can end any more, run that
again, drop the old one. Every step may be repeated, and what was done can be read off the index: a runner that takes
the job up again finds the generation by the job's id in it, live or not.

What has to be run again is known without asking the index. An event is in the store before it goes to the index, and
its envelope has a receipt only after that. So whatever went to the old generation after the filling began either has
a young `received_at`, or came late, and then its envelope's receipt is young; if the receipt is not there yet, the
message comes again and goes to the new generation.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from consumer.jobs.runner import Work
from core import instant
from core.errors import Conflict, NotFound
from core.jobs import Job, Jobs, Json, Progress
from core.placement import placements_within, span_of
from core.ports import Control, EventIndex, EventStore, Generation, IndexDocument, IndexOutcome, Ledger, Stored
from core.ports.ledger import REBUILD_NOTICE, Rebuilding

log = logging.getLogger(__name__)
_BATCH: Final = 500
_SAVE_SECONDS: Final = 2.0
_DAY: Final = 86_400_000_000
SLACK: Final = 120_000_000
"""Microseconds between an event's `received_at` and the making of its envelope, and between clocks, at the most."""
SETTLE: Final = 25.0
"""Seconds after which no bulk that was sent before the aliases moved can end: its deadline, and its receipt's."""
MARK: Final = 300_000_000
"""How long the mark of a rebuild holds that is not renewed."""


@dataclass(slots=True)
class _Counts:
    indexed: int = 0
    reduced: int = 0
    failed: int = 0


@dataclass(slots=True)
class _State:
    """What the checkpoint keeps."""

    done: list[str] = field(default_factory=list)
    placement: str = ""
    at: int = 0
    id: str = ""
    """With `at` the place of the last event that is filled in: many may have come at one moment."""
    counts: _Counts = field(default_factory=_Counts)


class Reindex:
    """The handler of `reindex` jobs. `settle` is in seconds, see `SETTLE`."""

    def __init__(
        self,
        jobs: Jobs,
        control: Control,
        store: EventStore,
        index: EventIndex,
        ledger: Ledger,
        *,
        settle: float = SETTLE,
        clock: Callable[[], int] = instant.now_us,
    ) -> None:
        self._jobs = jobs
        self._control = control
        self._store = store
        self._index = index
        self._ledger = ledger
        self._settle = settle
        self._clock = clock

    async def run(self, work: Work) -> Json:
        tenant = await self._control.tenant(work.job.tenant_id)
        if tenant is None:
            raise NotFound("the tenant is gone")
        asked = work.job.spec
        now = self._clock()
        # No event is older than its tenant, and none will be newer than tomorrow's.
        start = max(asked.get("received_from") or 0, tenant.created_at - _DAY, 0)
        end = min(asked.get("received_to") or now + _DAY, now + _DAY)
        rebuild = _Rebuild(self, work, await self._store.count(work.scope))
        for placement in placements_within(tenant.placements, start, end) if start < end else []:
            await rebuild.placement(placement)
        # Whoever asked for the job may have marked the tenant before.
        await self._ledger.set_rebuilding(work.job.tenant_id, False)
        await self._ledger.set_rebuilding_beside(work.job.tenant_id, None)
        counts = rebuild.state.counts
        return {
            "placements": rebuild.state.done,
            "indexed": counts.indexed,
            "reduced": counts.reduced,
            "failed": counts.failed,
        }

    async def clean(self, job: Job) -> None:
        """Nothing: what a job left half made, the next one for the placement removes."""


class _Rebuild:
    """One job at work."""

    def __init__(self, owner: Reindex, work: Work, total: int) -> None:
        self._index = owner._index
        self._store = owner._store
        self._ledger = owner._ledger
        self._jobs = owner._jobs
        self._settle = owner._settle
        self._notice = min(REBUILD_NOTICE, owner._settle)
        self._clock = owner._clock
        self._work = work
        self._scope = work.scope
        self._total = total
        self._saved_at = 0.0
        self._is_behind = False
        """Marked by who asked for the job: other placements lack events too, so the mark stays until all are done."""
        self.state = _state_of(work.job)

    async def placement(self, placement: str) -> None:
        """Rebuild one, or go on where it was left."""
        if placement in self.state.done:
            return
        await self._look_behind()
        all_ = [each for each in await self._index.generations(self._scope) if each.placement == placement]
        live = next((each for each in all_ if each.live), None)
        is_own = live is not None and live.job == self._work.job.id
        if live is not None and (is_own or any(each.number < live.number for each in all_)):
            # The aliases have moved, be it this job's doing or one's that was given up: the rest is still to do.
            await self._finish(live)
        if not is_own:
            await self._renew(placement, live, [each for each in all_ if live is None or each.number > live.number])
        self.state.done.append(placement)
        await self._save(force=True)

    async def _renew(self, placement: str, live: Generation | None, begun: list[Generation]) -> None:
        made = await self._begun(placement, live, begun)
        if made is None:
            return
        await self._fill(made)
        again = self._clock()
        await self._run_again(made, made.began or 0, beside=True)
        await self._look_behind()
        # From the move to the end of what follows, the last seconds' events are in the old generation alone.
        await self._ledger.set_rebuilding(self._scope.tenant_id, True)
        await asyncio.sleep(self._notice)
        await self._index.switch(self._scope, made)
        await self._finish(made, again)

    async def _begun(self, placement: str, live: Generation | None, begun: list[Generation]) -> Generation | None:
        """This job's generation, made if there is none; None for a placement without events and index."""
        mine = next((each for each in begun if each.job == self._work.job.id), None)
        for other in begun:
            if other is mine:
                continue
            job = await self._jobs.get(self._scope, other.job) if other.job else None
            if job is not None and job.state.active:
                raise Conflict("another rebuild of this log is under way")
            await self._index.drop_generation(self._scope, other)
        if mine is not None:
            return mine
        if live is None and not await self._has_events(placement):
            return None
        # g1 is what a first event makes, at any moment while there is no live one.
        number = max([1, *(each.number for each in (live, *begun) if each is not None)]) + 1
        made = Generation(placement, number, False, self._clock(), self._work.job.id)
        await self._index.begin(self._scope, made)
        self.state.placement, self.state.at, self.state.id = placement, 0, ""
        return made

    async def _fill(self, made: Generation) -> None:
        """All that the store has, the oldest first, so that what comes meanwhile is met at the end."""
        start, end = span_of(made.placement)
        if self.state.placement == made.placement:
            start = max(start, self.state.at)
        else:
            self.state.placement, self.state.at, self.state.id = made.placement, 0, ""
        behind = (self.state.at, self.state.id)
        async for batch in self._store.scan(self._scope, start=start, end=end, descending=False, batch=_BATCH):
            left = [each for each in batch if (each.received_at, each.id) > behind]
            await self._index_batch(made, left, beside=True, counted=True)
            self.state.at, self.state.id = batch[-1].received_at, batch[-1].id
            await self._save()

    async def _finish(self, live: Generation, since: int | None = None) -> None:
        """After the move: what went to the older generations meanwhile, then these are dropped."""
        since = since if since is not None else live.began or 0
        await self._ledger.set_rebuilding(self._scope.tenant_id, True)
        await self._run_again(live, since, beside=False)
        await self._index.refresh(self._scope)
        if not self._is_behind:
            await self._ledger.set_rebuilding(self._scope.tenant_id, False)
        await asyncio.sleep(self._settle)
        await self._run_again(live, since, beside=False)
        for other in await self._index.generations(self._scope):
            if other.placement == live.placement and other.number < live.number:
                await self._index.drop_generation(self._scope, other)

    async def _look_behind(self) -> None:
        if await self._ledger.rebuilding(self._scope.tenant_id) is Rebuilding.BEHIND:
            self._is_behind = True

    async def _run_again(self, made: Generation, since: int, *, beside: bool) -> None:
        """Index what was stored `since`, the newest first."""
        young = since - SLACK
        late = await self._ledger.arrived(self._scope.tenant_id, since=young, made_before=young)
        first, last = span_of(made.placement)
        windows = [(young, last), *((at - SLACK, at + SLACK) for at in reversed(late))]
        for start, end in _merged((max(start, first), min(end, last)) for start, end in windows):
            async for batch in self._store.scan(self._scope, start=start, end=end, descending=True, batch=_BATCH):
                await self._index_batch(made, batch, beside=beside)
                await self._save()

    async def _index_batch(self, made: Generation, batch: list[Stored], *, beside: bool, counted: bool = False) -> None:
        documents = [IndexDocument(each.id, each.body) for each in batch if each.placement == made.placement]
        outcomes = await self._index.index(self._scope, made.placement, documents, beside=beside) if documents else []
        counts = self.state.counts
        for document, outcome in zip(documents, outcomes, strict=True):
            if isinstance(outcome, Exception):
                log.error("event %s of tenant %s is not indexable: %s", document.id, self._scope.tenant_id, outcome)
                counts.failed += counted
            elif outcome is IndexOutcome.REDUCED:
                counts.reduced += counted
            else:
                counts.indexed += counted

    async def _has_events(self, placement: str) -> bool:
        start, end = span_of(placement)
        async for batch in self._store.scan(self._scope, start=start, end=end, descending=False, batch=_BATCH):
            if any(each.placement == placement for each in batch):
                return True
        return False

    async def _save(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._saved_at < _SAVE_SECONDS:
            return
        self._saved_at = now
        state, counts = self.state, self.state.counts
        checkpoint: Json = {
            "done": state.done,
            "placement": state.placement,
            "at": state.at,
            "id": state.id,
            "counts": [counts.indexed, counts.reduced, counts.failed],
        }
        done = counts.indexed + counts.reduced + counts.failed
        await self._work.save(Progress(done, max(done, self._total), checkpoint))
        await self._ledger.set_rebuilding_beside(self._scope.tenant_id, self._clock() + MARK)


def _state_of(job: Job) -> _State:
    kept = job.progress.checkpoint
    if not kept:
        return _State()
    # A job that an older version began has no id.
    return _State(list(kept["done"]), kept["placement"], kept["at"], kept.get("id", ""), _Counts(*kept["counts"]))


def _merged(windows: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The windows without overlaps, the newest first; empty ones left out."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((window for window in windows if window[0] < window[1]), reverse=True):
        if merged and end >= merged[-1][0]:
            merged[-1] = (min(start, merged[-1][0]), max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    yield from merged
