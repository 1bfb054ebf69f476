"""Pages of events in time order: keyset paging by (microseconds, id) over windows of time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pymongo.errors import OperationFailure, PyMongoError

from core.adapters.store.client import DEADLINE, BsonMap, Collection, chunks, store_calls
from core.adapters.store.windows import FIRST_SPAN, windows
from core.errors import Unavailable, UnboundedQuery
from core.ports import Stored, StorePage
from core.query import Position

STORED: Final = dict.fromkeys(("placement", "timestamp", "received_at", "hash", "body", "envelope"), 1)
WHOLE: Final = STORED | {"content": 1}
COUNT_DEADLINE: Final = 2.0
"""Seconds that counting may add to a page; past them `total` is a lower bound."""

PING_DEADLINE: Final = 1.0
_NARROW: Final = {
    "timestamp": "narrow the time with `from` and `to`",
    "received_at": "narrow the time with `received_from` and `received_to`",
}


@dataclass(frozen=True, slots=True)
class Order:
    """By `field` (`timestamp` or `received_at`), ties by id in the same direction."""

    field: str
    descending: bool

    @property
    def sort(self) -> list[tuple[str, int]]:
        direction = -1 if self.descending else 1
        return [(self.field, direction), ("_id", direction)]

    def position(self, event: Stored) -> Position:
        return Position(getattr(event, self.field), event.id)

    def key(self, event: Stored) -> tuple[int, str]:
        return getattr(event, self.field), event.id

    def is_past(self, event: Stored, after: Position) -> bool:
        place = (after.us, after.id)
        return self.key(event) < place if self.descending else self.key(event) > place


def stored_of(document: BsonMap) -> Stored:
    """The event of a document; its numbers are plain ints, which the driver's Int64 is not to an encoder of cursors."""
    content = document.get("content")
    return Stored(
        id=document["_id"],
        placement=document["placement"],
        timestamp=int(document["timestamp"]),
        received_at=int(document["received_at"]),
        hash=bytes(document["hash"]),
        body=document["body"].encode(),
        content=None if content is None else bytes(content),
        envelope=document.get("envelope", ""),
    )


BARE: Final = {"received_at": 1}


def bare_of(document: BsonMap) -> Stored:
    """An event of which only the id and `received_at` were asked for."""
    return Stored(document["_id"], "", 0, int(document["received_at"]), b"", b"")


@dataclass(frozen=True, slots=True)
class Reader:
    """The events of the filter `base` whose `order.field` lies in `span`, `[start, end)` in microseconds."""

    events: Collection
    base: BsonMap
    order: Order
    span: tuple[int, int]
    deadline: float = DEADLINE
    fields: BsonMap = field(default_factory=lambda: STORED)
    made: Callable[[BsonMap], Stored] = stored_of

    @property
    def filters(self) -> bool:
        """Whether more than the tenant and the time narrows what is read, so that a page may be long in coming."""
        return len(self.base) > 1

    async def read(self, after: Position | None, limit: int, now: int, step: int = FIRST_SPAN) -> list[Stored]:
        """The first `limit` events past the position: its ties first, then window by window from `step` on."""
        start, end = self.span
        found: list[Stored] = []
        if after is not None:
            if start <= after.us < end:
                await self._more(found, self._ties(after), limit)
            start, end = (start, min(end, after.us)) if self.order.descending else (max(start, after.us + 1), end)
        for low, high in windows(start, end, now, descending=self.order.descending, span=step):
            if len(found) >= limit:
                break
            await self._more(found, {self.order.field: {"$gte": low, "$lt": high}}, limit)
        return found

    async def page(self, after: Position | None, limit: int, bound: int, now: int) -> StorePage:
        """`EventStore.find`."""
        try:
            with store_calls(self.deadline):
                found = await self.read(after, limit, now)
        except Unavailable as error:
            if self.filters and await self._is_alive_after(error):
                raise UnboundedQuery(f"too much to look through in the store: {_NARROW[self.order.field]}") from error
            raise
        if after is None and len(found) < limit:
            return _page(found, len(found), bound)
        total = await self._count(bound)
        if total is None:
            return StorePage(found, min(len(found), bound), total_exact=False)
        return _page(found, total, bound)

    async def named_page(self, after: Position | None, limit: int, bound: int) -> StorePage:
        """The page when `base` names its ids: a query holds at most 256, so all are read and then sorted here."""
        found: list[Stored] = []
        with store_calls():
            for chunk in chunks(self.base["_id"]["$in"]):
                asked = self.base | {"_id": {"$in": list(chunk)}} | self._within()
                found.extend(map(stored_of, await self.events.find(asked, STORED).to_list(None)))
        found.sort(key=self.order.key, reverse=self.order.descending)
        rest = [event for event in found if after is None or self.order.is_past(event, after)]
        return _page(rest[:limit], len(found), bound)

    async def _more(self, found: list[Stored], bounds: BsonMap, limit: int) -> None:
        left = limit - len(found)
        if self.filters:
            first: list[BsonMap] = [{"$sort": dict(self.order.sort)}, {"$limit": left}, {"$project": self.fields}]
            documents = await self.events.aggregate(self._matching(bounds) + first).to_list(None)
        else:
            [within] = self._matching(bounds)
            documents = (
                await self.events.find(within["$match"], self.fields).sort(self.order.sort).limit(left).to_list(None)
            )
        found.extend(map(self.made, documents))

    async def _count(self, bound: int) -> int | None:
        """How many match, counted up to one past `bound`; None when that takes too long.

        SecantusDB counts about 30,000 a second, and a page should not fail for its total.
        """
        try:
            with store_calls(COUNT_DEADLINE):
                counting = [*self._matching(self._within()), {"$limit": bound + 1}, {"$count": "n"}]
                return sum([int(each["n"]) for each in await self.events.aggregate(counting).to_list(None)])
        except Unavailable as error:
            if isinstance(error.__cause__, PyMongoError) and error.__cause__.timeout:
                return None
            raise

    async def _is_alive_after(self, error: Unavailable) -> bool:
        """Whether the store passed the deadline over this query alone, and answers another call."""
        cause = error.__cause__
        if not (isinstance(cause, PyMongoError) and cause.timeout):
            return False
        if not isinstance(cause, OperationFailure):  # that is the store's own word
            try:
                with store_calls(PING_DEADLINE):
                    await self.events.database.command("ping")
            except Unavailable:
                return False
        return True

    def _matching(self, bounds: BsonMap) -> list[BsonMap]:
        """The stages that find what is within the bounds and meets the filter.

        Two, for SecantusDB looks through the whole collection when anything stands beside the keys of an index: 300 ms
        a window for 3,000 events, 2 ms so. MongoDB makes one of the two before it plans.
        """
        # In the order of the index's keys: a range on another field in between would choose that field's index.
        within = {"$match": {"tenant_id": self.base["tenant_id"]} | bounds}
        rest = {name: asked for name, asked in self.base.items() if name != "tenant_id"}
        return [within, {"$match": rest}] if rest else [within]

    def _within(self) -> BsonMap:
        return {self.order.field: {"$gte": self.span[0], "$lt": self.span[1]}}

    def _ties(self, after: Position) -> BsonMap:
        return {self.order.field: after.us, "_id": {"$lt" if self.order.descending else "$gt": after.id}}


def _page(events: list[Stored], total: int, bound: int) -> StorePage:
    return StorePage(events, min(total, bound), total_exact=total <= bound)
