"""Changing what is set for a tenant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from core import instant
from core.audit import PLATFORM_TENANT
from core.errors import Conflict, NotFound
from core.placement import Period, Placement
from core.ports import Control
from core.tenant import Tenant, TenantStatus
from core.tenant_settings import AccessAudit

_TRIES: Final = 5
_HOUR: Final = 3_600_000_000
_DAY: Final = 24 * _HOUR


async def change(
    control: Control,
    tenant_id: str,
    make: Callable[[Tenant], Tenant],
    record: Callable[[Tenant, Tenant], Awaitable[None]],
) -> Tenant:
    """The tenant with what `make` makes of it, which may be called again when another changes it at the same moment.

    `record` puts the change, old and new, on record before it takes effect; what it raises prevents that. Raises
    `NotFound`, and `Conflict` for one that is being deleted or the platform's own. What changes nothing writes nothing.
    """
    for _ in range(_TRIES):
        old = await control.tenant(tenant_id)
        if old is None:
            raise NotFound("no such tenant")
        if old.status is TenantStatus.DELETING:
            raise Conflict("the tenant is being deleted", code="tenant_deleting")
        new = make(old)
        if new == old:
            return old
        if tenant_id == PLATFORM_TENANT and (new.status, new.access_audit) != (TenantStatus.ACTIVE, AccessAudit.STRICT):
            message = "the platform's own tenant stays active, and its access audit strict"
            raise Conflict(message, code="platform_tenant")
        await record(old, new)
        if await control.replace_tenant(old, new):
            return replace(new, revision=old.revision + 1)
    raise Conflict("the tenant is being changed by others; try again")


def with_period(history: Sequence[Placement], period: Period, now: int | None = None) -> tuple[Placement, ...]:
    """The history from which events go into one index a `period`, from the next midnight (UTC) on.

    That is an hour away or more: every process must know the history before an event is placed by it, or two of them
    would place events of one moment in different indices. What is that far away can still be taken back.
    """
    if history[-1].period is period:
        return tuple(history)
    now = instant.now_us() if now is None else now
    since = (now + _HOUR + _DAY - 1) // _DAY * _DAY
    kept = [placement for placement in history if placement.since < since]
    if kept[-1].period is not period:
        kept.append(Placement(since, period))
    return tuple(kept)
