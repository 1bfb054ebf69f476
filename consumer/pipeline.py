"""One batch of messages on its way: decode, store, index what the store holds, account for it.

Every step may be repeated: the store knows each event by its id and the index by the same, so a message that comes
again changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from consumer.accounting import Aside, Loose, accounts_of
from consumer.parked import parked, parked_row
from consumer.reach import Reach
from core import envelope, instant, telemetry, tracing
from core.envelope import Header, Record
from core.errors import Invalid, Unavailable, UndecodableEnvelope, as_value
from core.ports import (
    Account,
    Accounts,
    EventIndex,
    EventStore,
    IndexDocument,
    IndexOutcome,
    InsertOutcome,
    Ledger,
    Outbox,
    OutboxEntry,
    Parked,
    Parking,
    Quarantine,
    Quarantined,
    Receipt,
    StoreRow,
)
from core.ports.pending import NOT_INDEXABLE
from core.quarantine.intake import kept_in
from core.quarantine.keeping import conflict_of
from core.rows import received_at, row_of
from core.tenant import for_system
from core.tombstones import Buried, TombstoneSource

log = logging.getLogger(__name__)
# With osmem a bulk of 500 real events takes under a second, far from its deadline of 15.
INDEX_BATCH: Final = 500
INDEX_AT_ONCE: Final = 2
WRITES_BEGIN_WITHIN: Final = 20.0
"""Seconds from the reading of the tombstones, after which they are read again: longer than an insert may take, shorter
than a deletion waits for batches that began without its tombstone. A process that stood still is past it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message's bytes and how often it came."""

    body: bytes
    receives: int


@dataclass(slots=True)
class _Work:
    """What a batch holds, as it is sorted out."""

    buried: Buried
    good_until: float
    """On the clock: from then on nothing more is written by these tombstones."""
    headers: list[Header] = field(default_factory=list)
    rows: list[StoreRow] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    to_index: dict[tuple[str, str], list[IndexDocument]] = field(default_factory=lambda: defaultdict(list))
    spans: list[tuple[int, int]] = field(default_factory=list)
    """From where to where the rows of each of `headers` stand."""
    aside: dict[int, Aside] = field(default_factory=dict)
    """Which rows were not stored, by their place."""
    loose: dict[int, list[Loose]] = field(default_factory=lambda: defaultdict(list))
    """Records that made no row, by the place of their header."""
    tenants: list[set[str]] = field(default_factory=list)
    """Whose events each of `headers` came with."""
    waiting: dict[str, Unavailable] = field(default_factory=dict)
    """The tenants with events that the index must be asked for again, and why."""


