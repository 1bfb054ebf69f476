"""The newest record of tenants and revocations, as one process knows it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from core.errors import OcelotError
from core.ports import AccessSnapshot, Control
from core.tenant import Tenant, TenantStatus
from core.tenant_settings import UNLIMITED, Quotas

log = logging.getLogger(__name__)
REFRESH_SECONDS: Final = 2.0
_MISS_SECONDS: Final = 0.25


class Snapshots:
    """Holds the newest `AccessSnapshot`, at most `REFRESH_SECONDS` and a read old while the store answers.

    One a process, API and consumer alike. Through it everything that is set for a tenant becomes effective within a few
    seconds and without a read for each event or request. Whoever goes by a setting asks for the tenant anew each time;
    what is costly to make of one is kept by the setting's own value, which is hashable.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = asyncio.Lock()
        self._missing = asyncio.Lock()
        self._read_at = 0.0
        """When the snapshot's reading began, in monotonic seconds."""
        self.newest: AccessSnapshot | None = None
        """None before the first reading."""
        self._when_gone: list[Callable[[Collection[str]], None]] = []

    async def refresh_forever(self) -> None:
        """Keep the snapshot fresh. With the store down the last one stays good: ingestion must go on."""
        while True:
            try:
                await self.refresh()
            except OcelotError as error:
                log.warning("tenants not refreshed: %s", error.message)
            except Exception:
                # A record that cannot be read must not end the refreshing: revocations would not be heard of any more.
                log.exception("tenants not refreshed")
            await asyncio.sleep(REFRESH_SECONDS)

    async def current(self) -> AccessSnapshot:
        """The newest snapshot; raises `Unavailable` when none was ever read."""
        return self.newest or await self.refresh()

    def revoked(self, name: str) -> bool:
        """Whether the newest snapshot lets `name` through no more; False before the first."""
        return self.newest is not None and name in self.newest.revoked

    async def tenant(self, tenant_id: str) -> Tenant | None:
        """A tenant by the snapshot, or by one read after this call began: a tenant made a moment ago is found.

        Raises `Unavailable` when the store does not answer: a tenant that was not read is not one that is gone.
        """
        asked = time.monotonic()
        snapshot = await self.current()
        if tenant_id not in snapshot.tenants:
            snapshot = await self._read_since(asked)
        return snapshot.tenants.get(tenant_id)

    def is_gone(self, tenant_id: str) -> bool:
        """Whether a tenant is being deleted, or was; False before the first reading."""
        if self.newest is None:
            return False
        tenant = self.newest.tenants.get(tenant_id)
        return tenant is None or tenant.status is TenantStatus.DELETING

    def quotas(self, tenant_id: str) -> Quotas:
        """A tenant's quotas, as far as is known without a read."""
        tenant = self.newest.tenants.get(tenant_id) if self.newest is not None else None
        return UNLIMITED if tenant is None else tenant.quotas

    async def refresh(self) -> AccessSnapshot:
        """Read now; the last one stays when the store does not answer, which raises `Unavailable`."""
        async with self._lock:
            began = time.monotonic()
            before = self.newest
            self.newest = snapshot = await self._control.snapshot()
            self._read_at = began
            if before is not None and (gone := before.tenants.keys() - snapshot.tenants.keys()):
                for forget in self._when_gone:
                    forget(gone)
            return snapshot

    def when_gone(self, forget: Callable[[Collection[str]], None]) -> None:
        """Call it with the ids of tenants that were deleted: whoever keeps something of them lets go of it."""
        self._when_gone.append(forget)

    async def _read_since(self, moment: float) -> AccessSnapshot:
        """A snapshot whose reading began after `moment`; all who miss share one, `_MISS_SECONDS` after the last."""
        async with self._missing:
            if self.newest is None or self._read_at <= moment:
                await asyncio.sleep(max(0.0, self._read_at + _MISS_SECONDS - time.monotonic()))
                return await self.refresh()
            return self.newest
