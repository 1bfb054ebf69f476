"""What a batch parks: the record of one event that can't be stored or indexed, for an operator to look at."""

from __future__ import annotations

import hashlib

from core import instant
from core.envelope import Record
from core.ports import Parked, StoreRow
from core.rows import received_at


def parked_row(row: StoreRow, reason: str, detail: str) -> Parked:
    record = Record(row.tenant_id, row.placement, row.body, row.content)
    return parked(record, reason, detail, event_id=row.id, envelope_id=row.envelope)


def parked(
    record: Record,
    reason: str,
    detail: str,
    *,
    event_id: str | None = None,
    envelope_id: str = "",
    attempts: int = 1,
) -> Parked:
    return Parked(
        id=_id(record.tenant_id, reason, record.body),
        tenant_id=record.tenant_id,
        event_id=event_id,
        reason=reason,
        detail=detail,
        body=record.body,
        placement=record.placement,
        content=record.content,
        envelope=envelope_id,
        attempts=attempts,
        parked_at=instant.now_us(),
        received_at=None if event_id is None else received_at(record.body),
    )


def _id(tenant_id: str, reason: str, body: bytes) -> str:
    """The same for the same bytes, so that a redelivery parks nothing twice."""
    return hashlib.sha256(b"\0".join((tenant_id.encode(), reason.encode(), body))).hexdigest()[:32]
