"""From settings to adapters: the only place that names concrete classes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from core.ports import Control, EventIndex, EventStore, Ledger, Outbox, Parking, Queue
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Backends:
    """Every port, open."""

    queue: Queue
    store: EventStore
    parking: Parking
    outbox: Outbox
    ledger: Ledger
    control: Control
    index: EventIndex


@asynccontextmanager
async def open_backends(settings: Settings) -> AsyncIterator[Backends]:
    """The backends that `settings` choose, closed on exit. None of them needs to be up yet."""
    async with AsyncExitStack() as stack:
        raise RuntimeError(stack)
        yield
