"""The newest catalogue of each tenant, as one process knows it."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from typing import Final

from core.catalogue.check import Checker
from core.catalogue.model import EMPTY, Catalogues, Mode
from core.errors import OcelotError, Unavailable
from core.tenant import TenantScope

log = logging.getLogger(__name__)
REFRESH_SECONDS: Final = 2.0
_MAX_CHECKERS: Final = 1000


class CatalogueCache:
    """What events are checked by, at most `REFRESH_SECONDS` behind the store while it answers.

    Which tenant has which version is read for all of them at once; a version itself with the first event that needs
    it, in that request's scope.
    """

    def __init__(self, catalogues: Catalogues) -> None:
        self._catalogues = catalogues
        self._newest: dict[str, int] | None = None
        self._checkers: OrderedDict[str, Checker] = OrderedDict()
        self._loading = asyncio.Lock()

    async def refresh_forever(self) -> None:
        """Keep up with changes. With the store down the last state stays good: ingestion must go on."""
        while True:
            try:
                await self.refresh()
            except OcelotError as error:
                log.warning("catalogues not refreshed: %s", error.message)
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Learn which versions there are now."""
        self._newest = await self._catalogues.newest()
        for gone in self._checkers.keys() - self._newest.keys():
            del self._checkers[gone]

    async def checker(self, scope: TenantScope) -> Checker | None:
        """What the tenant's events are checked by; None: nothing is. Costs a tenant without a catalogue 0.1 us.

        Raises `Unavailable` while nobody has told this process whether there is a catalogue, or what is in it.
        """
        if self._newest is None:
            await self.refresh()
        version = (self._newest or {}).get(scope.tenant_id)
        if version is None:
            return None
        checker = self._checkers.get(scope.tenant_id)
        if checker is None or checker.version < version:
            checker = await self._load(scope, version)
        return checker if checker.mode is not Mode.OFF else None

    async def _load(self, scope: TenantScope, version: int) -> Checker:
        async with self._loading:
            known = self._checkers.get(scope.tenant_id)
            if known is not None and known.version >= version:
                return known
            try:
                made = Checker(await self._catalogues.get(scope) or EMPTY)
            except Unavailable:
                if known is None:
                    raise
                return known
            self._checkers[scope.tenant_id] = made
            if len(self._checkers) > _MAX_CHECKERS:
                self._checkers.popitem(last=False)
            return made
