"""Erasing one person's events: out of store, index, archive, outbox, parking and exports, with a report.

As deleting a tenant, with a filter, but for the order: the queue is drained first, since a legal hold must be asked of
every event before one is removed. The tombstone is then against what a queue delivers twice.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from consumer.jobs.deletion import Pace, drained
from consumer.jobs.rewriting import Rewriter
from consumer.jobs.runner import Later, Work
from core import erasure, instant
from core.archiving.files import SegmentFiles
from core.errors import Conflict, NotFound
from core.export.saved import folder_of
from core.holds import Hold, covering_any, held_in
from core.jobs import REINDEX, RESTORE, RETENTION, Job, Json, Progress
from core.placement import place
from core.ports import Account, Person, Stored, Tally, Tombstone
from core.ports.quarantine import Match
from core.segments import Segment
from core.tenant import Tenant, TenantStatus
from core.wiring import Backends

TOMBSTONE_DAYS: Final = 30
"""Longer than SQS keeps a message."""
MOVERS: Final = (REINDEX, RESTORE, RETENTION)
"""Jobs that carry events from place to place: what one has in hand may come back after it was removed."""
_ROUNDS: Final = 5
_BATCH: Final = 500
_PARKED: Final = 100
_POLL: Final = 0.25
_TURN_SECONDS: Final = 5.0
_SECOND: Final = 1_000_000


class Erasure:
    """The handler of `erasure` jobs."""

    def __init__(
        self,
        backends: Backends,
        files: SegmentFiles,
        pace: Pace | None = None,
        clock: Callable[[], int] = instant.now_us,
    ) -> None:
        self._backends = backends
        self._files = files
        self._pace = pace or Pace()
        self._clock = clock

    async def run(self, work: Work) -> Json:
        kept = work.job.progress.checkpoint or {}
        if "report" in kept:  # killed after its last step
            return dict(kept["report"])
        tenant = await self._backends.control.tenant(work.job.tenant_id)
        if tenant is None or tenant.status is TenantStatus.DELETING:
            raise NotFound("the tenant is gone")
        return await _Erasing(self._backends, self._files, self._pace, self._clock, work, tenant).run()

    async def clean(self, job: Job) -> None:
        """Nothing: it makes nothing that does not stay."""


class _Erasing:
    """One job at work."""

    def __init__(
        self,
        backends: Backends,
        files: SegmentFiles,
        pace: Pace,
        clock: Callable[[], int],
        work: Work,
        tenant: Tenant,
    ) -> None:
        self._backends = backends
        self._files = files
        self._pace = pace
        self._clock = clock
        self._work = work
        self._scope = work.scope
        self._tenant = tenant
        kept = work.job.progress.checkpoint or {}
        self._user_id: str = kept["user_id"]
        self._removed: dict[str, int] = kept.get("removed") or {}
        self._looked_at: int | None = kept.get("looked_at")
        """When the log was first looked through: what was read of it until then may lie in exports."""
        self._segments = Rewriter(backends, files, work.scope, clock, self._save, kept.get("rewriting"))
        self._before: int = work.job.spec["before"]
        self._query = erasure.query_of(self._user_id, self._before)

    async def run(self) -> Json:
        through = await drained(self._backends.ledger, self._tenant.id, self._before, self._pace.drain_wait)
        await self._alone()
        await self._segments.end()
        await self._refuse_held()
        since = await self._bury()
        await self._round()
        await asyncio.sleep(max(0, since + int(self._pace.settle * 1_000_000) - self._clock()) / 1_000_000)
        checked_at = await self._rounds()
        report: Json = {
            "before": instant.to_text(self._before),
            "queue_drained_through": None if through is None else instant.to_text(through),
            "tombstone_since": instant.to_text(since),
            "dead_letters": (await self._backends.queue.depth()).dead,
            "removed": self._removed,
            "left": 0,
            "checked_at": instant.to_text(checked_at),
        }
        buried = await self._backends.tombstones.get(self._work.job.id)
        if buried is not None:
            await self._backends.tombstones.put(replace(buried, stage="done", report=report))
        # From here on nothing names the person.
        done = self._removed.get("events", 0)
        await self._work.save(Progress(done, done, {"report": report}))
        return report

    async def _alone(self) -> None:
        """Raise `Later` while another job has events of the tenant in hand."""
        for kind in MOVERS:
            for job in await self._backends.jobs.listing(self._scope, kind, before=None, limit=_PARKED):
                if job.state.active:
                    raise Later(_TURN_SECONDS, f"job {job.id} moves events of the same log")

    async def _refuse_held(self) -> None:
        held = await held_in(self._backends.holds, self._scope)
        if hold := await covering_any(held, self._backends.store, self._scope, self._query):
            raise _on_hold(hold)
        if held:
            async for segment in erasure.segments(self._backends, self._scope, self._before):
                self._refuse(held.covering, await self._own(segment))

    @staticmethod
    def _refuse(covering: Callable[[Stored], Hold | None], events: Sequence[Stored]) -> None:
        for event in events:
            if hold := covering(event):
                raise _on_hold(hold)

    async def _bury(self) -> int:
        """Set the tombstone, or find it; since when it stands."""
        job = self._work.job
        known = await self._backends.tombstones.get(job.id)
        if known is not None and known.standing_since is not None:
            return known.standing_since
        now = self._clock()
        person = Person.of(self._user_id, self._before)
        made = Tombstone(job.id, job.tenant_id, job.id, job.asked_by, job.created_at, person, now, "removing")
        await self._backends.tombstones.put(made)
        return now

    async def _rounds(self) -> int:
        """Rounds until one finds nothing; when that one began."""
        for _ in range(_ROUNDS):
            await self._alone()
            began = self._clock()
            if not await self._round():
                await self._alone()
                return began
            await asyncio.sleep(_POLL)
        raise Later(_TURN_SECONDS, "events of the person are still there")

    async def _round(self) -> int:
        """Remove what there is in every place; how much that was."""
        found = {
            "exports": await self._exports(),
            "events": await self._stored(),
            "index_only": await self._indexed(),
            "parked": await self._parked(),
            "quarantined": await self._quarantined(),
            "archived_events": await self._archived(),
        }
        for name, number in found.items():
            self._removed[name] = self._removed.get(name, 0) + number
        if self._looked_at is None:
            self._looked_at = self._clock()
        await self._save()
        return sum(found.values())

    async def _save(self) -> None:
        kept: Json = {"user_id": self._user_id, "removed": self._removed, "looked_at": self._looked_at}
        if self._segments.begun is not None:
            kept["rewriting"] = self._segments.begun
        await self._work.save(Progress(self._removed.get("events", 0), None, kept))

    async def _exports(self) -> int:
        found = 0
        async for job in erasure.exports(self._backends, self._scope, self._looked_at or self._clock()):
            if job.state.active:
                await self._backends.jobs.cancel(self._scope, job.id, self._clock())
            if number := await self._backends.archive.files(folder_of(job)):
                await self._backends.archive.remove(folder_of(job))
                await self._backends.jobs.cancel(self._scope, job.id, self._clock())  # it expires: its link is dead
                found += number
        return found

    async def _stored(self) -> int:
        removed = 0
        async for batch in self._backends.store.drain(self._scope, self._query, after=None):
            for start in range(0, len(batch.events), _BATCH):
                removed += await self._remove(batch.events[start : start + _BATCH])
        return removed

    async def _remove(self, events: Sequence[Stored]) -> int:
        """Out of index and outbox before the store: what was removed there alone is found again there."""
        # Anew for each batch, so that a hold is good from the moment it is answered.
        self._refuse((await held_in(self._backends.holds, self._scope)).covering, events)
        placed: dict[str, list[str]] = defaultdict(list)
        for event in events:
            placed[event.placement].append(event.id)
        for placement, ids in placed.items():
            await self._backends.index.remove(self._scope, placement, ids)
        await self._backends.outbox.remove([event.id for event in events])
        await self._book(events, Tally(erased=1))
        return await self._backends.store.remove(self._scope, {event.id: event.hash for event in events})

    async def _book(self, events: Sequence[Stored], tally: Tally) -> None:
        """An account for each event: repeated after a crash, in whatever batches, none is counted twice."""
        await self._backends.accounts.write(
            [
                Account(f"erased:{event.id}", self._tenant.id, event.received_at // _SECOND * _SECOND, tally)
                for event in events
            ]
        )

    async def _indexed(self) -> int:
        """What the index has and the store has not any more."""
        removed = 0
        await self._backends.index.refresh(self._scope)
        while True:
            page = await self._backends.index.search(self._scope, self._query, after=None, limit=_BATCH, total_bound=0)
            placed: dict[str, list[str]] = defaultdict(list)
            for hit in page.hits:
                placed[place(self._tenant.placements, hit.us)].append(hit.id)
            gone = sum([await self._backends.index.remove(self._scope, where, ids) for where, ids in placed.items()])
            removed += gone
            if len(page.hits) < _BATCH or not gone:
                return removed
            await self._backends.index.refresh(self._scope)

    async def _parked(self) -> int:
        removed, after = 0, ""
        while page := await self._backends.parking.of_tenant(self._tenant.id, after=after, limit=_PARKED):
            for item in page:
                if erasure.is_parked_of(item, self._user_id, self._before):
                    removed += await self._backends.parking.remove(item.id)
            after = page[-1].id
        return removed

    async def _quarantined(self) -> int:
        removed = 0
        last: tuple[int, str] | None = None
        while page := await self._backends.quarantine.listing(self._scope, Match(), before=last, limit=_PARKED):
            own = [each.kept.id for each in page if erasure.is_quarantined_of(each, self._user_id, self._before)]
            removed += await self._backends.quarantine.remove(self._scope, own) if own else 0
            last = (page[-1].kept.at, page[-1].kept.id)
        return removed

    async def _archived(self) -> int:
        removed = 0
        async for segment in erasure.segments(self._backends, self._scope, self._before):
            events = await self._own(segment)
            if events:
                self._refuse((await held_in(self._backends.holds, self._scope)).covering, events)
                await self._book(events, Tally(archived=-1, erased=1))
                await self._segments.without(segment, events)
                removed += len(events)
        return removed

    async def _own(self, segment: Segment) -> list[Stored]:
        """The person's events in the segment's file."""
        return [event for event in await self._files.read(segment) if erasure.is_of(event, self._user_id, self._before)]


def _on_hold(hold: Hold) -> Conflict:
    return Conflict(f"the legal hold {hold.id} covers an event of the person", code="on_hold")
