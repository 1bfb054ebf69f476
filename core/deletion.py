"""Deleting a tenant: what goes, and asking for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from core import instant, segments
from core.audit import PLATFORM_TENANT
from core.errors import Conflict, NotFound, Overloaded
from core.export import saved
from core.holds import Holds
from core.ids import uuid7s
from core.jobs import TENANT_DELETION, Job
from core.ports import Archive, Control, Tombstone
from core.tenant import Tenant, TenantScope, TenantStatus
from core.wiring import Backends

_TRIES: Final = 5


def archive_folders(tenant_id: str) -> list[str]:
    """Every folder of the archive that is the tenant's."""
    return [f"{saved.FILES}/{tenant_id}", segments.folder_of(tenant_id)]


async def archived(archive: Archive, tenant_id: str) -> int:
    """How many files of the archive are the tenant's."""
    return sum([await archive.files(folder) for folder in archive_folders(tenant_id)])


async def preview(backends: Backends, scope: TenantScope) -> dict[str, Any]:
    """What deleting the tenant would remove now, and how many legal holds keep it from being deleted."""
    left = await backends.purge.left(scope, but_job="")
    return {
        "events": left.pop("events", 0),
        "archive_files": await archived(backends.archive, scope.tenant_id),
        "records": left,
        "holds": len(await backends.holds.standing(scope)),
    }


async def ask(backends: Backends, tenant: Tenant, scope: TenantScope | None, asked_by: str, keep: float) -> Tombstone:
    """Start deleting the tenant, or start again where it failed; the deletion as it stands then.

    `scope` may be left out for a tenant that is being deleted already. Raises `Conflict` (`on_hold`) while a legal hold
    stands. From now on the tenant's tokens reach nothing.
    """
    if tenant.status is not TenantStatus.DELETING:
        if scope is None:
            raise NotFound("no such tenant")
        if tenant.id == PLATFORM_TENANT:
            raise Conflict("the platform's own tenant cannot be deleted", code="platform_tenant")
        await refuse_held(backends.holds, scope)
        await _set_status(backends.control, tenant.id, TenantStatus.DELETING)
    now = instant.now_us()
    job = Job(
        id=uuid7s(now, 1)[0],
        tenant_id=tenant.id,
        kind=TENANT_DELETION,
        spec={},
        asked_by=asked_by,
        created_at=now,
        updated_at=now,
        expires_at=now + int(keep * 1_000_000),
    )
    if await backends.tombstones.get(tenant.id) is None:
        await backends.tombstones.put(Tombstone(tenant.id, tenant.id, job.id, asked_by, now))
    try:
        await backends.jobs.create(job, max_active=1)
    except Overloaded:
        pass  # it is under way
    else:
        # The job may have written more than this by now, but for its own start.
        known = await backends.tombstones.get(tenant.id)
        if known is not None and known.job != job.id:
            await backends.tombstones.put(replace(known, job=job.id, error=None, stage="asked"))
    found = await backends.tombstones.get(tenant.id)
    if found is None:
        raise Conflict("the deletion has ended meanwhile; read it again")
    return found


async def refuse_held(holds: Holds, scope: TenantScope) -> None:
    """Raise `Conflict` while a legal hold stands in the tenant."""
    if standing := await holds.standing(scope):
        raise Conflict(f"legal holds stand: {', '.join(hold.id for hold in standing[:5])}", code="on_hold")


async def reopen(control: Control, tenant_id: str) -> None:
    """Take a tenant that cannot be deleted back, suspended."""
    await _set_status(control, tenant_id, TenantStatus.SUSPENDED)


async def _set_status(control: Control, tenant_id: str, status: TenantStatus) -> None:
    for _ in range(_TRIES):
        tenant = await control.tenant(tenant_id)
        if tenant is None:
            raise NotFound("no such tenant")
        if tenant.status is status or await control.replace_tenant(tenant, replace(tenant, status=status)):
            return
    raise Conflict("the tenant is being changed by others; try again")
