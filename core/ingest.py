"""Taking events in: prepare them and hand them over to group commit, with a result for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Final

import msgspec

from core import event
from core.bulk import Bulk
from core.commit import GroupCommit
from core.envelope import Record
from core.errors import Invalid, InvalidEvent, OcelotError, Unavailable
from core.prepare import Entry, decoded, entries_at_once, prepare
from core.tenant import Tenant, TenantScope

_INDEX: Final = attrgetter("index")
_TURN: Final = 500
"""How many events are decoded one by one before the loop gets a turn."""


class ItemError(msgspec.Struct, frozen=True, gc=False):
    """Why one event was not taken."""

    code: str
    message: str
    errors: list[dict[str, Any]]


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What became of the event at `index`: `accepted` (durable), `refused` (it is at fault) or `retry` (send again)."""

    index: int
    status: str
    id: str | None = None
    error: ItemError | None = None


class Ingest:
    """Takes events of any tenant. One a process; `tenant` is always the one that the scope was made for."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit

    async def one(self, scope: TenantScope, tenant: Tenant, item: bytes, key: str | None) -> str:
        """Take one event; returns its id once it is durable. Raises what is wrong with it, or with the queue."""
        with self._commit.stamping() as now:
            [prepared] = prepare(tenant, [event.decode(item)], now, {}, key=key)
            for fault in prepared.faults.values():
                raise fault
            for _, _, error in await self._commit.submit(prepared.records, now):
                raise error
        return prepared.ids[0]

    async def many(self, scope: TenantScope, tenant: Tenant, bulk: Bulk) -> list[ItemResult]:
        """Take each event of a bulk on its own merits; one result for each, in order."""
        entries = await _entries(bulk)
        results: list[ItemResult] = []
        records: list[Record] = []
        places: list[int] = []
        with self._commit.stamping() as now:
            for prepared in prepare(tenant, entries, now, {}):
                results += map(ItemResult, prepared.places, repeat("accepted"), prepared.ids)
                results += [_refused(place, fault) for place, fault in prepared.faults.items()]
                records += prepared.records
                places += prepared.places
                await asyncio.sleep(0)
            failed = await self._commit.submit(records, now) if records else []
        results.sort(key=_INDEX)
        for first, end, error in failed:
            status = "refused" if isinstance(error, Invalid) else "retry"
            for place in places[first:end]:
                results[place] = ItemResult(place, status, error=item_error(error))
        return results


def _refused(place: int, fault: InvalidEvent) -> ItemResult:
    return ItemResult(place, "refused", error=item_error(fault))


async def _entries(bulk: Bulk) -> Sequence[Entry]:
    """Each event of a bulk, decoded, or why it is none; raises `Invalid` for the body as a whole."""
    at_once = entries_at_once(bulk)
    if at_once is not None:
        return at_once
    entries: list[Entry] = []
    for item in bulk.items():
        entries.append(decoded(item))
        if len(entries) % _TURN == 0:
            await asyncio.sleep(0)
    return entries


def item_error(error: Exception) -> ItemError:
    """The public form of why an item was not taken."""
    if not isinstance(error, OcelotError):
        return ItemError("dependency_unavailable", "the queue is unavailable", [])
    if isinstance(error, Unavailable):
        return ItemError(error.code, error.public, [])
    return ItemError(error.code, error.message, [msgspec.to_builtins(fault) for fault in error.errors])
