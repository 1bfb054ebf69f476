"""Events of the quarantine on their way back: checked, masked and stamped as any other that is sent."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from core import instant
from core.aside import Aside
from core.catalogue import Checker
from core.commit import GroupCommit
from core.envelope import Record
from core.errors import Conflict, InvalidEvent
from core.event import EventInput
from core.masking.own import Maskers
from core.ports.quarantine import Form, Quarantined
from core.prepare import Entry, decoded, encoded, stamped
from core.quarantine.keeping import replay_id
from core.quarantine.mapping import Operation, applied
from core.tenant import Tenant, TenantScope

_ID_AT: Final = len('{"id":"')

CheckerOf = Callable[[TenantScope], Awaitable[Checker | None]]


class Replays:
    """Replays items of any tenant's quarantine. What is stored of one is one event, however often it is replayed."""

    def __init__(self, commit: GroupCommit, aside: Aside, maskers: Maskers, checker: CheckerOf) -> None:
        self._commit = commit
        self._aside = aside
        self._maskers = maskers
        self._checker = checker

    async def fixed(self, tenant: Tenant, item: Quarantined, operations: Sequence[Operation]) -> bytes:
        """The item's body after the operations, masked anew; without any, as it was sent.

        Raises `Conflict` or `Invalid` when it cannot be.
        """
        if item.kept.form is not Form.EVENT:
            raise _not_whole()
        if not operations:
            return item.kept.body
        lines = [applied(item.body, operations).translate(_LINE_BREAKS)]
        await self._aside.mask(lines, self._maskers.of(tenant))
        return lines[0]

    async def faults(self, scope: TenantScope, items: Sequence[Quarantined]) -> list[InvalidEvent | Conflict | None]:
        """What each would be refused for, were it replayed now."""
        entries = await self._entries(scope, items)
        found: list[InvalidEvent | Conflict | None] = [
            None if item.kept.form is Form.EVENT else _not_whole() for item in items
        ]
        for run in encoded(entries, instant.now_us()):
            for n, fault in run.faults.items():
                found[n] = found[n] or fault
        return found

    async def replay(self, scope: TenantScope, tenant: Tenant, items: Sequence[Quarantined]) -> list[Exception | None]:
        """None for each that is durable in the queue; else what is wrong with it, or with the queue.

        The event has the id of the key that it was sent with, or one of its own, and when it gives no time that of its
        acceptance.
        """
        results: list[Exception | None] = [None if item.kept.form is Form.EVENT else _not_whole() for item in items]
        whole = [n for n, result in enumerate(results) if result is None]
        entries = await self._entries(scope, [items[n] for n in whole])
        given = [_timed(entry, items[n]) for n, entry in zip(whole, entries, strict=True)]
        records: list[Record] = []
        places: list[int] = []
        with self._commit.stamping() as now:
            for run in encoded(entries, now):
                await self._aside.mask(run.lines, self._maskers.of(tenant))
                lines = dict(zip(run.places, run.lines, strict=True))
                prepared = stamped(tenant, run, now, {})
                for at, fault in prepared.faults.items():
                    results[whole[at]] = fault
                for at, record in zip(prepared.places, prepared.records, strict=True):
                    records.append(_identified(tenant, record, items[whole[at]], lines[at], given[at]))
                    places.append(whole[at])
                await asyncio.sleep(0)
            for first, end, error in await self._commit.submit(records, now) if records else ():
                for n in places[first:end]:
                    results[n] = error
        return results

    async def _entries(self, scope: TenantScope, items: Sequence[Quarantined]) -> list[Entry]:
        checker = await self._checker(scope)
        entries: list[Entry] = []
        for item in items:
            entry = decoded(item.body)
            if checker is not None and checker.enforces and isinstance(entry, EventInput):
                entry = checker.fault(item.body) or entry
            entries.append(entry)
            await asyncio.sleep(0)
        return entries


def _timed(entry: Entry, item: Quarantined) -> str | None:
    """The time that the event gives; it is given that of its acceptance otherwise."""
    if isinstance(entry, InvalidEvent):
        return None
    given = entry.timestamp
    if isinstance(given, str):
        return given
    entry.timestamp = instant.to_text(item.kept.at)
    return None


def _identified(tenant: Tenant, record: Record, item: Quarantined, line: bytes, given: str | None) -> Record:
    """The record with the item's id, and the digest by which a retry is told from a conflict: see `core.prepare`."""
    event_id = replay_id(tenant, item.kept).encode()
    body = record.body[:_ID_AT] + event_id + record.body[_ID_AT + len(event_id) :]
    timestamp = "" if given is None else instant.parse(given)[1]
    content = hmac.digest(tenant.secret, line + timestamp.encode(), "sha256")
    return Record(record.tenant_id, record.placement, body, content)


def _not_whole() -> Conflict:
    return Conflict("only a part of the event was kept, which cannot be replayed", code="not_whole")


_LINE_BREAKS: Final = bytes.maketrans(b"\n\r", b"  ")
