"""One watch for all subscriptions of a process.

It opens with the first subscriber and closes with the last, and is opened again where it was when a tenant joins. What
it tells goes to each subscription's own bounded buffer: none waits for another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core import instant
from core.errors import HistoryLost, OcelotError, Overloaded, Unavailable
from core.matching import Predicate, Subject
from core.ports import EventFeed, EventStore, FeedEvent, Ledger, Reading, Watch
from core.streams.items import Told
from core.tenant import TenantScope

if TYPE_CHECKING:
    from core.streams.subscription import Subscription

log = logging.getLogger(__name__)
UNKNOWN_US: Final = 3600 * 1_000_000
"""How far back events may be missing when no watermark is known."""
_WATERMARK_AGE: Final = 5.0
_BACK_OFF: Final = (0.25, 5.0)
_BREATH: Final = 50
"""Events told of without letting others run."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many streams there may be, how many of them may catch up at once, and what waits for a slow reader."""

    streams: int = 1000
    tenant_streams: int = 50
    catching_up: int = 16
    buffer_events: int = 1000
    buffer_bytes: int = 4 * 1024 * 1024


class StreamHub:
    """Tells every subscription of its tenant's events."""

    def __init__(self, feed: EventFeed, store: EventStore, ledger: Ledger, limits: Limits) -> None:
        self.feed = feed
        self.store = store
        self.limits = limits
        self.catching_up = asyncio.Semaphore(limits.catching_up)
        self.closing = asyncio.Event()
        """Set when the process drains: every stream ends."""
        self.order: int | None = None
        """Of the last event told of, while there is a watch."""
        self._ledger = ledger
        self._streams: Counter[str] = Counter()
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._scopes: dict[str, TenantScope] = {}
        self._watched: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._mark: tuple[bytes, TenantScope | None] | None = None
        """Where the watch goes on, and whose event's mark that is."""
        self._watermarks: dict[str, int] = {}
        """Of each tenant, as it was read last."""
        self._floors: dict[str, int] = {}
        """Of each tenant: the watermark that was read before the watch last told of all there was."""
        self._task: asyncio.Task[None] | None = None
        self._watching = asyncio.Event()
        """Set, and replaced, whenever other tenants are watched than before."""

    @contextmanager
    def admit(self, scope: TenantScope) -> Iterator[None]:
        """One more stream of the tenant while it lasts; raises `Overloaded`."""
        tenant_id = scope.tenant_id
        if self.closing.is_set():
            raise Unavailable("service", "the service is stopping")
        if self._streams.total() >= self.limits.streams:
            raise Overloaded("the service has as many streams as it takes on", code="too_many_streams")
        if self._streams[tenant_id] >= self.limits.tenant_streams:
            raise Overloaded("the tenant has as many streams as it may", code="too_many_streams")
        self._streams[tenant_id] += 1
        try:
            yield
        finally:
            self._streams[tenant_id] -= 1
            self._streams += Counter()  # forgets those at zero

    async def watermark(self, scope: TenantScope) -> int:
        """A moment before which every accepted event of the tenant is stored by now (microseconds)."""
        known = await self._ledger.complete_through(scope.tenant_id)
        return instant.now_us() - UNKNOWN_US if known is None else known

    async def join(self, subscription: Subscription, scope: TenantScope) -> None:
        """From the return of this call on, the subscription is told of every event of its tenant."""
        self._subscriptions.setdefault(scope.tenant_id, set()).add(subscription)
        self._scopes[scope.tenant_id] = scope
        if scope.tenant_id not in self._watched:
            self._changed.set()
        while scope.tenant_id not in self._watched:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run())
            await self._watching.wait()

    def leave(self, subscription: Subscription, scope: TenantScope) -> None:
        """The inverse of `join`; harmless without it."""
        of_tenant = self._subscriptions.get(scope.tenant_id, set())
        of_tenant.discard(subscription)
        if not of_tenant:
            self._subscriptions.pop(scope.tenant_id, None)
            if not self._subscriptions:
                self._changed.set()

    async def drain(self, seconds: float) -> None:
        """End every stream, and wait up to `seconds` until they have ended."""
        self.closing.set()
        deadline = time.monotonic() + seconds
        while self._streams.total() and time.monotonic() < deadline:  # noqa: ASYNC110 - once in a process's life
            await asyncio.sleep(0.02)

    async def aclose(self) -> None:
        self.closing.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    # The watch ------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Keep the watch open while anyone follows."""
        delay = _BACK_OFF[0]
        try:
            while self._subscriptions:
                try:
                    await self._watch_once()
                    delay = _BACK_OFF[0]
                except HistoryLost as error:
                    log.warning("the watch lost history: %s", error.message)
                    self._lose("history_lost")
                except OcelotError as error:
                    log.warning("the watch is interrupted: %s", error.message)
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, _BACK_OFF[1])
        except Exception:
            log.exception("unforeseen error of the watch")
            self._lose("internal")
            await asyncio.sleep(_BACK_OFF[1])
        finally:
            self._mark, self.order = None, None
            self._watch_over(frozenset())

    async def _watch_once(self) -> None:
        """Watch the tenants that follow now, until others do or the watch fails."""
        self._changed.clear()
        scopes = {tenant_id: self._scopes[tenant_id] for tenant_id in self._subscriptions}
        self._scopes = dict(scopes)
        if self._mark is not None and self._mark[1] is not None:
            scopes.setdefault(self._mark[1].tenant_id, self._mark[1])
        watch = await self.feed.watch(scopes.values(), None if self._mark is None else self._mark[0])
        try:
            if self._mark is None:
                self._mark = (watch.mark, None)
            self._watch_over(frozenset(scopes))
            await self._pump(watch, scopes)
        finally:
            await watch.aclose()

    def _watch_over(self, tenant_ids: frozenset[str]) -> None:
        self._watched = tenant_ids
        self._watching.set()
        self._watching = asyncio.Event()

    async def _pump(self, watch: Watch, scopes: dict[str, TenantScope]) -> None:
        changed = asyncio.create_task(self._changed.wait())
        refreshing = asyncio.create_task(self._refresh_watermarks(scopes))
        try:
            while not changed.done():
                known = dict(self._watermarks)
                reading = asyncio.create_task(watch.read())
                await asyncio.wait({reading, changed}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    with suppress(asyncio.CancelledError):
                        await reading
                    return
                await self._tell(reading.result(), known, scopes)
        finally:
            changed.cancel()
            refreshing.cancel()
            self._watermarks.clear()
            self._floors.clear()

    async def _refresh_watermarks(self, scopes: dict[str, TenantScope]) -> None:
        while True:
            for tenant_id, scope in scopes.items():
                with suppress(Unavailable):
                    self._watermarks[tenant_id] = await self.watermark(scope)
                await asyncio.sleep(_WATERMARK_AGE / len(scopes))

    async def _tell(self, reading: Reading, known: dict[str, int], scopes: dict[str, TenantScope]) -> None:
        for n, event in enumerate(reading.events):
            self._tell_event(event)
            self._mark = (event.mark, scopes[event.tenant_id])
            self.order = event.order
            if n % _BREATH == _BREATH - 1:
                await asyncio.sleep(0)
        if reading.events:
            return
        # All that was stored when the watermarks were read has been told of: what is missing after this came later.
        self._floors = known
        if reading.mark is not None:
            self._mark = (reading.mark, None)
        for tenant_id, subscriptions in self._subscriptions.items():
            told = Told(None, 0, "", reading.mark, known.get(tenant_id, 0))
            for subscription in subscriptions:
                subscription.tell(told)

    def _tell_event(self, event: FeedEvent) -> None:
        subject = Subject(event)
        answers: dict[Predicate, bool] = {}
        matched = Told(event.body, event.order, event.id, event.mark, self._floors.get(event.tenant_id, 0))
        passed = matched._replace(body=None)
        for subscription in tuple(self._subscriptions.get(event.tenant_id, ())):
            predicate = subscription.predicate
            if predicate not in answers:
                answers[predicate] = _holds(predicate, subject)
            subscription.tell(matched if answers[predicate] else passed)

    def _lose(self, reason: str) -> None:
        self._mark = None
        for subscriptions in tuple(self._subscriptions.values()):
            for subscription in tuple(subscriptions):
                subscription.lose(reason)


def _holds(predicate: Predicate, subject: Subject) -> bool:
    try:
        return predicate(subject)
    except Exception:
        # One event that cannot be looked into must not end every stream of the process.
        log.exception("event %s could not be matched", subject.event.id)
        return False
