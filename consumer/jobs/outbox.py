"""Draining the outbox: stored events that the index did not take when they came."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from core import telemetry
from core.errors import Unavailable
from core.ports import EventIndex, EventStore, IndexDocument, Outbox, OutboxEntry
from core.tenant import for_system

log = logging.getLogger(__name__)
_BATCH: Final = 500


class OutboxDrain:
    """Indexes what the outbox names, oldest first. `reached` is called when the index answers again."""

    def __init__(self, outbox: Outbox, store: EventStore, index: EventIndex, reached: Callable[[], None]) -> None:
        self._outbox = outbox
        self._store = store
        self._index = index
        self._reached = reached

    async def run(self) -> int:
        """Drain until the outbox is empty or the index fails; how many events were indexed."""
        drained = 0
        telemetry.OUTBOX.set(await self._outbox.size())
        while entries := await self._outbox.oldest(_BATCH):
            groups: dict[tuple[str, str], list[OutboxEntry]] = defaultdict(list)
            for entry in entries:
                groups[entry.tenant_id, entry.placement].append(entry)
            for (tenant_id, placement), group in groups.items():
                await self._index_group(tenant_id, placement, group)
            drained += len(entries)
            telemetry.OUTBOX.set(await self._outbox.size())
        if drained:
            log.info("outbox drained: %d events", drained)
        return drained

    async def _index_group(self, tenant_id: str, placement: str, group: list[OutboxEntry]) -> None:
        scope = for_system(tenant_id, "outbox")
        stored = await self._store.fetch(scope, [entry.event_id for entry in group])
        documents = [IndexDocument(event.id, event.body) for event in stored.values()]
        if documents:
            outcomes = await self._index.index(scope, placement, documents)
            self._reached()
            for document, outcome in zip(documents, outcomes, strict=True):
                if isinstance(outcome, Unavailable):
                    raise outcome
                if isinstance(outcome, Exception):
                    log.error("event %s of tenant %s is not indexable: %s", document.id, tenant_id, outcome)
            # The watermark trusts that what is not in the outbox can be found.
            await self._index.refresh(scope)
        await self._outbox.remove([entry.event_id for entry in group])
