"""Taking events in: prepare them and hand them over to group commit, with a result for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from core import event, instant
from core.aside import Aside
from core.bulk import Bulk
from core.catalogue import CatalogueCache, Checker
from core.commit import GroupCommit
from core.envelope import Record
from core.errors import Invalid, InvalidEvent, OcelotError, Unavailable
from core.event import MAX_EVENT_BYTES, MAX_LINE_BYTES
from core.event_faults import too_large
from core.masking.own import Maskers, OwnMasker
from core.prepare import Entry, decoded, encoded, entries_at_once, stamped
from core.quarantine.intake import Fault, Intake
from core.quarantine.replays import Replays
from core.tenant import Tenant, TenantScope
from core.tenant_settings import MaskingRule

_INDEX: Final = attrgetter("index")
# How many events are decoded one by one before the loop gets a turn.
_TURN: Final = 500
# How many events are checked by a catalogue before the loop gets a turn: 1 ms of work, for most schemas.
_CHECKED: Final = 50


class ItemError(msgspec.Struct, frozen=True, gc=False):
    """Why one event was not taken."""

    code: str
    message: str
    errors: list[dict[str, Any]]


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What became of the event at `index`: `accepted` (durable), `refused` (it is at fault), `retry` (send again),
    or `quarantined` (at fault, and kept durably; `id` is its item's in the quarantine)."""

    index: int
    status: str
    id: str | None = None
    error: ItemError | None = None
    warning: ItemError | None = None
    """What the catalogue would refuse the event for, if it did not only warn."""


class Preview(NamedTuple):
    """A masked event as JSON, without its stamps."""

    line: bytes
    by_default: bool
    """Whether the default rules masked something."""
    changes: dict[int, int]
    """How many places each of the tenant's rules changed, by its place among them."""


class Ingest:
    """Takes events of any tenant. One a process; `tenant` is always the one that the scope was made for.

    Without `catalogues` nothing is checked by any.
    """

    def __init__(self, commit: GroupCommit, catalogues: CatalogueCache | None = None) -> None:
        self._commit = commit
        self._catalogues = catalogues
        self._aside = Aside()
        self._maskers = Maskers()
        self._intake = Intake(commit, self._aside, self._maskers)
        self.replays = Replays(commit, self._aside, self._maskers, self._checker)

    async def one(self, scope: TenantScope, tenant: Tenant, item: bytes, key: str | None) -> ItemResult:
        """Take one event; its result once it is durable. Raises what is wrong with it, or with the queue."""
        checker = await self._checker(scope)
        warning = checker.fault(item) if checker is not None else None
        if checker is not None and warning is not None and checker.enforces:
            raise warning
        own = self._maskers.of(tenant)
        with self._commit.stamping() as now:
            [run] = encoded([event.decode(item)], now, key=key)
            await self._aside.mask(run.lines, own)
            prepared = stamped(tenant, run, now, {})
            for fault in prepared.faults.values():
                raise fault
            for _, _, error in await self._commit.submit(prepared.records, now):
                raise error
        return ItemResult(0, "accepted", prepared.ids[0], warning=item_error(warning) if warning else None)

    async def refused(self, tenant: Tenant, item: bytes, key: str | None, fault: InvalidEvent) -> ItemResult:
        """What becomes of a lone event at fault: it is kept where its tenant has chosen so, else `fault` is raised."""
        if not tenant.quarantine:
            raise fault
        error = item_error(fault)
        [kept] = await self._intake.keep(tenant, [Fault(item, error.code, error.errors, key)])
        if isinstance(kept, Exception):
            raise kept
        if kept is None:
            raise fault
        return ItemResult(0, "quarantined", kept, error)

    async def _keep(self, tenant: Tenant, bulk: Bulk, results: list[ItemResult]) -> None:
        """Into the quarantine with what was refused of a bulk."""
        refused = [result for result in results if result.status == "refused" and result.error is not None]
        if not refused:
            return
        items = bulk.items()
        faults = [Fault(items[each.index], each.error.code, each.error.errors) for each in refused if each.error]
        for result, kept in zip(refused, await self._intake.keep(tenant, faults), strict=True):
            if isinstance(kept, str):
                results[result.index] = ItemResult(result.index, "quarantined", kept, result.error)
            elif kept is not None and not isinstance(kept, Invalid):
                results[result.index] = ItemResult(result.index, "retry", error=item_error(kept))

    async def preview(self, tenant: Tenant, rules: Sequence[MaskingRule], item: bytes) -> Preview:
        """What `one` would make of an event by these masking rules; raises what is wrong with it, or with them."""
        # In a thread: nobody knows yet how long these take.
        own = await asyncio.to_thread(OwnMasker, rules, tenant.secret)
        [run] = encoded([event.decode(item)], instant.now_us())
        for fault in run.faults.values():
            raise fault
        [line] = run.lines
        await self._aside.mask(run.lines)
        masked = await asyncio.to_thread(own.masked, run.lines[0])
        if (size := len(masked.item) - 1) > MAX_LINE_BYTES:
            raise too_large(size)
        return Preview(masked.item, run.lines[0] != line, masked.changes)

    async def _checker(self, scope: TenantScope) -> Checker | None:
        return None if self._catalogues is None else await self._catalogues.checker(scope)

    async def many(
        self, scope: TenantScope, tenant: Tenant, bulk: Bulk, admit: Callable[[int], None] | None = None
    ) -> list[ItemResult]:
        """Take each event of a bulk on its own merits; one result for each, in order.

        `admit` is told how many there are before any is taken, and may raise.
        """
        entries = await _entries(bulk)
        if admit is not None:
            admit(len(entries))
        checker = await self._checker(scope)
        faults = await _faults(checker, bulk) if checker is not None else {}
        if checker is not None and checker.enforces:
            entries = [
                entry if isinstance(entry, InvalidEvent) else faults.pop(n, entry) for n, entry in enumerate(entries)
            ]
        results: list[ItemResult] = []
        records: list[Record] = []
        places: list[int] = []
        keys: dict[str, bytes] = {}
        own = self._maskers.of(tenant)
        with self._commit.stamping() as now:
            for run in encoded(entries, now):
                await self._aside.mask(run.lines, own)
                prepared = stamped(tenant, run, now, keys)
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
        for n, fault in faults.items():
            if results[n].status == "accepted":
                results[n] = msgspec.structs.replace(results[n], warning=item_error(fault))
        if tenant.quarantine:
            await self._keep(tenant, bulk, results)
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


def _refused(place: int, fault: InvalidEvent) -> ItemResult:
    return ItemResult(place, "refused", error=item_error(fault))


async def _entries(bulk: Bulk) -> Sequence[Entry]:
    """Each event of a bulk, decoded, or why it is none; raises `Invalid` for the body as a whole."""
    at_once = entries_at_once(bulk)
    if at_once is not None:
        return at_once
    entries: list[Entry] = []
    for item in bulk.items():
        entries.append(decoded(item, is_utf8=bulk.is_utf8))
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
