"""What retention and restoring share: their ports, whose turn it is, and taking out what a segment holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from consumer.jobs.runner import Later, Work
from core.archiving.files import SegmentFiles
from core.errors import Forbidden
from core.holds import Held, Holds, held_in
from core.jobs import ERASURE, RESTORE, RETENTION, Job, Jobs, JobState
from core.ports import Account, Accounts, Control, EventIndex, EventStore, Ledger, Stored, Tally
from core.ports.accounts import SECOND
from core.segments import Segment, Segments, SegmentState
from core.tenant import Tenant, TenantScope, TenantStatus

BATCH: Final = 1000
"""Events taken out of store and index in one go: for so long a search may count what is not there any more."""
_TURN_SECONDS: Final = 5.0
_REBUILD_SECONDS: Final = 30.0
_LOOK: Final = 100


@dataclass(frozen=True, slots=True)
class Ports:
    jobs: Jobs
    control: Control
    store: EventStore
    index: EventIndex
    ledger: Ledger
    accounts: Accounts
    holds: Holds
    segments: Segments
    files: SegmentFiles


async def tenant_of(ports: Ports, work: Work) -> Tenant:
    """The job's tenant, once no older job of it moves events between log and archive.

    Raises `Later` while there is one, `Forbidden` for a tenant that is being deleted.
    """
    tenant = await ports.control.tenant(work.job.tenant_id)
    if tenant is None or tenant.status is TenantStatus.DELETING:
        raise Forbidden("the tenant is gone")
    for kind in (RETENTION, RESTORE):
        for job in await ports.jobs.listing(work.scope, kind, before=None, limit=_LOOK):
            if job.state.active and job.id != work.job.id and _age(job) < _age(work.job):
                raise Later(_TURN_SECONDS, f"job {job.id} moves events of the same log")
    for job in await ports.jobs.listing(work.scope, ERASURE, before=None, limit=_LOOK):
        # One that is queued may be waiting for this one.
        if job.state is JobState.RUNNING:
            raise Later(_TURN_SECONDS, f"job {job.id} erases from the same log")
    return tenant


async def quiet(ports: Ports, scope: TenantScope) -> None:
    """Raise `Later` while the tenant's index is being rebuilt.

    What a rebuild has read from the store it may index after the event was removed. Asked for before and after.
    """
    if await ports.ledger.rebuilding(scope.tenant_id):
        raise Later(_REBUILD_SECONDS, "the index is being rebuilt")


async def take_out(ports: Ports, work: Work, segment: Segment, *, indexed: bool = True) -> None:
    """Remove from store and index what the segment's file holds, but for what is held by now.

    The file is read and checked first. `indexed`: the index may hold its events. Taking out again is harmless.
    """
    scope = work.scope
    await quiet(ports, scope)
    events = await ports.files.read(segment)
    await _book_out(ports, scope, segment, events)
    for start in range(0, len(events), BATCH):
        batch = events[start : start + BATCH]
        # Anew for each batch, so that a hold is good from the moment it is answered.
        held = await held_in(ports.holds, scope)
        if held:
            batch = await asyncio.to_thread(_free, held, batch)
        await _remove(ports, scope, segment.placement, batch, indexed=indexed)
    await quiet(ports, scope)


async def book(ports: Ports, source: str, segment: Segment, events: Iterable[Stored], sign: int) -> None:
    """Write into the books that these events go into the archive (`sign` 1), or come back (-1).

    Before the first of them moves: of one source the first account stays, so a runner that does it again, and finds
    some moved already, changes nothing.
    """
    seconds = Counter(event.received_at // SECOND * SECOND for event in events)
    found = [
        Account(source, segment.tenant_id, second, Tally(archived=sign * count)) for second, count in seconds.items()
    ]
    for start in range(0, len(found), BATCH):
        await ports.accounts.write(found[start : start + BATCH])


async def _book_out(ports: Ports, scope: TenantScope, segment: Segment, events: Sequence[Stored]) -> None:
    held = await held_in(ports.holds, scope)
    going = await asyncio.to_thread(_free, held, events) if held else list(events)
    if segment.state is SegmentState.RESTORED:  # not all of it may have come back
        there: dict[str, Stored] = {}
        for start in range(0, len(going), BATCH):
            there |= await ports.store.fetch(scope, [event.id for event in going[start : start + BATCH]])
        going = [event for event in going if event.id in there and there[event.id].hash == event.hash]
    await book(ports, f"archive:{segment.id}:{segment.restored_until or 0}", segment, going, 1)


async def _remove(ports: Ports, scope: TenantScope, placement: str, batch: Sequence[Stored], *, indexed: bool) -> None:
    if not batch:
        return
    removed = await ports.store.remove(scope, {event.id: event.hash for event in batch})
    if not indexed:
        return
    ids = [event.id for event in batch]
    if removed < len(ids):
        # Some were taken out before; others may have come again, under the same key and as another event.
        there = await ports.store.fetch(scope, ids)
        ids = [event_id for event_id in ids if event_id not in there]
    if ids:
        await ports.index.remove(scope, placement, ids)


def _free(held: Held, events: Sequence[Stored]) -> list[Stored]:
    return [event for event in events if held.covering(event) is None]


def _age(job: Job) -> tuple[int, str]:
    return job.created_at, job.id
