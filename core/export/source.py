"""The events of an export: all that match and were received before a moment at which nothing more can arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import msgspec

from core import instant
from core.errors import Unavailable
from core.ports import Drained, EventIndex, EventStore, Ledger, Rebuilding, Stored
from core.query import EventQuery, Position, Range
from core.restriction import restricted_query
from core.tenant import Tenant, TenantScope

SETTLE_SECONDS: Final = 10.0
"""How long an export waits for what was accepted before it began to be stored and indexed."""
JOB_SETTLE_SECONDS: Final = 600.0
"""The same for a job, at which no client waits."""
_POLL: Final = 0.25
_DAY: Final = 86_400_000_000
_PAGE: Final = 500
_FETCH: Final = 100
"""Bodies asked for at once behind an index: of the largest events, 25 MiB."""


class Source:
    """Reads exports of any tenant."""

    def __init__(self, store: EventStore, index: EventIndex, ledger: Ledger) -> None:
        self._store = store
        self._index = index
        self._ledger = ledger

    async def bounded(
        self,
        scope: TenantScope,
        tenant: Tenant,
        query: EventQuery,
        wait: float = SETTLE_SECONDS,
        *,
        asked_at: int | None = None,
    ) -> EventQuery:
        """The query with a `received_at` range that is complete: oldest first, no event will appear in it any more.

        Its end is the one in the query, or when it was asked for (`asked_at`, else now), once the ledger says that all
        accepted before it is stored and indexed; when that takes longer than `wait` seconds, the moment that the ledger
        vouches for.
        """
        asked = query.received_at.end
        now = instant.now_us() if asked_at is None else asked_at
        end = min(now, asked if asked is not None else 1 << 62)
        return await self.until(scope, tenant, query, min(end, await self._settled(scope, end, wait)))

    async def until(self, scope: TenantScope, tenant: Tenant, query: EventQuery, end: int) -> EventQuery:
        """The query with that end of `received_at`, oldest first; raises `Unavailable` while its index has holes."""
        query = restricted_query(scope, query)
        # No event is older than its tenant; the day is for clocks that differ.
        start = max(query.received_at.start or 0, tenant.created_at - _DAY, 0)
        if query.needs_index and await self._ledger.rebuilding(scope.tenant_id) is Rebuilding.BEHIND:
            raise Unavailable("index", "the index is being rebuilt, and an export through it would have holes")
        bounds = Range(start, max(start, end))
        return msgspec.structs.replace(query, received_at=bounds, sort="received_at", descending=False)

    def batches(self, scope: TenantScope, query: EventQuery, after: Position | None) -> AsyncGenerator[Drained, None]:
        """The batches of a `bounded` query past `after`, the next one read while this one is used.

        Close it (`aclosing`): that stops what is being read.
        """
        read = self._through_index if query.needs_index else self._store.drain
        return _ahead(read(scope, query, after=after))

    async def _settled(self, scope: TenantScope, end: int, wait: float) -> int:
        deadline = time.monotonic() + wait
        while True:
            through = await self._ledger.complete_through(scope.tenant_id)
            if through is None or through >= end:
                return end
            if time.monotonic() >= deadline:
                return through
            await asyncio.sleep(_POLL)

    async def _through_index(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None
    ) -> AsyncIterator[Drained]:
        while True:
            page = await self._index.search(scope, query, after=after, limit=_PAGE, total_bound=0)
            for start in range(0, len(page.hits), _FETCH):
                hits = page.hits[start : start + _FETCH]
                stored = await self._store.fetch(scope, [hit.id for hit in hits])
                events: list[Stored] = [stored[hit.id] for hit in hits if hit.id in stored]
                yield Drained(events, hits[-1])
            if len(page.hits) < _PAGE:
                return
            after = page.hits[-1]


async def _ahead(batches: AsyncIterator[Drained]) -> AsyncGenerator[Drained, None]:
    """The same batches, each read before the one before it is done with: at most two are in memory."""

    async def read() -> Drained | None:
        return await anext(batches, None)

    following = asyncio.create_task(read())
    try:
        while (batch := await following) is not None:
            following = asyncio.create_task(read())
            yield batch
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        if isinstance(batches, AsyncGenerator):
            await batches.aclose()
