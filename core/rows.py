"""From an event's bytes to the row that the store keeps beside them."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from core import event, instant
from core.envelope import Record
from core.errors import InvalidEvent
from core.ports import StoreRow
from core.query import ip_key

_NAMED: Final = (*event.KEYWORD_FIELDS, "ip_address")


def row_of(record: Record, envelope: str) -> StoreRow:
    """The row of one record; raises `InvalidEvent` when its bytes are not an event of its tenant."""
    try:
        stored = event.decode_stored(record.body)
        timestamp = instant.from_text(stored.timestamp)
        received_at = instant.from_text(stored.received_at)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"the record is no event: {error}") from None
    if stored.tenant_id != record.tenant_id:
        raise InvalidEvent("the record names another tenant than its event")
    named = {name: value for name in _NAMED if (value := getattr(stored, name)) is not None}
    if stored.ip_address is not None:
        named["ip_key"] = ip_key(stored.ip_address)
    return StoreRow(
        id=stored.id,
        tenant_id=record.tenant_id,
        placement=record.placement,
        timestamp=timestamp,
        received_at=received_at,
        named=named,
        hash=hashlib.sha256(record.body).digest(),
        content=record.content,
        envelope=envelope,
        body=record.body,
    )
