"""What Ocelot asks of the account of envelopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

REBUILD_NOTICE: Final = 1.0
"""Seconds for which a reader may go by what it last read of the ledger."""


KEPT_FOR: Final = 30 * 86_400 * 1_000_000
"""Microseconds for which receipts, and producers that are gone, are remembered: longer than SQS keeps a message."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """That a consumer has stored and indexed (or put in the outbox) a whole envelope."""

    producer: str
    sequence: int
    envelope: str
    made_at: int
    events: dict[str, int]
    done_at: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a producer has sealed so far; every sequence up to `sequence` was sent, is being sent, or is in `voided`."""

    producer: str
    sequence: int
    at: int
    voided: tuple[int, ...] = ()
    ended: bool = False
    """The producer seals nothing more, unless a younger heartbeat says otherwise first."""


@dataclass(frozen=True, slots=True)
class Hole:
    """Envelopes of a producer, `first` to `last` by their sequence, that were sealed and have not arrived.

    What they hold was accepted at or after `after` and before `before` (microseconds). Whether its senders were told
    that it is durable, nobody knows any more when the producer has crashed.
    """

    producer: str
    first: int
    last: int
    after: int
    before: int


class Rebuilding(StrEnum):
    """Of a tenant's index. True as a condition when a rebuild is under way."""

    NO = ""
    BEHIND = "behind"
    """It may lack events: what the store can answer, it should."""
    BESIDE = "beside"
    """A new generation is filled beside the live one, which lacks nothing."""


class Ledger(Protocol):
    """Which envelopes were made and which arrived: the ground of the watermark."""

    async def beat(self, heartbeat: Heartbeat) -> None: ...

    async def record(self, receipts: Sequence[Receipt]) -> None:
        """Recording a receipt again is harmless."""

    async def advance(self, settled_before: int) -> None:
        """Move each producer's frontier over the receipts done before `settled_before` (microseconds)."""

    async def give_up(self, silent_since: int) -> None:
        """Close the holes of producers without a sign of life since then (microseconds).

        For a caller that knows the queue to have delivered all it held then: what was sealed and never sent will not
        come any more. What is missing stays on record, for `holes`.
        """

    async def delivered_through(self) -> int | None:
        """Of the producers that are alive, all envelopes sealed before this moment (microseconds) have arrived.

        None: no producer is alive.
        """

    async def prune(self) -> None:
        """Forget settled receipts that arrived `KEPT_FOR` ago, and producers that are complete and silent since then.

        An envelope older than that, which comes again all the same, makes no forgotten producer known again: nobody
        could tell its holes from what was forgotten.
        """

    async def holes(self, start: int, end: int, limit: int) -> list[Hole]:
        """What has not arrived, given up or still awaited, that may have been accepted in `[start, end)`; microseconds.

        Up to about `limit` of them. They are of no tenant: only what has arrived tells whose it is.
        """

    async def complete_through(self, tenant_id: str) -> int | None:
        """Every event of the tenant accepted before this moment (microseconds) is stored and indexed.

        None: nothing known yet.
        """

    async def rebuilding(self, tenant_id: str) -> Rebuilding:
        """Whether a rebuild of this tenant's index is under way, and of which kind."""

    async def set_rebuilding(self, tenant_id: str, running: bool) -> None:
        """Mark the index as `BEHIND`, or no more.

        Readers know of it within `REBUILD_NOTICE` seconds: wait so long before an index loses what it holds.
        """

    async def set_rebuilding_beside(self, tenant_id: str, until: int | None) -> None:
        """Mark it as rebuilt `BESIDE` until that moment (microseconds), to be said again before; None: no more."""

    async def arrived(self, tenant_id: str, *, since: int, made_before: int) -> list[int]:
        """When the envelopes with events of the tenant were made that arrived `since`, those made before
        `made_before` alone; in order. All in microseconds."""
