"""What Ocelot asks of whatever tells it of events as they are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from core.tenant import TenantScope


class FeedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that was just stored."""

    id: str
    tenant_id: str
    timestamp: int
    received_at: int
    named: Mapping[str, str | list[str]]
    """As `StoreRow.named`."""
    body: bytes
    order: int
    """Grows with the order of storing, the same for every watch; events of one moment share it."""
    mark: bytes
    """Where a watch of this event's tenant goes on after it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Events in the order of storing; or none, and then the watch has told of all that was stored before the call."""

    events: list[FeedEvent]
    mark: bytes | None
    """Without events: where a watch of any tenants goes on. None when only the last event's mark names the place."""


class Watch(Protocol):
    """An open watch. Its marks are good for watches in any process that watch the mark's tenant."""

    mark: bytes
    """Where it began."""

    async def read(self) -> Reading:
        """What came since the last call, waiting a moment for the first; not to be called twice at once.

        Raises `HistoryLost` when events were or may have been left out, `Unavailable` when the store does not answer.
        The watch is of no use after either.
        """

    async def aclose(self) -> None: ...


class EventFeed(Protocol):
    """Tells of events as they are stored."""

    async def watch(self, scopes: Collection[TenantScope], after: bytes | None) -> Watch:
        """A watch of the scopes' tenants: every event stored after the mark `after`, or from now on.

        Raises `HistoryLost` when the server does not know any more what came after the mark.
        """
