"""Looking for events that are past their tenant's retention, and for restored ones whose time has come."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Final

from core import instant
from core.errors import Overloaded
from core.jobs import RETENTION, Job, Jobs, JobState
from core.ports import Control, EventStore
from core.segments import Segments
from core.tenant import Tenant, TenantScope, TenantStatus, for_system

log = logging.getLogger(__name__)
_DAY: Final = 86_400_000_000
_HOUR: Final = 3_600_000_000
ASKED_BY: Final = "system:retention"


class Expiry:
    """Makes a retention job for each tenant that needs one; `keep` is for how many seconds an ended one is kept.

    A job's id is made from what it is for, so that it is made once by however many consumers; one that has failed is
    run again by the next look.
    """

    def __init__(
        self,
        control: Control,
        store: EventStore,
        segments: Segments,
        jobs: Jobs,
        *,
        keep: float,
        clock: Callable[[], int] = instant.now_us,
    ) -> None:
        self._control = control
        self._store = store
        self._segments = segments
        self._jobs = jobs
        self._keep = int(keep * 1_000_000)
        self._clock = clock

    async def run(self) -> None:
        """One look at every tenant."""
        now = self._clock()
        due = set(await self._segments.due(now))
        for tenant in await self._control.tenants():
            if tenant.status is TenantStatus.DELETING:
                continue
            scope = for_system(tenant.id, "retention")
            before = before_of(tenant, now)
            if await self._is_past(scope, before):
                await self._ask(scope, before, f"past {before}", now)
            elif tenant.id in due:
                await self._ask(scope, before, f"restored until {now // _HOUR}", now)

    async def _is_past(self, scope: TenantScope, before: int) -> bool:
        # From the bound back, in narrow windows: the embedded store reads all of a range even for one of its events.
        newest = self._store.scan(scope, start=0, end=before, descending=True, batch=1)
        return await anext(newest, None) is not None

    async def _ask(self, scope: TenantScope, before: int, what: str, now: int) -> None:
        job_id = _id_of(scope.tenant_id, what, now)
        expires_at = now + self._keep
        known = await self._jobs.get(scope, job_id)
        if known is not None:
            if known.state is JobState.FAILED:
                await self._jobs.retry(scope, job_id, expires_at)
            return
        job = Job(
            id=job_id, tenant_id=scope.tenant_id, kind=RETENTION, spec={"before": before}, asked_by=ASKED_BY,
            created_at=now, updated_at=now, expires_at=expires_at,
        )  # fmt: skip
        try:
            await self._jobs.create(job, max_active=1)
        except Overloaded:
            log.debug("a retention job of tenant %s is under way", scope.tenant_id)


def before_of(tenant: Tenant, now: int) -> int:
    """The events of which days are past the tenant's retention: those received before this moment."""
    return (now - tenant.retention_days * _DAY) // _DAY * _DAY


def _id_of(tenant_id: str, what: str, now: int) -> str:
    """An id like any job's of this day, the same for the same purpose."""
    digest = hashlib.sha256(f"{tenant_id} {what}".encode()).hexdigest()
    millis = f"{now // _DAY * _DAY // 1000:012x}"
    return f"{millis[:8]}-{millis[8:]}-7{digest[:3]}-8{digest[3:6]}-{digest[6:18]}"
