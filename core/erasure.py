"""Erasing one person's events: which they are, and asking for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from core.holds import covering_any, held_in
from core.jobs import EXPORT, Job, Json, Progress
from core.ports import Parked, Stored
from core.ports.quarantine import Quarantined
from core.query import OWN, Condition, EventQuery, Match, Position, Range, Value
from core.segments import Segment
from core.tenant import TenantScope
from core.wiring import Backends

MAX_COUNTED: Final = 10_000
_PAGE: Final = 500


class _Named(msgspec.Struct):
    user_id: str | None = None
    action: str = ""


_decode: Final = msgspec.json.Decoder(_Named).decode


def query_of(user_id: str, before: int) -> EventQuery:
    """The person's events accepted before that moment (microseconds), the service's own left out."""
    return EventQuery(
        conditions=(
            Condition("user_id", (Value(user_id),)),
            Condition("action", (Value(OWN, Match.PREFIX),), negated=True),
        ),
        received_at=Range(None, before),
        sort="received_at",
        descending=False,
    )


def is_of(event: Stored, user_id: str, before: int) -> bool:
    """Whether `query_of` finds the event."""
    return event.received_at < before and _is_named(event.body, user_id)


def is_parked_of(parked: Parked, user_id: str, before: int) -> bool:
    """The same for one that was set aside; of one that cannot be read, whether the name is anywhere in it."""
    if parked.received_at is not None and parked.received_at >= before:
        return False
    return _may_be_named(parked.body, user_id)


def is_quarantined_of(item: Quarantined, user_id: str, before: int) -> bool:
    """The same for an item of the quarantine, as it was kept or as it was put right."""
    if item.kept.at >= before:
        return False
    return any(_may_be_named(body, user_id) for body in (item.kept.body, item.body))


def _may_be_named(body: bytes, user_id: str) -> bool:
    try:
        return _is_named(body, user_id)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.encode(user_id)[1:-1] in body


def _is_named(body: bytes, user_id: str) -> bool:
    named = _decode(body)
    return named.user_id == user_id and not named.action.startswith(OWN)


def begun(user_id: str, before: int) -> tuple[Json, Progress]:
    """The spec of a new job, which names nobody, and the progress that it begins with, which only its runner reads."""
    return {"before": before}, Progress(checkpoint={"user_id": user_id})


async def preview(backends: Backends, scope: TenantScope, user_id: str, before: int) -> dict[str, Any]:
    """What erasing the person would do now. `events`: in the log, up to `MAX_COUNTED`; the archive is not read."""
    query = query_of(user_id, before)
    page = await backends.store.find(scope, query, after=None, limit=1, total_bound=MAX_COUNTED)
    hold = await covering_any(await held_in(backends.holds, scope), backends.store, scope, query)
    return {
        "events": page.total,
        "events_exact": page.total_exact,
        "archived_segments_to_read": sum([1 async for _ in segments(backends, scope, before)]),
        "exports_to_remove": sum([1 async for _ in exports(backends, scope, before)]),
        "held_by": None if hold is None else hold.id,
    }


async def segments(backends: Backends, scope: TenantScope, before: int) -> AsyncIterator[Segment]:
    """Those that may hold events accepted before that moment."""
    after: Position | None = None
    while True:
        page = await backends.segments.listing(scope, after=after, limit=_PAGE)
        for segment in page:
            if segment.first.us < before:
                yield segment
        if len(page) < _PAGE:
            return
        after = page[-1].first


async def exports(backends: Backends, scope: TenantScope, before: int) -> AsyncIterator[Job]:
    """Those that were asked for before that moment or are still running, whose files may hold any event."""
    last: str | None = None
    while True:
        page = await backends.jobs.listing(scope, EXPORT, before=last, limit=_PAGE)
        for job in page:
            if job.created_at < before or job.state.active:
                yield job
        if len(page) < _PAGE:
            return
        last = page[-1].id
