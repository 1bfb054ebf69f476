"""What an operator's command does to a tenant, in the access audit."""

from __future__ import annotations

from typing import Any

from cli import operator
from core.audit import PLATFORM_TENANT, Access, Trail, ensure_platform_tenant
from core.producer import producer
from core.tenant import Tenant, TenantStatus
from core.wiring import Backends


async def record(
    backends: Backends, call: str, action: str, tenant_id: str | None, resource_id: str | None = None, **told: Any
) -> None:
    """Put on record what the command `call` is about to do, in the tenant's log; raises `Unavailable` if it cannot be.

    Without a tenant, or of one that is no more, it is the platform's own log.
    """
    whose = await _living(backends, tenant_id)
    access = Access(
        action,
        operator.actor(),
        message=call,
        resource_type=action.split(".")[1],
        resource_id=resource_id,
        metadata={"call": call, **told},
    )
    async with producer(backends.queue, backends.ledger) as commit:
        await Trail(commit).write_strictly(whose, access)


async def _living(backends: Backends, tenant_id: str | None) -> Tenant:
    found = None if tenant_id is None else await backends.control.tenant(tenant_id)
    if found is not None and found.status is not TenantStatus.DELETING:
        return found
    await ensure_platform_tenant(backends.control)
    platform = await backends.control.tenant(PLATFORM_TENANT)
    assert platform is not None  # noqa: S101 - just made, and never deleted
    return platform
