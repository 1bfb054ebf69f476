"""Deleting a tenant: everything of it, in every place, with a report that can be checked against them.

1. Wait until every process has learned that the tenant takes and answers nothing any more, and look for a legal hold
   that was placed until then.
2. Set its tombstone: from two seconds later on, no consumer stores an event of it.
3. Remove what is there.
4. Wait until the queue is drained past the moment from which nothing was accepted, by the ledger's word, and until no
   write that began before the tombstone can end any more.
5. Remove what came meanwhile; look into every place; only when nothing is left, remove the tenant's own record.

Each step may be repeated: a runner that takes the job up again begins with the first that is not known to be done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from consumer.jobs.runner import MAX_ATTEMPTS, Later, Work
from core import deletion, instant
from core.errors import Conflict, NotFound, OcelotError, Unavailable
from core.jobs import Job, Json, Progress
from core.ports import Ledger, Tombstone
from core.wiring import Backends

CLOSING: Final = 5.0
"""Seconds after which every process goes by a tenant's new status: see `core.snapshots`."""
SETTLE: Final = 30.0
"""Seconds after which no batch that began before a tombstone stood, and before it was read, can still be writing: two
for the reading, and the deadlines of an insert, a bulk and a receipt."""
DRAIN_WAIT: Final = 60.0
"""Seconds for which one attempt waits for the queue; meanwhile it keeps other jobs from running."""
_POLL: Final = 0.25
_TURN_SECONDS: Final = 5.0
_BATCH: Final = 2000
_SAVE_SECONDS: Final = 2.0
_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a deletion waits for others, in seconds."""

    closing: float = CLOSING
    settle: float = SETTLE
    drain_wait: float = DRAIN_WAIT


async def drained(ledger: Ledger, tenant_id: str, through: int, wait: float) -> int | None:
    """Up to when (microseconds) all accepted events of the tenant have come out of the queue, `through` or later.

    None: nothing was ever sealed. Raises `Later` when it is not so after `wait` seconds, and is to be asked again.
    """
    deadline = time.monotonic() + wait
    while True:
        reached = await ledger.complete_through(tenant_id)
        if reached is None or reached >= through:
            return reached
        if time.monotonic() >= deadline:
            raise Later(_TURN_SECONDS, "the queue is not drained yet past the moment of the deletion")
        await asyncio.sleep(_POLL)


class TenantDeletion:
    """The handler of `tenant_deletion` jobs."""

    def __init__(self, backends: Backends, pace: Pace | None = None, clock: Callable[[], int] = instant.now_us) -> None:
        self._backends = backends
        self._pace = pace or Pace()
        self._clock = clock

    async def run(self, work: Work) -> Json:
        job = work.job
        known = await self._backends.tombstones.get(job.tenant_id)
        record = known or Tombstone(job.tenant_id, job.tenant_id, job.id, job.asked_by, job.created_at)
        running = _Deletion(self._backends, self._pace, self._clock, work, replace(record, job=job.id, error=None))
        try:
            return await running.run()
        except OcelotError as error:
            if not isinstance(error, Unavailable):
                await running.tell(error=error.message)
            elif job.attempts >= MAX_ATTEMPTS:
                await running.tell(error=error.public)
            raise

    async def clean(self, job: Job) -> None:
        """Nothing: it makes nothing."""


class _Deletion:
    """One job at work."""

    def __init__(self, backends: Backends, pace: Pace, clock: Callable[[], int], work: Work, record: Tombstone) -> None:
        self._backends = backends
        self._pace = pace
        self._clock = clock
        self._work = work
        self._scope = work.scope
        self._id = work.job.tenant_id
        self._record = record
        kept = work.job.progress.checkpoint or {}
        self._closed_at: int | None = kept.get("closed_at")
        self._removed: dict[str, Any] = kept.get("removed") or {"events": 0, "archive_files": 0, "indices": 0}
        self._total: int | None = work.job.progress.total
        self._saved_at = 0.0

    async def run(self) -> Json:
        # Only the last step removes the tenant's own record: without it, all that comes before is done.
        if await self._backends.control.tenant(self._id) is not None:
            await self._close()
        elif self._closed_at is None:
            raise NotFound("the tenant is gone")
        await self.tell(stage="removing", standing_since=self._record.standing_since or self._clock())
        await self._remove()
        await self.tell(stage="draining")
        assert self._closed_at is not None  # noqa: S101 - by `_close`
        through = await drained(self._backends.ledger, self._id, self._closed_at, self._pace.drain_wait)
        settled = (self._record.standing_since or 0) + int(self._pace.settle * 1_000_000)
        await asyncio.sleep(max(0, settled - self._clock()) / 1_000_000)
        await self.tell(stage="checking")
        checked_at = await self._remove_the_rest()
        report = await self._report(through, checked_at)
        await self._backends.purge.tenant(self._scope)
        await self.tell(stage="done", report=report)
        return report

    async def tell(self, **changes: Any) -> None:
        """Write into the tombstone how far the deletion is."""
        self._record = replace(self._record, **changes)
        await self._backends.tombstones.put(self._record)

    async def _close(self) -> None:
        if self._closed_at is None:
            await self.tell(stage="closing")
            self._closed_at = self._clock() + int(self._pace.closing * 1_000_000)
            self._total = (await self._backends.purge.left(self._scope, but_job=self._work.job.id)).get("events", 0)
            await self._save(force=True)
        await asyncio.sleep(max(0, self._closed_at - self._clock()) / 1_000_000)
        try:
            await deletion.refuse_held(self._backends.holds, self._scope)
        except Conflict:
            if self._record.standing_since is None:
                await deletion.reopen(self._backends.control, self._id)
            raise

    async def _remove(self) -> None:
        """One round over every place."""
        backends, scope, removed = self._backends, self._scope, self._removed
        while number := await backends.purge.events(scope, _BATCH):
            removed["events"] += number
            await self._save()
        removed["indices"] += len(await backends.index.generations(scope))
        await backends.index.drop(scope)
        for folder in deletion.archive_folders(self._id):
            if number := await backends.archive.files(folder):
                await backends.archive.remove(folder)
                removed["archive_files"] += number
        records = removed.setdefault("records", {})
        for name, number in (await backends.purge.records(scope, but_job=self._work.job.id)).items():
            records[name] = records.get(name, 0) + number
        await self._save(force=True)

    async def _remove_the_rest(self) -> int:
        """Rounds until nothing is left; when that was found."""
        for _ in range(_ROUNDS):
            await self._remove()
            looked_at = self._clock()
            if not await self._left():
                return looked_at
            await asyncio.sleep(_POLL)
        raise Unavailable("store", f"still left of the tenant: {await self._left()}")

    async def _left(self) -> dict[str, int]:
        backends, scope = self._backends, self._scope
        left = await backends.purge.left(scope, but_job=self._work.job.id)
        if number := len(await backends.index.generations(scope)):
            left["indices"] = number
        if number := await deletion.archived(backends.archive, self._id):
            left["archive_files"] = number
        return left

    async def _report(self, through: int | None, checked_at: int) -> Json:
        record = self._record
        assert record.standing_since is not None  # noqa: S101 - set before anything is removed
        assert self._closed_at is not None  # noqa: S101 - by `_close`
        return {
            "tenant_id": self._id,
            "asked_by": record.asked_by,
            "asked_at": instant.to_text(record.asked_at),
            "closed_at": instant.to_text(self._closed_at),
            "tombstone_since": instant.to_text(record.standing_since),
            "queue_drained_through": None if through is None else instant.to_text(through),
            "dead_letters": (await self._backends.queue.depth()).dead,
            "removed": self._removed,
            "left": {},
            "checked_at": instant.to_text(checked_at),
        }

    async def _save(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._saved_at > _SAVE_SECONDS:
            self._saved_at = now
            checkpoint = {"closed_at": self._closed_at, "removed": self._removed}
            done = self._removed["events"]
            await self._work.save(Progress(done, max(done, self._total or 0), checkpoint))
