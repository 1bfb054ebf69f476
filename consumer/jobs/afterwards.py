"""One more look at tenants that were deleted of late, for what was written after their report.

Deadlines bound a write that began before a tombstone, but not a process that was stopped in its middle, with its
machine: when that goes on, it writes what it had in hand.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from core import deletion, instant
from core.ports import Tombstone
from core.tenant import TenantScope, for_system
from core.wiring import Backends

log = logging.getLogger(__name__)
LOOKS_BACK: Final = 2 * 86_400 * 1_000_000
"""Microseconds for which a tombstone is looked after."""
_BATCH: Final = 2000


class Afterwards:
    def __init__(self, backends: Backends, clock: Callable[[], int] = instant.now_us) -> None:
        self._backends = backends
        self._clock = clock

    async def run(self) -> None:
        """Remove what there is again of tenants whose deletion is done; call it every hour."""
        for tombstone in await self._backends.tombstones.standing(self._clock() - LOOKS_BACK):
            if tombstone.person is None and tombstone.stage == "done":
                await self._again(tombstone, for_system(tombstone.tenant_id, "deletion"))

    async def _again(self, tombstone: Tombstone, scope: TenantScope) -> None:
        backends = self._backends
        left = await backends.purge.left(scope, but_job=tombstone.job)
        left["indices"] = len(await backends.index.generations(scope))
        left["archive_files"] = await deletion.archived(backends.archive, scope.tenant_id)
        if not any(left.values()):
            return
        log.warning("written after tenant %s was deleted, and removed now: %s", scope.tenant_id, left)
        while await backends.purge.events(scope, _BATCH):
            pass
        await backends.index.drop(scope)
        for folder in deletion.archive_folders(scope.tenant_id):
            await backends.archive.remove(folder)
        await backends.purge.records(scope, but_job=tombstone.job)
