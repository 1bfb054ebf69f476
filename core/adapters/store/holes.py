"""Envelopes that were sealed and have not arrived: found by the gaps in a producer's sequence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import HOLES, RECEIPTS
from core.adapters.store.upserts import insert_once
from core.ports.ledger import Hole

SLACK: Final = 120_000_000
"""Microseconds by which an event may be younger than the making of the envelope after its own says."""
_STRIDE: Final = 1000


@dataclass(frozen=True, slots=True)
class Stretch:
    """The sequences of a producer from `first` to `last`, both included, but for those in `voided`.

    What they hold was accepted from `after` on (microseconds), and before `seen_at` and the slack.
    """

    producer: str
    first: int
    last: int
    voided: Collection[int]
    after: int
    seen_at: int


class Holes:
    """The collection `holes`, one document a run of sequences that was given up, and the receipts."""

    def __init__(self, database: Database) -> None:
        self._holes = database[HOLES]
        self._receipts = database[RECEIPTS]

    async def missing(self, stretch: Stretch) -> list[Hole]:
        """The runs without a receipt."""
        found: list[Hole] = []
        begun: int | None = None
        after = stretch.after
        for start in range(stretch.first, stretch.last + 1, _STRIDE):
            end = min(start + _STRIDE, stretch.last + 1)
            made = await self._made(stretch.producer, start, end)
            for sequence in range(start, end):
                if sequence in made or sequence in stretch.voided:
                    if begun is not None:
                        before = made.get(sequence, stretch.seen_at) + SLACK
                        found.append(Hole(stretch.producer, begun, sequence - 1, after, before))
                        begun = None
                    after = max(after, made.get(sequence, 0))
                elif begun is None:
                    begun = sequence
        if begun is not None:
            found.append(Hole(stretch.producer, begun, stretch.last, after, stretch.seen_at + SLACK))
        return found

    async def give_up(self, stretch: Stretch) -> None:
        """Keep what is missing on record; keeping it again changes nothing."""
        holes = await self.missing(stretch)
        await insert_once(self._holes, [_document(hole) for hole in holes])

    async def given_up(self, start: int, end: int, limit: int) -> list[Hole]:
        """Those that may have held what was accepted in `[start, end)`; what came after all is left out."""
        within = {"before": {"$gte": start + 1}, "after": {"$lt": end}}
        with store_calls(BULK_DEADLINE):
            documents = await self._holes.find(within).sort([("before", 1)]).limit(limit).to_list(None)
        found: list[Hole] = []
        for each in documents:
            first, last, seen_at = int(each["first"]), int(each["last"]), int(each["before"]) - SLACK
            stretch = Stretch(each["producer"], first, last, (), int(each["after"]), seen_at)
            found += await self.missing(stretch)
        return found

    async def _made(self, producer: str, start: int, end: int) -> dict[int, int]:
        bounds = {"producer": producer, "sequence": {"$gte": start, "$lt": end}}
        with store_calls():
            found = self._receipts.find(bounds, {"sequence": 1, "made_at": 1})
            return {int(each["sequence"]): int(each["made_at"]) async for each in found}


def _document(hole: Hole) -> BsonMap:
    return {
        "_id": f"{hole.producer}:{hole.first}",
        "producer": hole.producer,
        "first": hole.first,
        "last": hole.last,
        "after": hole.after,
        "before": hole.before,
    }
