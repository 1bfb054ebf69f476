"""Noticing that an index was deleted from outside, and having it rebuilt."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from core import instant
from core.errors import Overloaded
from core.ids import uuid7s
from core.jobs import REINDEX, RETENTION, Job, Jobs
from core.placement import placements_within, span_of
from core.ports import Control, EventIndex, EventStore, Ledger
from core.tenant import Tenant, TenantScope, TenantStatus, for_system

log = logging.getLogger(__name__)
_DAY: Final = 86_400_000_000
_NEWEST: Final = 100
ASKED_BY: Final = "system:index-watch"


class IndexWatch:
    """Compares each tenant's live indices with those of the look before, by the identity that the server gave them.

    One that was there and is gone, or is another's of the same name (the next event makes it anew, with that event
    alone), has lost its events, if the store has any of its time: the tenant is marked, so that the store answers what
    it can, and a job rebuilds the index from the store. What a rebuild of Ocelot's own has put in its place has another
    name; what retention has dropped has nothing in the store once that has ended, so a month that is past as a whole is
    left until then. Of what was deleted while nobody looked, the first two looks tell: an index that is missing in
    both, of a time of which the store has events. `keep` is for how many seconds an ended job is kept.
    """

    def __init__(
        self,
        control: Control,
        store: EventStore,
        index: EventIndex,
        ledger: Ledger,
        jobs: Jobs,
        *,
        keep: float,
        clock: Callable[[], int] = instant.now_us,
    ) -> None:
        self._control = control
        self._store = store
        self._index = index
        self._ledger = ledger
        self._jobs = jobs
        self._keep = int(keep * 1_000_000)
        self._clock = clock
        self._known: dict[str, dict[str, tuple[int, str]]] = {}
        """Of each tenant the live generations by placement: number and identity."""
        self._missing: dict[str, set[str]] = {}
        """Placements that were missing in the first look, until the second."""
        self._is_first = True

    async def run(self) -> None:
        """One look at every tenant."""
        tenants = [t for t in await self._control.tenants() if t.status is not TenantStatus.DELETING]
        for tenant in tenants:
            await self._look(tenant)
        self._is_first = False
        there = {tenant.id for tenant in tenants}
        for tenant_id in self._known.keys() - there:
            del self._known[tenant_id], self._missing[tenant_id]

    async def _look(self, tenant: Tenant) -> None:
        scope = for_system(tenant.id, "index-watch")
        live = {g.placement: (g.number, g.identity) for g in await self._index.generations(scope) if g.live}
        known = self._known.get(tenant.id)
        if known is None:
            span = placements_within(tenant.placements, max(0, tenant.created_at - _DAY), self._clock())
            self._missing[tenant.id] = set(span) - live.keys() if self._is_first else set()
        else:
            gone = {p for p, was in known.items() if p not in live or _is_another(was, live[p])}
            suspects = gone | (self._missing[tenant.id] - live.keys())
            suspects = {p for p in suspects if await self._has_events(scope, p)}
            going = await self._going(scope, suspects) if suspects else set()
            lost = sorted(suspects - going)
            if lost and not await self._rebuild(tenant, lost):
                return  # by the next look it is as it was
            self._missing[tenant.id] &= going
            live |= {p: known[p] for p in going & known.keys()}  # to be looked at again
        self._known[tenant.id] = live

    async def _has_events(self, scope: TenantScope, placement: str) -> bool:
        start, end = span_of(placement)
        return await self._store.count(scope, start=start, end=end) > 0

    async def _going(self, scope: TenantScope, placements: set[str]) -> set[str]:
        """Those that retention may be taking out: it drops a month's index before the events are out of the store.

        Only of a month that is past its moment as a whole. Retention may be at it for days, while its archive cannot
        be reached: what is lost of another month must not wait for that.
        """
        jobs = await self._jobs.listing(scope, RETENTION, before=None, limit=_NEWEST)
        before = max((job.spec["before"] for job in jobs if job.state.active), default=0)
        return {p for p in placements if span_of(p)[1] <= before}

    async def _rebuild(self, tenant: Tenant, lost: list[str]) -> bool:
        """Ask for a job, and mark the tenant until it is done; False when another job is under way."""
        now = self._clock()
        spans = [span_of(placement) for placement in lost]
        spec = {"received_from": min(start for start, _ in spans), "received_to": max(end for _, end in spans)}
        job = Job(
            id=uuid7s(now, 1)[0], tenant_id=tenant.id, kind=REINDEX, spec=spec, asked_by=ASKED_BY,
            created_at=now, updated_at=now, expires_at=now + self._keep,
        )  # fmt: skip
        try:
            await self._jobs.create(job, max_active=1)
        except Overloaded:
            return False
        await self._ledger.set_rebuilding(tenant.id, True)
        log.error("indices %s of tenant %s are gone: job %s rebuilds them", ", ".join(lost), tenant.id, job.id)
        return True


def _is_another(was: tuple[int, str], now: tuple[int, str]) -> bool:
    """Of the same name, made by another's hand; a rebuild's has another number."""
    return was[0] == now[0] and was[1] != now[1]
