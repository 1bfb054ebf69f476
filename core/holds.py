"""Legal holds: events that nothing may remove while the hold stands, those that come after it was made included.

Whatever removes events (retention, the deletion of a tenant, the erasing of a person) reads `Holds.standing` anew for
each batch and asks `Held` of every event in it: a hold is good from the moment its making was answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from core.matching import Subject, compiled, event_of
from core.ports import EventStore, Stored
from core.query import EventQuery
from core.tenant import TenantScope

MAX_STANDING: Final = 100
"""Holds of one tenant that stand at once: each is asked of every event that is to go."""
MAX_REASON: Final = 1000


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold. Times are microseconds; `written` is the search as it was sent, JSON.

    `query` is what it meant then: times relative to now are those of that moment.
    """

    id: str
    tenant_id: str
    query: EventQuery
    written: bytes
    reason: str
    made_by: str
    made_at: int
    matched: int
    """Events that it covered when it was made, or the least that their number was, if not `matched_exact`."""
    matched_exact: bool = True
    released_by: str | None = None
    released_at: int | None = None
    release_reason: str | None = None


class Holds(Protocol):
    """Every hold that was made, the released ones too: the record stays."""

    async def create(self, scope: TenantScope, hold: Hold) -> None:
        """Durable on return."""

    async def get(self, scope: TenantScope, hold_id: str) -> Hold | None: ...

    async def listing(self, scope: TenantScope, *, before: str | None, limit: int) -> list[Hold]:
        """Newest (greatest id) first, those with ids below `before`."""

    async def standing(self, scope: TenantScope) -> list[Hold]:
        """Those that are not released, the oldest first."""

    async def release(self, scope: TenantScope, hold_id: str, *, by: str, at: int, reason: str) -> bool:
        """Whether it stood until now. One that was released before keeps its first release."""

    async def forget(self, scope: TenantScope) -> None:
        """Remove the tenant's record of holds, for a tenant that is deleted with none standing."""


class Held:
    """The standing holds of one tenant, as they were read at one moment; true when there is one.

    A tenant with any is not deleted.
    """

    def __init__(self, tenant_id: str, holds: Sequence[Hold]) -> None:
        self.holds = tuple(holds)
        self._tenant_id = tenant_id
        self._asked = [(hold, compiled(hold.query)) for hold in holds]

    def __bool__(self) -> bool:
        return bool(self.holds)

    @property
    def everything(self) -> bool:
        """Whether one of them covers every event there is and will be."""
        return any(not hold.query.filters for hold in self.holds)

    def covering(self, event: Stored) -> Hold | None:
        """The first hold that covers the event."""
        if not self._asked:
            return None
        subject = Subject(event_of(event, self._tenant_id))
        return next((hold for hold, covers in self._asked if covers(subject)), None)


async def held_in(holds: Holds, scope: TenantScope) -> Held:
    """What is held in the scope's tenant now."""
    return Held(scope.tenant_id, await holds.standing(scope))


async def covering_any(held: Held, store: EventStore, scope: TenantScope, query: EventQuery) -> Hold | None:
    """A hold that covers an event of the query, which must not need the index and whose `received_at` must have an end.

    It reads the query's events until one is covered.
    """
    if held:
        async for batch in store.drain(scope, query, after=None):
            for event in batch.events:
                if hold := held.covering(event):
                    return hold
    return None
