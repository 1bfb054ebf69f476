"""What a consumer must drop, however late it comes: events of deleted tenants and of erased persons."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from typing import Final

from core.envelope import Record
from core.ports import Person, StoreRow, Tombstone, Tombstones
from core.query import OWN

FRESH_SECONDS: Final = 2.0
"""A tombstone is known to every batch that begins so long after it stands."""
_OVERLAP: Final = 60_000_000
"""Microseconds by which writers' clocks may differ."""
_WHOLE_SECONDS: Final = 600.0
"""After so long all are read again, and those that are gone are forgotten."""


class Buried:
    """The tombstones that stood at one moment."""

    def __init__(self, tombstones: Collection[Tombstone] = ()) -> None:
        persons: dict[str, list[Person]] = defaultdict(list)
        for tombstone in tombstones:
            if tombstone.person is not None:
                persons[tombstone.tenant_id].append(tombstone.person)
        self.tenants = frozenset(tombstone.tenant_id for tombstone in tombstones if tombstone.person is None)
        self._persons = dict(persons)
        self._until = {tenant_id: max(each.before for each in found) for tenant_id, found in persons.items()}

    @property
    def names_persons(self) -> bool:
        """Whether `covers` may be true of anything."""
        return bool(self._persons)

    def kept(self, records: Sequence[Record]) -> Sequence[Record]:
        """The records of tenants that are not deleted."""
        if not self.tenants or self.tenants.isdisjoint({record.tenant_id for record in records}):
            return records
        return [record for record in records if record.tenant_id not in self.tenants]

    def dropped(self, records: Sequence[Record]) -> list[str]:
        """The tenants, which are deleted, of the other records."""
        return [record.tenant_id for record in records if record.tenant_id in self.tenants]

    def covers(self, row: StoreRow) -> bool:
        """Whether the event is of a person who was erased after it was accepted, and not of the service's own."""
        if row.received_at >= self._until.get(row.tenant_id, 0):
            return False  # so it is with nearly every event: none but a late one is older than the last erasing
        user_id = row.named.get("user_id")
        if str(row.named.get("action")).startswith(OWN):
            return False  # who may erase could else remove the record of what they did: see the access audit
        return isinstance(user_id, str) and any(
            person.covers(user_id, row.received_at) for person in self._persons[row.tenant_id]
        )


class TombstoneSource:
    """All standing tombstones, read at most once in `FRESH_SECONDS`, and only when somebody asks."""

    def __init__(self, tombstones: Tombstones, clock: Callable[[], float] = time.monotonic) -> None:
        self._tombstones = tombstones
        self._clock = clock
        self._known: dict[str, Tombstone] = {}
        self._newest = 0
        self._buried: Buried | None = None
        self._read_at = 0.0
        self._whole_at = 0.0
        self._lock = asyncio.Lock()

    async def fresh(self) -> Buried:
        """Those that stood `FRESH_SECONDS` ago, and perhaps younger ones.

        Raises `Unavailable` when the store does not answer: who stores events by an older state may bring back what
        was deleted.
        """
        if self._buried is None or self._clock() - self._read_at >= FRESH_SECONDS:
            async with self._lock:
                if self._buried is None or self._clock() - self._read_at >= FRESH_SECONDS:
                    await self._read()
        assert self._buried is not None  # noqa: S101 - just read
        return self._buried

    async def _read(self) -> None:
        began = self._clock()
        whole = self._buried is None or began - self._whole_at >= _WHOLE_SECONDS
        found = await self._tombstones.standing(0 if whole else max(0, self._newest - _OVERLAP))
        known = {each.id: each for each in found} if whole else self._known | {each.id: each for each in found}
        if self._buried is None or known != self._known:
            self._buried = Buried(known.values())
        self._known = known
        self._newest = max((each.standing_since or 0 for each in known.values()), default=0)
        self._read_at = began
        if whole:
            self._whole_at = began
