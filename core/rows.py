"""From an event's bytes to the row that the store keeps beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Required, TypedDict

import msgspec

from core import event, instant
from core.envelope import Record
from core.errors import InvalidEvent
from core.placement import NAME as PLACEMENT
from core.ports import StoreRow
from core.query import ip_key
from core.tenant import TENANT_ID

_is_id: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_sha256: Final = hashlib.sha256
_received_at: Final = lru_cache(maxsize=256)(instant.from_text)
"""The events of a request share theirs."""


def _decoder() -> Callable[[bytes], dict[str, Any]]:
    """Decodes the named fields of `event.StoredEvent` to a dict of those that are there.

    To pick them from the struct instead takes 2 us an event, as long as the decoding itself.
    """
    fields: dict[str, Any] = {
        field.name: Required[field.type] if field.required else field.type
        for field in msgspec.structs.fields(event.StoredEvent)
        if field.name not in event.FREE_FIELDS
    }
    named = TypedDict("named", fields, total=False)  # type: ignore[misc]  # made from the struct, so that they agree
    return msgspec.json.Decoder[dict[str, Any]](named).decode


_decode: Final = _decoder()


def row_of(record: Record, envelope: str) -> StoreRow:
    """The row of one record; raises `InvalidEvent` when its bytes are not an event of its tenant, on one line.

    Nothing that the index would refuse to be handed may pass: it would take its whole envelope back for ever.
    """
    _check_form(record)
    body = record.body
    try:
        named = _decode(body)
        take = named.pop
        timestamp = instant.from_text(take("timestamp"))
        received_at = _received_at(take("received_at"))
        take("message", None)
        take("salt", None)
        if None in named.values():
            named = {name: value for name, value in named.items() if value is not None}
            take = named.pop
        if "ip_address" in named:
            named["ip_key"] = ip_key(named["ip_address"])
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"the record is no event: {error}") from None
    tenant_id = take("tenant_id")
    if tenant_id != record.tenant_id:
        raise InvalidEvent("the record names another tenant than its event")
    event_id = take("id")
    if not _is_id(event_id):
        raise InvalidEvent("the event's id is not one")
    return StoreRow(
        event_id,
        tenant_id,
        record.placement,
        timestamp,
        received_at,
        named,
        _sha256(body).digest(),
        record.content,
        envelope,
        body,
    )


def received_at(body: bytes) -> int:
    """When a stored event was accepted, in microseconds."""
    return instant.from_text(event.decode_stored(body).received_at)


def _check_form(record: Record) -> None:
    body = record.body
    if b"\n" in body or b"\r" in body:
        raise InvalidEvent("the event is more than one line")
    if not (body.startswith(b"{") and body.endswith(b"}")):
        raise InvalidEvent("the event is not an object and nothing else")
    if not _are_names(record.tenant_id, record.placement):
        raise InvalidEvent("the record's tenant or placement is not one")


@lru_cache(maxsize=4096)
def _are_names(tenant_id: str, placement: str) -> bool:
    return bool(TENANT_ID.fullmatch(tenant_id) and PLACEMENT.fullmatch(placement))