class Pipeline:
    """Processes deliveries; `clock` is monotonic seconds."""

    def __init__(
        self,
        *,
        store: EventStore,
        index: EventIndex,
        parking: Parking,
        quarantine: Quarantine,
        outbox: Outbox,
        ledger: Ledger,
        accounts: Accounts,
        tombstones: TombstoneSource,
        index_patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._index = index
        self._parking = parking
        self._quarantine = quarantine
        self._outbox = outbox
        self._ledger = ledger
        self._accounts = accounts
        self._tombstones = tombstones
        self._clock = clock
        self.reach = Reach(index_patience, clock)
        self._index_slots = asyncio.Semaphore(INDEX_AT_ONCE)

    async def process(self, deliveries: Sequence[Delivery]) -> list[Exception | None]:
        """One result for each delivery. None: every event in it is stored, and indexed or in the outbox, or parked, or
        in the quarantine, or dropped for a tombstone.

        `Unavailable`: the index does not take the events of a tenant in it. Raises `Unavailable` when a dependency
        keeps the whole batch from going on.
        """
        began = self._clock()
        work = _Work(await self._tombstones.fresh(), began + WRITES_BEGIN_WITHIN)
        results: list[Exception | None] = []
        for delivery in deliveries:
            try:
                self._decode(delivery, work)
                results.append(None)
            except UndecodableEnvelope as error:
                log.error("undecodable envelope, received %d times: %s", delivery.receives, error.message)
                results.append(as_value(error))
        spans = tracing.Consuming([header.trace for header in work.headers])
        with spans.step("store"):
            await self._store_rows(work)
        with spans.step("index"):
            await self._index_all(work)
        if work.parked or work.quarantined:
            await self._still_current(work)
        if work.parked:
            await self._parking.park(work.parked)
        if work.quarantined:
            await self._quarantine.keep(work.quarantined)
            telemetry.CONSUMED.labels("quarantined").inc(len(work.quarantined))
        whole = [next((work.waiting[t] for t in tenants if t in work.waiting), None) for tenants in work.tenants]
        done = [n for n, error in enumerate(whole) if error is None]
        # The books first: whoever sees the receipt counted finds its accounts.
        await self._accounts.write([account for n in done for account in _accounts(work, n)])
        await self._ledger.record([_receipt(work.headers[n]) for n in done])
        spans.end()
        decoded = iter(whole)
        return [next(decoded) if result is None else result for result in results]

    def _decode(self, delivery: Delivery, work: _Work) -> None:
        header, sent = envelope.unpack(delivery.body)
        records = work.buried.kept(sent)
        names_persons = work.buried.names_persons
        dropped = [] if len(records) == len(sent) else work.buried.dropped(sent)
        work.headers.append(header)
        work.tenants.append({record.tenant_id for record in records})
        first = len(work.rows)
        for record in records:
            try:
                row = row_of(record, header.id)
                if names_persons and work.buried.covers(row):
                    dropped.append(row.tenant_id)
                else:
                    work.rows.append(row)
            except Invalid as error:
                if (kept := kept_in(record)) is not None:
                    work.quarantined.append(Quarantined(record.tenant_id, kept))
                    work.loose[len(work.headers) - 1].append((record.tenant_id, kept.at, Aside.QUARANTINED))
                    continue
                work.loose[len(work.headers) - 1].append((record.tenant_id, header.made_at, Aside.PARKED))
                work.parked.append(
                    parked(
                        record,
                        "undecodable_event",
                        error.message,
                        envelope_id=header.id,
                        attempts=delivery.receives,
                    )
                )
        work.spans.append((first, len(work.rows)))
        if dropped:
            telemetry.CONSUMED.labels("erased").inc(len(dropped))
            # The receipt tells of what is kept alone.
            left = Counter(header.events) - Counter(dropped)
            work.headers[-1] = msgspec.structs.replace(header, events=dict(left))

    async def _store_rows(self, work: _Work) -> None:
        if not work.rows:
            return
        await self._still_current(work)
        with telemetry.BATCH_SECONDS.labels("store").time():
            outcomes = await self._store.insert(work.rows)
        duplicates: dict[str, list[int]] = defaultdict(list)
        for n, (row, outcome) in enumerate(zip(work.rows, outcomes, strict=True)):
            if outcome is InsertOutcome.STORED:
                work.to_index[row.tenant_id, row.placement].append(IndexDocument(row.id, row.body))
            elif outcome is InsertOutcome.DUPLICATE:
                duplicates[row.tenant_id].append(n)
            else:
                is_conflict = outcome is InsertOutcome.CONFLICT
                work.aside[n] = Aside.QUARANTINED if is_conflict else Aside.PARKED
                if is_conflict:
                    kept = conflict_of(row.tenant_id, row.id, row.body, row.received_at)
                    work.quarantined.append(Quarantined(row.tenant_id, kept))
                else:
                    work.parked.append(parked_row(row, "not_storable", str(outcome)))
        _count(outcomes)
        for tenant_id, places in duplicates.items():
            # The stored one wins: its bytes, not those that came again, go to the index.
            rows = [work.rows[n] for n in places]
            found = await self._store.fetch(for_system(tenant_id, "consume"), [row.id for row in rows])
            for stored in found.values():
                work.to_index[tenant_id, stored.placement].append(IndexDocument(stored.id, stored.body))
            for n, row in zip(places, rows, strict=True):
                # What this very envelope has stored, when it came before, is no retry.
                own = found.get(row.id)
                if own is None or (own.envelope, own.hash) != (row.envelope, row.hash):
                    work.aside[n] = Aside.DUPLICATES

    async def _index_all(self, work: _Work) -> None:
        jobs = [
            self._index_batch(work, tenant_id, placement, documents[start : start + INDEX_BATCH])
            for (tenant_id, placement), documents in work.to_index.items()
            for start in range(0, len(documents), INDEX_BATCH)
        ]
        failures = [e for e in await asyncio.gather(*jobs, return_exceptions=True) if isinstance(e, BaseException)]
        if failures:
            raise failures[0]

    async def _index_batch(
        self, work: _Work, tenant_id: str, placement: str, documents: Sequence[IndexDocument]
    ) -> None:
        if self.reach.gives_up(tenant_id, placement):
            await self._still_current(work)
            await self._to_outbox(tenant_id, placement, documents)
            return
        try:
            async with self._index_slots:
                await self._still_current(work)
                with telemetry.BATCH_SECONDS.labels("index").time():
                    outcomes = await self._index.index(for_system(tenant_id, "consume"), placement, documents)
        except Unavailable as error:
            if error.dependency != "index":
                raise
            if self.reach.failed(tenant_id, placement, error):
                await self._to_outbox(tenant_id, placement, documents)
            else:
                work.waiting[tenant_id] = as_value(error)
            return
        self.reach.answers(tenant_id, placement)
        for document, outcome in zip(documents, outcomes, strict=True):
            if isinstance(outcome, IndexOutcome):
                continue
            record = Record(tenant_id, placement, document.body)
            work.parked.append(parked(record, NOT_INDEXABLE, str(outcome), event_id=document.id))

    async def _still_current(self, work: _Work) -> None:
        """Raise when the tombstones have changed and the batch began long ago: what was erased would come back.

        It took long, or this process stood still. The batch comes again, to whoever has read them anew.
        """
        now = self._clock()
        if now >= work.good_until:
            if await self._tombstones.fresh() is not work.buried:
                raise Unavailable("store", "something was erased since the tombstones were read: the batch goes back")
            work.good_until = now + WRITES_BEGIN_WITHIN

    async def _to_outbox(self, tenant_id: str, placement: str, documents: Sequence[IndexDocument]) -> None:
        await self._outbox.add([OutboxEntry(d.id, tenant_id, placement, received_at(d.body)) for d in documents])


def _count(outcomes: Sequence[InsertOutcome | Exception]) -> None:
    if (stored := outcomes.count(InsertOutcome.STORED)) == len(outcomes):
        telemetry.CONSUMED.labels(InsertOutcome.STORED).inc(stored)
        return
    for name in InsertOutcome:
        if number := outcomes.count(name):
            telemetry.CONSUMED.labels(name).inc(number)
    if number := sum(isinstance(outcome, Exception) for outcome in outcomes):
        telemetry.CONSUMED.labels("parked").inc(number)


def _receipt(header: Header) -> Receipt:
    return Receipt(header.producer, header.sequence, header.id, header.made_at, header.events, instant.now_us())


def _accounts(work: _Work, n: int) -> list[Account]:
    start, end = work.spans[n]
    aside = {place - start: why for place, why in work.aside.items() if start <= place < end} if work.aside else {}
    return accounts_of(work.headers[n], work.rows[start:end], aside, work.loose.get(n, ()))
