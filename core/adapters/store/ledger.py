"""The ledger of envelopes in MongoDB: `Ledger`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core import instant
from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, chunks, store_calls
from core.adapters.store.holes import Holes, Stretch
from core.adapters.store.indexes import OUTBOX, PRODUCERS, REBUILDS, RECEIPTS
from core.adapters.store.upserts import insert_once, upsert
from core.ports import Heartbeat, Hole, Rebuilding, Receipt
from core.ports.ledger import KEPT_FOR

SILENT_AFTER: Final = 60 * 1_000_000
"""Microseconds without a sign of life after which a complete producer counts as gone."""
FORGOTTEN_AFTER: Final = 600 * 1_000_000
"""The same for one that is seen for the first time: no clock is wrong by so much."""
STILL: Final = 5 * 1_000_000
"""How long a producer that beats every second has to be seen unchanged before it counts as silent."""
_STRIDE: Final = 1000


@dataclass(frozen=True, slots=True)
class _Producer:
    id: str
    sealed: int
    """The highest sequence known to be sealed, from a heartbeat or a receipt."""
    at: int
    """Of the latest heartbeat."""
    frontier: int
    """Every sequence up to here is settled or voided."""
    frontier_at: int
    """What was accepted before this moment has a sequence up to `frontier`."""
    voided: frozenset[int]
    ended: bool

    @property
    def complete(self) -> bool:
        return self.frontier >= self.sealed

    @property
    def seen_at(self) -> int:
        return max(self.at, self.frontier_at)


class MongoLedger:
    """The collections `receipts`, `producers`, `rebuilds` and `holes`.

    The watermark, and why it never claims too much. A producer gives an envelope its sequence when it seals it, sends
    it, and says 202 when the queue has it: an event accepted before T is in an envelope that was sealed before T.

    1. A heartbeat (sequence n, at t) reads t before n. So what was accepted before t has a sequence up to n. Once the
       frontier has reached n and every other sequence known to be sealed, all of it is settled: complete through t.
    2. Else let f be the frontier. Sequences are sealed in order, so what has a sequence above f was sealed no earlier
       than f + 1. If the receipt of f + 1 is there (too young to be settled), its `made_at` bounds the mark. If it is
       not, the receipt of a later envelope proves nothing about f + 1, and `frontier_at` bounds the mark: the
       `made_at` of f itself, or a heartbeat of case 1.
    3. Facts of the kind "accepted before a means sequence up to b" stay true when b grows, and each producer's
       document only ever grows (`$max`): heartbeats out of order and several consumers advancing at once do no harm.
    4. Events in the outbox are stored but cannot be found: the tenant's oldest bounds the tenant's mark. It is read
       after the frontiers: an entry is durable before its envelope's receipt, so whoever sees the receipt counted
       sees the entry, or the event is indexed by now.
    5. A complete producer that said that it ended, or has been silent for a minute, is gone and no longer bounds the
       mark, an incomplete one does until `give_up`. Silent is not who has another time: one that looks silent by the
       clock here, but whose heartbeats are seen to come, goes on to bound the mark. For one that crashed, envelopes
       sealed after its last heartbeat are unknown until a receipt names them: this trusts the queue to deliver within
       that minute.

    A producer beats once, with sequence 0, before it seals its first envelope, or it is unknown until its first
    receipt. Its clock must not run backwards; other producers' clocks do not matter, as each bounds the mark by its
    own. Receipts are kept for `KEPT_FOR`.
    """

    def __init__(self, database: Database, clock: Callable[[], int] = instant.now_us) -> None:
        self._receipts = database[RECEIPTS]
        self._producers = database[PRODUCERS]
        self._outbox = database[OUTBOX]
        self._rebuilds = database[REBUILDS]
        self._holes = Holes(database)
        self._clock = clock
        self._unchanged: dict[str, tuple[int, int]] = {}
        """Of producers that look silent: their last sign of life, and since when (here) it has been the last."""

    async def beat(self, heartbeat: Heartbeat) -> None:
        change: BsonMap = {
            "$max": {"sealed": heartbeat.sequence, "at": heartbeat.at},
            # Before the first envelope, nothing can have been accepted.
            "$setOnInsert": {"frontier": 0, "frontier_at": 0 if heartbeat.sequence else heartbeat.at},
        }
        if heartbeat.voided:
            change["$addToSet"] = {"voided": {"$each": list(heartbeat.voided)}}
        if heartbeat.ended:
            change["$max"]["ended_at"] = heartbeat.at
            change["$set"] = {"ended": True}  # what older processes go by
        await upsert(self._producers, heartbeat.producer, change)

    async def record(self, receipts: Sequence[Receipt]) -> None:
        """First that the envelopes are sealed, then that they arrived: in between, the mark is held back."""
        sealed: dict[str, int] = {}
        old = self._clock() - KEPT_FOR
        for receipt in receipts:
            if receipt.made_at >= old:  # of an older one the producer is known, or was forgotten
                sealed[receipt.producer] = max(receipt.sequence, sealed.get(receipt.producer, 0))
        new = {"at": 0, "frontier": 0, "frontier_at": 0}
        for producer, sequence in sealed.items():
            await upsert(self._producers, producer, {"$max": {"sealed": sequence}, "$setOnInsert": new})
        await insert_once(self._receipts, [_document(receipt) for receipt in receipts])

    async def advance(self, settled_before: int) -> None:
        for producer in await self._known():
            frontier, frontier_at = await self._reach(producer, settled_before)
            if frontier >= producer.sealed:
                frontier_at = max(frontier_at, producer.at)
            if (frontier, frontier_at) == (producer.frontier, producer.frontier_at):
                continue
            change: BsonMap = {"$max": {"frontier": frontier, "frontier_at": frontier_at}}
            if producer.voided:
                change["$pull"] = {"voided": {"$lte": frontier}}
            with store_calls():
                await self._producers.update_one({"_id": producer.id}, change)

    async def give_up(self, silent_since: int) -> None:
        for producer in await self._known():
            if not producer.complete and producer.seen_at < silent_since:
                await self._holes.give_up(_open(producer))
                with store_calls():
                    # Only what was known to be sealed: a receipt that names a later one opens the hole again.
                    await self._producers.update_one({"_id": producer.id}, {"$max": {"frontier": producer.sealed}})

    async def prune(self) -> None:
        before = self._clock() - KEPT_FOR
        known = await self._known()
        await self._prune_receipts(before, {producer.id: producer.frontier for producer in known})
        for producer in known:
            if producer.complete and producer.seen_at < before:
                as_read = {name: getattr(producer, name) for name in ("at", "sealed", "frontier", "frontier_at")}
                with store_calls():
                    await self._producers.delete_one({"_id": producer.id, **as_read})

    async def holes(self, start: int, end: int, limit: int) -> list[Hole]:
        found = await self._holes.given_up(start, end, limit)
        for producer in await self._known():
            if not producer.complete and len(found) < limit:
                found += [h for h in await self._holes.missing(_open(producer)) if h.after < end and h.before > start]
        return found[:limit]

    async def complete_through(self, tenant_id: str) -> int | None:
        producers = await self._known()
        if not producers:
            return None
        now = self._clock()
        holding = [p for p in producers if not p.complete or not (p.ended or self._is_silent(p, now))]
        mark = await self._least(holding) if holding else max(p.seen_at for p in producers)
        oldest = await self._oldest_in_outbox(tenant_id)
        # The driver's own kind of int goes no further: no codec knows it.
        return int(mark if oldest is None else min(mark, oldest))

    async def delivered_through(self) -> int | None:
        now = self._clock()
        alive = [p for p in await self._known() if not p.ended and now - p.seen_at <= SILENT_AFTER]
        return int(await self._least(alive)) if alive else None

    async def _least(self, producers: list[_Producer]) -> int:
        """The moment before which all that any of these sealed is settled."""
        next_made = await self._next_made([p for p in producers if not p.complete])
        return min(p.seen_at if p.complete else max(p.frontier_at, next_made.get(p.id, 0)) for p in producers)

    def _is_silent(self, producer: _Producer, now: int) -> bool:
        age = now - producer.seen_at
        if age <= SILENT_AFTER or age > FORGOTTEN_AFTER:
            self._unchanged.pop(producer.id, None)
            return age > SILENT_AFTER
        seen_at, since = self._unchanged.get(producer.id, (0, 0))
        if seen_at != producer.seen_at:
            self._unchanged[producer.id] = producer.seen_at, now
            return False
        return now - since >= STILL

    async def rebuilding(self, tenant_id: str) -> Rebuilding:
        with store_calls():
            found = {d["_id"]: d async for d in self._rebuilds.find({"_id": {"$in": [tenant_id, _beside(tenant_id)]}})}
        if tenant_id in found:
            return Rebuilding.BEHIND
        beside = found.get(_beside(tenant_id))
        # Of a job that was killed, the mark goes by itself.
        return Rebuilding.BESIDE if beside is not None and beside["until"] > self._clock() else Rebuilding.NO

    async def set_rebuilding(self, tenant_id: str, running: bool) -> None:
        if running:
            await insert_once(self._rebuilds, [{"_id": tenant_id, "since": self._clock()}])
            return
        with store_calls():
            await self._rebuilds.delete_one({"_id": tenant_id})

    async def set_rebuilding_beside(self, tenant_id: str, until: int | None) -> None:
        if until is not None:
            await upsert(self._rebuilds, _beside(tenant_id), {"$set": {"until": until}})
            return
        with store_calls():
            await self._rebuilds.delete_one({"_id": _beside(tenant_id)})

    async def arrived(self, tenant_id: str, *, since: int, made_before: int) -> list[int]:
        asked = {"done_at": {"$gte": since}, "made_at": {"$lt": made_before}, f"events.{tenant_id}": {"$exists": True}}
        with store_calls(BULK_DEADLINE):
            return sorted([int(d["made_at"]) async for d in self._receipts.find(asked, {"made_at": 1})])

    async def _known(self) -> list[_Producer]:
        with store_calls():
            documents = await self._producers.find().to_list(None)
        return [
            _Producer(
                id=d["_id"],
                sealed=d["sealed"],
                at=d["at"],
                frontier=d["frontier"],
                frontier_at=d["frontier_at"],
                voided=frozenset(d.get("voided", ())),
                ended=d["ended_at"] >= d["at"] if "ended_at" in d else d.get("ended", False),
            )
            for d in documents
        ]

    async def _reach(self, producer: _Producer, settled_before: int) -> tuple[int, int]:
        """The frontier that the receipts allow, and the `made_at` of the last envelope that it passed."""
        frontier, frontier_at = producer.frontier, producer.frontier_at
        while frontier < producer.sealed:
            first = frontier + 1
            bounds = {"producer": producer.id, "sequence": {"$gte": first, "$lt": first + _STRIDE}}
            with store_calls():
                receipts = {d["sequence"]: d async for d in self._receipts.find(bounds)}
            for sequence in range(first, first + _STRIDE):
                receipt = receipts.get(sequence)
                if receipt is not None and receipt["done_at"] < settled_before:
                    frontier_at = max(frontier_at, receipt["made_at"])
                elif sequence not in producer.voided:
                    return frontier, frontier_at
                frontier = sequence
        return frontier, frontier_at

    async def _prune_receipts(self, before: int, frontiers: Mapping[str, int]) -> None:
        """Those done before that moment, but for what lies behind a hole."""
        since, fields = 0, {"producer": 1, "sequence": 1, "done_at": 1}
        while True:
            asked = {"done_at": {"$gte": since, "$lt": before}}
            with store_calls(BULK_DEADLINE):
                page = await self._receipts.find(asked, fields).sort([("done_at", 1)]).limit(_STRIDE).to_list(None)
            gone = [d["_id"] for d in page if d["sequence"] <= frontiers.get(d["producer"], d["sequence"])]
            for chunk in chunks(gone):
                with store_calls(BULK_DEADLINE):
                    await self._receipts.delete_many({"_id": {"$in": list(chunk)}})
            if len(page) < _STRIDE:
                return
            since = page[-1]["done_at"] + (0 if gone else 1)

    async def _next_made(self, producers: list[_Producer]) -> dict[str, int]:
        """When the envelope right after each frontier was made, where its receipt tells."""
        wanted = [f"{p.id}:{p.frontier + 1}" for p in producers]
        found: dict[str, int] = {}
        with store_calls():
            for chunk in chunks(wanted):
                async for document in self._receipts.find({"_id": {"$in": list(chunk)}}):
                    found[document["producer"]] = document["made_at"]
        return found

    async def _oldest_in_outbox(self, tenant_id: str) -> int | None:
        own = {"tenant_id": tenant_id}
        with store_calls(BULK_DEADLINE):
            found = await self._outbox.find(own, {"received_at": 1}).sort([("received_at", 1)]).limit(1).to_list(None)
        return found[0]["received_at"] if found else None


def _open(producer: _Producer) -> Stretch:
    """All that the producer has sealed and that is not settled."""
    first, voided, after = producer.frontier + 1, producer.voided, producer.frontier_at
    return Stretch(producer.id, first, producer.sealed, voided, after, producer.seen_at)


def _beside(tenant_id: str) -> str:
    return f"{tenant_id}:beside"


def _document(receipt: Receipt) -> BsonMap:
    return {
        "_id": f"{receipt.producer}:{receipt.sequence}",
        "producer": receipt.producer,
        "sequence": receipt.sequence,
        "envelope": receipt.envelope,
        "made_at": receipt.made_at,
        "events": receipt.events,
        "done_at": receipt.done_at,
    }
