"""Draining the outbox: stored events that the index did not take when they came."""

from __future__ import annotations

import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from core import telemetry
from core.errors import Blocked, Unavailable
from core.ports import EventIndex, EventStore, IndexDocument, Outbox, OutboxEntry
from core.tenant import for_system

log = logging.getLogger(__name__)
_BATCH: Final = 500
# Seconds that a placement rests after its first failure, doubling to the longest, half of it by chance.
_REST: Final = (2.0, 60.0)
# Failures in a row, of different placements, after which it is the index that fails.
_ALL_DOWN: Final = 2


@dataclass(frozen=True, slots=True)
class _Rest:
    until: float
    failures: int
    blocked: bool


class OutboxDrain:
    """Indexes what the outbox names, oldest first in each tenant, in turns, so that no tenant waits for another.

    `reached` is called with the tenant and placement of what the index took. `clock` is monotonic seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        store: EventStore,
        index: EventIndex,
        reached: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._index = index
        self._reached = reached
        self._clock = clock
        self._resting: dict[tuple[str, str], _Rest] = {}
        self._in_a_row = 0

    async def run(self) -> int:
        """Drain all that the index takes; how many events were indexed.

        A placement that fails rests for a while. Raises `Unavailable` when the index or the store is down.
        """
        drained, failed = 0, None
        self._in_a_row = 0
        telemetry.OUTBOX.set(await self._outbox.size())
        while tenants := await self._outbox.tenants():
            moved = 0
            for tenant_id in tenants:
                count, error = await self._turn(tenant_id)
                moved += count
                failed = failed or error
                if self._in_a_row >= _ALL_DOWN:
                    break
            drained += moved
            telemetry.OUTBOX.set(await self._outbox.size())
            if not moved or self._in_a_row >= _ALL_DOWN:
                break
        self._forget(set(tenants))
        if drained:
            log.info("outbox drained: %d events", drained)
        if failed is not None:
            raise failed
        return drained

    async def _turn(self, tenant_id: str) -> tuple[int, Unavailable | None]:
        """One batch of a tenant: how many entries left the outbox, and the failure that is not its own, if any."""
        now = self._clock()
        resting = [p for (tenant, p), rest in self._resting.items() if tenant == tenant_id and rest.until > now]
        groups: dict[str, list[OutboxEntry]] = defaultdict(list)
        for entry in await self._outbox.oldest(_BATCH, tenant_id, beside=resting):
            groups[entry.placement].append(entry)
        count = 0
        for placement, group in groups.items():
            try:
                await self._index_group(tenant_id, placement, group)
            except Unavailable as error:
                if error.dependency != "index":
                    raise
                self._rest(tenant_id, placement, error)
                if not isinstance(error, Blocked):
                    return count, error
            else:
                self._in_a_row = 0
                self._resting.pop((tenant_id, placement), None)
                count += len(group)
        return count, None

    def _rest(self, tenant_id: str, placement: str, error: Unavailable) -> None:
        blocked = isinstance(error, Blocked)
        if blocked:
            telemetry.ERRORS.labels(error.dependency).inc()
            log.warning("outbox, tenant %s, placement %s: %s", tenant_id, placement, error.message)
        else:
            self._in_a_row += 1
        known = self._resting.get((tenant_id, placement))
        failures = known.failures + 1 if known else 1
        seconds = min(_REST[1], _REST[0] * 2.0 ** min(failures - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311
        self._resting[tenant_id, placement] = _Rest(self._clock() + seconds, failures, blocked)

    def _forget(self, tenants: set[str]) -> None:
        """Drop what another consumer has drained meanwhile, and what has not been tried for long."""
        longest = self._clock() - 2 * _REST[1]
        for key, rest in list(self._resting.items()):
            if key[0] not in tenants or rest.until < longest:
                del self._resting[key]
        telemetry.BLOCKED.set(sum(rest.blocked for rest in self._resting.values()))

    async def _index_group(self, tenant_id: str, placement: str, group: Sequence[OutboxEntry]) -> None:
        scope = for_system(tenant_id, "outbox")
        stored = await self._store.fetch(scope, [entry.event_id for entry in group])
        documents = [IndexDocument(event.id, event.body) for event in stored.values()]
        if documents:
            outcomes = await self._index.index(scope, placement, documents)
            self._reached(tenant_id, placement)
            for document, outcome in zip(documents, outcomes, strict=True):
                if isinstance(outcome, Unavailable):
                    raise outcome
                if isinstance(outcome, Exception):
                    log.error("event %s of tenant %s is not indexable: %s", document.id, tenant_id, outcome)
            # The watermark trusts that what is not in the outbox can be found.
            await self._index.refresh(scope)
        await self._outbox.remove([entry.event_id for entry in group])
