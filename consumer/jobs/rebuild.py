"""Filling an index that lives in memory from the store at start, newest events first, while searches go on."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

from core import instant
from core.errors import Unavailable
from core.ports import Control, EventIndex, EventStore, IndexDocument, Ledger, Stored
from core.tenant import TenantScope, for_system

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
_BATCH: Final = 500
_RETRY_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Progress:
    """How far a tenant's rebuild has come: what was received before `end` is still to do."""

    newest: int
    end: int
    count: int = 0


class Rebuild:
    """Until a tenant's index is whole again its answers say `rebuilding`, and the store answers what it can."""

    def __init__(self, control: Control, store: EventStore, index: EventIndex, ledger: Ledger) -> None:
        self._control = control
        self._store = store
        self._index = index
        self._ledger = ledger

    async def run(self) -> None:
        """Rebuild each tenant whose index holds fewer events than its store; tries again until done.

        A mark that an earlier run was killed before it could remove goes too: it would stay for ever.
        """
        tenants = [tenant.id for tenant in await self._patiently(self._control.tenants)]
        behind = []
        for tenant_id in tenants:
            if await self._patiently(self._is_behind, tenant_id):
                await self._patiently(self._ledger.set_rebuilding, tenant_id, True)
                behind.append(tenant_id)
            elif await self._patiently(self._ledger.rebuilding, tenant_id):
                await self._patiently(self._ledger.set_rebuilding, tenant_id, False)
        for tenant_id in behind:
            # What is accepted from now on is indexed on its way; a day covers any clock that runs ahead.
            end = instant.now_us() + 86_400_000_000
            count = await self._patiently(self._fill, tenant_id, _Progress(end, end))
            await self._patiently(self._ledger.set_rebuilding, tenant_id, False)
            log.info("index of tenant %s rebuilt: %d events", tenant_id, count)

    @staticmethod
    async def _patiently(step: Callable[P, Awaitable[T]], *arguments: P.args, **named: P.kwargs) -> T:
        while True:
            try:
                return await step(*arguments, **named)
            except Unavailable as error:
                log.warning("rebuild waits: %s", error.message)
            except Exception:
                log.exception("rebuild waits: unforeseen error")  # ended, it would leave the tenant half indexed
            await asyncio.sleep(_RETRY_SECONDS)

    async def _is_behind(self, tenant_id: str) -> bool:
        scope = for_system(tenant_id, "rebuild")
        return await self._index.count(scope) < await self._store.count(scope)

    async def _fill(self, tenant_id: str, progress: _Progress) -> int:
        """Called again, it goes on from where the store failed.

        Where the index failed it begins again, since an index that lives in memory may have come back empty.
        """
        scope = for_system(tenant_id, "rebuild")
        try:
            async for batch in self._store.scan(scope, start=0, end=progress.end, descending=True, batch=_BATCH):
                await self._index_batch(scope, batch)
                progress.count += len(batch)
                progress.end = batch[-1].received_at + 1  # others of that moment may follow
            await self._index.refresh(scope)
        except Unavailable as error:
            if error.dependency == "index":
                progress.end, progress.count = progress.newest, 0
            raise
        return progress.count

    async def _index_batch(self, scope: TenantScope, batch: list[Stored]) -> None:
        groups: dict[str, list[IndexDocument]] = defaultdict(list)
        for event in batch:
            groups[event.placement].append(IndexDocument(event.id, event.body))
        for placement, documents in groups.items():
            for document, outcome in zip(documents, await self._index.index(scope, placement, documents), strict=True):
                if isinstance(outcome, Exception):
                    log.error("event %s of tenant %s is not indexable: %s", document.id, scope.tenant_id, outcome)
