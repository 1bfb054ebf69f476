"""Where a follower is in its tenant's log, and the token that a client keeps of it: `Last-Event-ID`."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

import msgspec

from core.errors import Invalid
from core.query import Position
from core.tenant import Tenant

_VERSION: Final = 2
_MAC_BYTES: Final = 16
MAX_TEXT: Final = 4096
MAX_IDS: Final = 50
"""Of 36 characters each, which leaves room within `MAX_TEXT`."""


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Everything before it was told of."""

    mark: bytes
    """Where a watch of the tenant goes on."""
    floor: int
    """Every event accepted before this moment (microseconds) lies before the place; what may be missing came later."""
    order: int = 0
    """`FeedEvent.order` of the tenant's last event before it: another watch may be behind this one."""
    ids: tuple[str, ...] = ()
    """The last of the tenant's events before it that share `order`, up to `MAX_IDS`: what one transaction stored."""
    scanned: Position | None = None
    """While what the server has forgotten is read from the store: `received_at` and id of the last event read."""


class _Payload(msgspec.Struct, array_like=True, frozen=True):
    version: int
    place: Place


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Payload).decode


def seal(tenant: Tenant, place: Place) -> str:
    """The place as a token: signed, good for the tenant alone, fit for a header."""
    payload = _encode(_Payload(_VERSION, place))
    return _text(_mac(tenant, payload) + payload)


def open_(tenant: Tenant, text: str) -> Place:
    """The inverse; raises `Invalid`, in the same words for another tenant's token and for nonsense."""
    try:
        if len(text) > MAX_TEXT:
            raise ValueError
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        payload = raw[_MAC_BYTES:]
        if _text(raw) != text or not hmac.compare_digest(raw[:_MAC_BYTES], _mac(tenant, payload)):
            raise ValueError
        decoded = _decode(payload)
        if decoded.version != _VERSION:
            raise ValueError
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise Invalid("Last-Event-ID is not one of this log's", code="bad_last_event_id") from None
    return decoded.place


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(tenant: Tenant, payload: bytes) -> bytes:
    return hmac.digest(tenant.secret, b"stream\0" + payload, "sha256")[:_MAC_BYTES]
