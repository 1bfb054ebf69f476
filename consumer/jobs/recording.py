"""The end of a job, on record in the log of its tenant: what came of what somebody had asked for."""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from consumer.jobs.expiry import ASKED_BY as SERVICE
from core.audit import PLATFORM_TENANT, Access, Trail
from core.errors import OcelotError
from core.jobs import Job, JobState, Json
from core.ports import Control
from core.producer import Occasional
from core.tenant import Tenant, TenantStatus

log = logging.getLogger(__name__)
ACTION: Final = "ocelot.job.end"
_encode: Final = msgspec.json.Encoder().encode


class Recorder:
    """Writes `ocelot.job.end`. What asked for the job is on record already, strictly: an end that cannot be is told by
    the service's own log, and undoes nothing."""

    def __init__(self, control: Control, producer: Occasional) -> None:
        self._control = control
        self._producer = producer

    async def ended(self, job: Job, result: Json | None, error: str | None) -> None:
        """`result` of a job that is done, or the `error` of one that failed; one of the service's own is not told."""
        if job.asked_by == SERVICE:
            return
        try:
            tenant = await self._whose(job.tenant_id)
            if tenant is None:
                return
            async with self._producer.begin() as commit:
                await Trail(commit).write_strictly(tenant, _access(job, result, error))
        except OcelotError as fault:
            log.warning("not on record: the end of job %s in tenant %s: %s", job.id, job.tenant_id, fault.message)

    async def _whose(self, tenant_id: str) -> Tenant | None:
        """The job's tenant; the platform's own where that is no more."""
        tenant = await self._control.tenant(tenant_id)
        if tenant is None or tenant.status is TenantStatus.DELETING:
            return await self._control.tenant(PLATFORM_TENANT)
        return tenant


def _access(job: Job, result: Json | None, error: str | None) -> Access:
    state = JobState.DONE if error is None else JobState.FAILED
    told: dict[str, Any] = {"kind": job.kind, "state": state.value, "attempts": job.attempts}
    if error is not None:
        told["error"] = error
    figures = {name: each for name, each in (result or {}).items() if not isinstance(each, list | dict)}
    if isinstance(figures.get("events"), int):
        told["count"] = figures["events"]
    return Access(
        action=ACTION,
        actor=job.asked_by,
        outcome="success" if error is None else "failure",
        message=f"{job.kind} {state.value}",
        resource_type="job",
        resource_id=job.id,
        body=_encode(job.spec),
        metadata={**told, **({"result": figures} if figures else {})},
    )
