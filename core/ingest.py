"""Taking events in: prepare them and hand them over to group commit, with a result for each."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from core.aside import Aside, Run
from core.bulk import Bulk
from core.catalogue import CatalogueCache, Checker
from core.commit import GroupCommit
from core.envelope import Record
from core.errors import Invalid, InvalidEvent, OcelotError, Unavailable
from core.event import MAX_EVENT_BYTES
from core.prepare import Entry, Prepared, decoded, entries_at_once, prepare, slices
from core.tenant import Tenant, TenantScope

# How many events are prepared before the loop gets a turn: 5 ms of work.
_SLICE: Final = 500
# Masking what is all secrets takes up to 2.7 s a MiB.
_SLICE_BYTES: Final = 64 * 1024
# How many events are checked by a catalogue before the loop gets a turn: 1 ms of work, for most schemas.
_CHECKED: Final = 50


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
    warning: ItemError | None = None
    """What the catalogue would refuse the event for, if it did not only warn."""


class Ingest:
    """Takes events of any tenant. One a process; `tenant` is always the one that the scope was made for.

    Without `catalogues` nothing is checked by any.
    """

    def __init__(self, commit: GroupCommit, catalogues: CatalogueCache | None = None) -> None:
        self._commit = commit
        self._catalogues = catalogues
        self._aside = Aside()

    async def one(self, scope: TenantScope, tenant: Tenant, item: bytes, key: str | None) -> ItemResult:
        """Take one event; its result once it is durable. Raises what is wrong with it, or with the queue."""
        checker = await self._checker(scope)
        warning = checker.fault(item) if checker is not None else None
        if checker is not None and warning is not None and checker.enforces:
            raise warning
        entries = await self._aside.run()(decoded, [item])
        with self._commit.stamping() as now:
            prepared = prepare(tenant, entries, now, {}, key=key)
            for fault in prepared.faults.values():
                raise fault
            for _, _, error in await self._commit.submit(prepared.records, now):
                raise error
        return ItemResult(0, "accepted", prepared.ids[0], warning=item_error(warning) if warning else None)

    async def _checker(self, scope: TenantScope) -> Checker | None:
        return None if self._catalogues is None else await self._catalogues.checker(scope)

    async def many(self, scope: TenantScope, tenant: Tenant, bulk: Bulk) -> list[ItemResult]:
        """Take each event of a bulk on its own merits; one result for each, in order."""
        entries = await _entries(bulk, self._aside.run())
        checker = await self._checker(scope)
        faults = await _faults(checker, bulk) if checker is not None else {}
        if checker is not None and checker.enforces:
            entries = [
                entry if isinstance(entry, InvalidEvent) else faults.pop(n, entry) for n, entry in enumerate(entries)
            ]
        results: list[ItemResult] = []
        taken: list[int] = []
        records: list[Record] = []
        keys: dict[str, bytes] = {}
        with self._commit.stamping() as now:
            for start in range(0, len(entries), _SLICE):
                run = entries[start : start + _SLICE]
                prepared = prepare(tenant, run, now, keys, one_line=bulk.is_one_line)
                results += _results(prepared, start, len(run))
                taken += [start + n for n in prepared.places]
                records += prepared.records
                await asyncio.sleep(0)
            failed = await self._commit.submit(records, now) if records else []
        for first, end, error in failed:
            status = "refused" if isinstance(error, Invalid) else "retry"
            for n in taken[first:end]:
                results[n] = ItemResult(n, status, error=item_error(error))
        for n, fault in faults.items():
            if results[n].status == "accepted":
                results[n] = msgspec.structs.replace(results[n], warning=item_error(fault))
        return results


async def _faults(checker: Checker, bulk: Bulk) -> dict[int, InvalidEvent]:
    """What the catalogue says against each event of a bulk that it knows of, by its place."""
    faults: dict[int, InvalidEvent] = {}
    for n, item in enumerate(bulk.items()):
        if len(item) <= MAX_EVENT_BYTES and (fault := checker.fault(item)) is not None:
            faults[n] = fault
        if n % _CHECKED == _CHECKED - 1:
            await asyncio.sleep(0)
    return faults


def _results(prepared: Prepared, start: int, count: int) -> list[ItemResult]:
    """The results of a run of `count` entries that begins at `start`, as if the queue took every record."""
    if not prepared.faults:
        return [ItemResult(n, "accepted", event_id) for n, event_id in enumerate(prepared.ids, start)]
    ids = dict(zip(prepared.places, prepared.ids, strict=True))
    return [
        ItemResult(start + n, "refused", error=item_error(prepared.faults[n]))
        if n in prepared.faults
        else ItemResult(start + n, "accepted", ids[n])
        for n in range(count)
    ]


async def _entries(bulk: Bulk, aside: Run) -> Sequence[Entry]:
    """Each event of a bulk, masked and decoded, or why it is none; raises `Invalid` for the body as a whole."""
    at_once = entries_at_once(bulk)
    if at_once is not None:
        return at_once
    entries: list[Entry] = []
    for items in slices(bulk.items(), _SLICE, _SLICE_BYTES):
        entries += await aside(decoded, items)
        await asyncio.sleep(0)
    return entries


def item_error(error: Exception) -> ItemError:
    """The public form of why an item was not taken."""
    if not isinstance(error, OcelotError):
        return ItemError("dependency_unavailable", "the queue is unavailable", [])
    if isinstance(error, Unavailable):
        return ItemError(error.code, error.public, [])
    return ItemError(error.code, error.message, [msgspec.to_builtins(fault) for fault in error.errors])
