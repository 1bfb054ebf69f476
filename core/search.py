"""Reading the log: the index says which events, the store says what they are, in their exact bytes."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from core import cursor
from core.errors import Unavailable, UnboundedQuery
from core.ports import EventIndex, EventStore, Ledger, Rebuilding, Stored
from core.ports.ledger import REBUILD_NOTICE
from core.query import EventQuery, Page, Position, is_filtered
from core.restriction import restricted_page
from core.tenant import Tenant, TenantScope
from core.turns import Turns

_WATERMARKS: Final = 1000
_POLL: Final = (0.02, 0.25)
LOOKS_AT_ONCE: Final = 16
"""Filtered searches in the store under way, of one process: with the index down they come all at once."""
LOOKS_OF_A_TENANT: Final = 4


@dataclass(frozen=True, slots=True)
class Watermark:
    """What an answer is complete through: every event accepted before `complete_through` (microseconds) is in it."""

    complete_through: int | None
    rebuilding: bool
    behind: bool = False
    """Whether the index may lack events until then."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One page: the events' exact bytes in order."""

    bodies: list[bytes]
    next_cursor: str | None
    total: int
    total_exact: bool
    watermark: Watermark
    answered_by: str
    """`index` or `store`."""


@dataclass(frozen=True, slots=True)
class _Found:
    bodies: list[bytes]
    last: Position | None
    more: bool
    total: int
    exact: bool


class Search:
    """Answers queries of any tenant; falls back to the store when the index is down and the store can answer."""

    def __init__(self, store: EventStore, index: EventIndex, ledger: Ledger, *, total_bound: int) -> None:
        self._store = store
        self._index = index
        self._ledger = ledger
        self._total_bound = total_bound
        self.looks = Turns(LOOKS_AT_ONCE, LOOKS_OF_A_TENANT)
        self._marks: dict[str, tuple[float, Watermark]] = {}

    async def page(self, scope: TenantScope, tenant: Tenant, page: Page) -> Answer:
        """One page of a query.

        Raises `InvalidQuery` for a bad cursor or a query that is too large; with the index down `UnboundedQuery` for
        one that the store cannot look through and `Overloaded` when as many as may be are under way; `Unavailable`
        when nobody can answer.
        """
        page, after = cursor.open_(tenant, restricted_page(scope, page))
        # The watermark is read first: it must not claim what came after the search.
        watermark = await self.watermark(scope)
        found, answered_by = await self._find(scope, page, after, watermark)
        next_cursor = None
        if found.more and found.last:
            next_cursor = cursor.seal(tenant, page, found.last, from_store=answered_by == "store")
        return Answer(
            bodies=found.bodies,
            next_cursor=next_cursor,
            total=found.total,
            total_exact=found.exact,
            watermark=watermark,
            answered_by=answered_by,
        )

    async def matched(self, scope: TenantScope, tenant: Tenant, page: Page) -> tuple[int, bool]:
        """How many events match the query, and whether that is exact. Raises as `page`.

        What the index does not find is looked for in the store, which has an event a moment before.
        """
        found = await self.page(scope, tenant, replace(page, limit=1))
        if found.total or found.answered_by == "store" or page.query.needs_index:
            return found.total, found.total_exact
        with suppress(UnboundedQuery):
            there = await self._find_in_store(scope, restricted_page(scope, page).query, None, 1)
            return there.total, there.exact
        return 0, True

    async def event(self, scope: TenantScope, event_id: str, wait: float = 0) -> Stored | None:
        """One event, waiting up to `wait` seconds for one that was just accepted."""
        deadline = time.monotonic() + wait
        delay = _POLL[0]
        while True:
            stored = await self._store.get(scope, event_id)
            left = deadline - time.monotonic()
            if stored is not None or left <= 0:
                return stored
            await asyncio.sleep(min(delay, left))
            delay = min(2 * delay, _POLL[1])

    async def _find(
        self, scope: TenantScope, page: Page, after: Position | None, watermark: Watermark
    ) -> tuple[_Found, str]:
        # What the store began, it goes on with: an index that is not complete yet would skip events of the first page.
        if (watermark.behind or page.from_store) and not page.query.needs_index:
            try:
                return await self._find_in_store(scope, page.query, after, page.limit), "store"
            except UnboundedQuery:
                if page.from_store:
                    raise
        try:
            return await self._find_in_index(scope, page.query, after, page.limit), "index"
        except Unavailable as error:
            if error.dependency == "index":
                self._marks.clear()  # it may come back empty
            if error.dependency != "index" or page.query.needs_index:
                raise
        return await self._find_in_store(scope, page.query, after, page.limit), "store"

    async def _find_in_index(self, scope: TenantScope, query: EventQuery, after: Position | None, limit: int) -> _Found:
        # One more than asked tells whether there is a next page.
        hits = await self._index.search(scope, query, after=after, limit=limit + 1, total_bound=self._total_bound)
        shown = hits.hits[:limit]
        stored = await self._bodies(scope, [hit.id for hit in shown])
        return _Found(
            bodies=[stored[hit.id] for hit in shown if hit.id in stored],
            last=shown[-1] if shown else None,
            more=len(hits.hits) > limit,
            total=hits.total,
            exact=hits.total_exact,
        )

    async def _bodies(self, scope: TenantScope, ids: list[str]) -> dict[str, bytes]:
        if scope.restriction is None:
            return await self._store.bodies(scope, ids)
        # Whether a viewer may see an event, the whole of it tells.
        return {event_id: event.body for event_id, event in (await self._store.fetch(scope, ids)).items()}

    async def _find_in_store(self, scope: TenantScope, query: EventQuery, after: Position | None, limit: int) -> _Found:
        # A page by time alone is read off the store's own order; a filter may have it look through a whole log.
        with self.looks.taken(scope.tenant_id) if is_filtered(query) else nullcontext():
            found = await self._store.find(scope, query, after=after, limit=limit + 1, total_bound=self._total_bound)
        shown = found.events[:limit]
        last = Position(getattr(shown[-1], query.sort), shown[-1].id) if shown else None
        bodies = [event.body for event in shown]
        return _Found(bodies, last, len(found.events) > limit, found.total, found.total_exact)

    async def watermark(self, scope: TenantScope) -> Watermark:
        """What an answer that is begun now will be complete through, as it was read up to `REBUILD_NOTICE` ago.

        Read for each page, it would be two more round trips to the store.
        """
        now = time.monotonic()
        known = self._marks.get(scope.tenant_id)
        if known is None or now - known[0] > REBUILD_NOTICE:
            complete_through, rebuilding = await asyncio.gather(
                self._ledger.complete_through(scope.tenant_id), self._ledger.rebuilding(scope.tenant_id)
            )
            if len(self._marks) >= _WATERMARKS:
                self._marks.clear()
            known = self._marks[scope.tenant_id] = (now, _watermark(complete_through, rebuilding))
        return known[1]


def _watermark(complete_through: int | None, rebuilding: Rebuilding) -> Watermark:
    return Watermark(complete_through, bool(rebuilding), rebuilding is Rebuilding.BEHIND)
