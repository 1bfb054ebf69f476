"""The record of archived segments in MongoDB: `core.segments.Segments`."""

from __future__ import annotations

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import SEGMENTS
from core.adapters.store.upserts import insert_once
from core.query import Position
from core.segments import Segment, SegmentState
from core.tenant import TenantScope

_MAX_SPAN = 86_400_000_000
"""A segment ends on the day that it begins on."""


class MongoSegments:
    """The collection `segments`."""

    def __init__(self, database: Database) -> None:
        self._segments = database[SEGMENTS]

    async def add(self, scope: TenantScope, segment: Segment) -> None:
        await insert_once(self._segments, [_document(scope, segment)])

    async def get(self, scope: TenantScope, segment_id: str) -> Segment | None:
        with store_calls():
            found = await self._segments.find_one({"_id": segment_id, "tenant_id": scope.tenant_id})
        return None if found is None else _segment(found)

    async def listing(
        self, scope: TenantScope, *, state: SegmentState | None = None, after: Position | None, limit: int
    ) -> list[Segment]:
        asked: BsonMap = {"tenant_id": scope.tenant_id}
        if after is not None:
            # Two events of one moment may each begin a segment.
            asked["$or"] = [{"first_at": {"$gte": after.us + 1}}, {"first_at": after.us, "first_id": {"$gt": after.id}}]
        if state is not None:
            asked["state"] = state.value
        with store_calls():
            order = [("first_at", 1), ("first_id", 1)]
            found = await self._segments.find(asked).sort(order).limit(limit).to_list(None)
        return [_segment(document) for document in found]

    async def within(self, scope: TenantScope, start: int, end: int) -> list[Segment]:
        asked = {"tenant_id": scope.tenant_id, "first_at": {"$gte": start - _MAX_SPAN, "$lt": end}}
        with store_calls(BULK_DEADLINE):
            found = await self._segments.find(asked).sort([("first_at", 1), ("first_id", 1)]).to_list(None)
        return [segment for segment in map(_segment, found) if segment.last.us >= start]

    async def mark(
        self, scope: TenantScope, segment_id: str, state: SegmentState, *, restored_until: int | None = None
    ) -> None:
        change = {"state": state.value, "restored_until": restored_until}
        with store_calls():
            await self._segments.update_one({"_id": segment_id, "tenant_id": scope.tenant_id}, {"$set": change})

    async def replace(self, scope: TenantScope, old: Segment, new: Segment | None) -> None:
        if new is not None:
            await self.add(scope, new)
        with store_calls():
            await self._segments.delete_one({"_id": old.id, "tenant_id": scope.tenant_id})

    async def due(self, now: int) -> list[str]:
        asked = {"restored_until": {"$gte": 0, "$lt": now}, "state": SegmentState.RESTORED.value}
        with store_calls():
            found = await self._segments.find(asked, {"tenant_id": 1}).to_list(None)
        return sorted({document["tenant_id"] for document in found})

    async def forget(self, scope: TenantScope) -> None:
        with store_calls(BULK_DEADLINE):
            await self._segments.delete_many({"tenant_id": scope.tenant_id})


def _document(scope: TenantScope, segment: Segment) -> BsonMap:
    return {
        "_id": segment.id,
        "tenant_id": scope.tenant_id,
        "placement": segment.placement,
        "name": segment.name,
        "first_at": segment.first.us,
        "first_id": segment.first.id,
        "last_at": segment.last.us,
        "last_id": segment.last.id,
        "events": segment.events,
        "bytes": segment.bytes,
        "size": segment.size,
        "sha256": segment.sha256,
        "archived_at": segment.archived_at,
        "left": segment.left,
        "state": segment.state.value,
        "restored_until": segment.restored_until,
        "hours": [[hour, count] for hour, count in segment.hours.items()],
    }


def _segment(document: BsonMap) -> Segment:
    until = document["restored_until"]
    return Segment(
        id=document["_id"],
        tenant_id=document["tenant_id"],
        placement=document["placement"],
        name=document["name"],
        first=Position(int(document["first_at"]), document["first_id"]),
        last=Position(int(document["last_at"]), document["last_id"]),
        events=int(document["events"]),
        bytes=int(document["bytes"]),
        size=int(document["size"]),
        sha256=document["sha256"],
        archived_at=int(document["archived_at"]),
        left=int(document["left"]),
        state=SegmentState(document["state"]),
        restored_until=None if until is None else int(until),
        hours={int(hour): int(count) for hour, count in document["hours"]},
    )
