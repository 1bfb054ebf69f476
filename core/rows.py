"""From an event's bytes to the row that the store keeps beside them."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from core import event, instant
from core.envelope import Record
from core.errors import InvalidEvent
from core.placement import NAME as PLACEMENT
from core.ports import StoreRow
from core.query import ip_key
from core.tenant import TENANT_ID

_NAMED: Final = (*event.KEYWORD_FIELDS, "ip_address")
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def row_of(record: Record, envelope: str) -> StoreRow:
    """The row of one record; raises `InvalidEvent` when its bytes are not an event of its tenant, on one line.

    Nothing that the index would refuse to be handed may pass: it would take its whole envelope back for ever.
    """
    _check_form(record)
    try:
        stored = event.decode_stored(record.body)
        timestamp = instant.from_text(stored.timestamp)
        received_at = instant.from_text(stored.received_at)
        key = None if stored.ip_address is None else ip_key(stored.ip_address)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"the record is no event: {error}") from None
    if stored.tenant_id != record.tenant_id:
        raise InvalidEvent("the record names another tenant than its event")
    if not _ID.fullmatch(stored.id):
        raise InvalidEvent("the event's id is not one")
    named = {name: value for name in _NAMED if (value := getattr(stored, name)) is not None}
    if key is not None:
        named["ip_key"] = key
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


def _check_form(record: Record) -> None:
    body = record.body
    if b"\n" in body or b"\r" in body:
        raise InvalidEvent("the event is more than one line")
    if not (body.startswith(b"{") and body.endswith(b"}")):
        raise InvalidEvent("the event is not an object and nothing else")
    if not TENANT_ID.fullmatch(record.tenant_id) or not PLACEMENT.fullmatch(record.placement):
        raise InvalidEvent("the record's tenant or placement is not one")
