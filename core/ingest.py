"""Taking events in: prepare them and hand them over to group commit, with a result for each."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from core import instant
from core.bulk import Bulk
from core.commit import GroupCommit
from core.envelope import Record
from core.errors import Invalid, InvalidEvent, OcelotError, Unavailable
from core.prepare import decoded, entries_of, prepare
from core.tenant import Tenant, TenantScope

# How many events are prepared before the loop gets a turn: 5 ms of work.
_SLICE: Final = 500


class ItemError(msgspec.Struct, frozen=True):
    """Why one event was not taken."""

    code: str
    message: str
    errors: list[dict[str, Any]]


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True):
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
        [prepared] = prepare(tenant, decoded([item]), instant.now_us(), {}, key)
        if isinstance(prepared, InvalidEvent):
            raise prepared
        event_id, record = prepared
        for _, _, error in await self._commit.submit([record]):
            raise error
        return event_id

    async def many(self, scope: TenantScope, tenant: Tenant, bulk: Bulk) -> list[ItemResult]:
        """Take each event of a bulk on its own merits; one result for each, in order."""
        entries = entries_of(bulk)
        results: list[ItemResult] = []
        taken: list[int] = []
        records: list[Record] = []
        keys: dict[str, bytes] = {}
        now = instant.now_us()
        for start in range(0, len(entries), _SLICE):
            for n, prepared in enumerate(prepare(tenant, entries[start : start + _SLICE], now, keys), start):
                if isinstance(prepared, InvalidEvent):
                    results.append(ItemResult(n, "refused", error=item_error(prepared)))
                else:
                    results.append(ItemResult(n, "accepted", prepared[0]))
                    taken.append(n)
                    records.append(prepared[1])
            await asyncio.sleep(0)
        failed = await self._commit.submit(records) if records else []
        for first, end, error in failed:
            status = "refused" if isinstance(error, Invalid) else "retry"
            for n in taken[first:end]:
                results[n] = ItemResult(n, status, error=item_error(error))
        return results


def item_error(error: Exception) -> ItemError:
    """The public form of why an item was not taken."""
    if not isinstance(error, OcelotError):
        return ItemError("dependency_unavailable", "the queue is unavailable", [])
    if isinstance(error, Unavailable):
        return ItemError(error.code, error.public, [])
    return ItemError(error.code, error.message, [msgspec.to_builtins(fault) for fault in error.errors])
