"""Cursors: where a page ended, opaque and signed, good for one tenant and one query only."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

import msgspec

from core.errors import FieldError, InvalidQuery
from core.query import Page, Position
from core.tenant import Tenant

_VERSION: Final = 2
_MAC_BYTES: Final = 16
_MAX_TEXT: Final = 1024


class _Payload(msgspec.Struct, array_like=True, frozen=True):
    version: int
    fingerprint: bytes
    now: int
    position: Position
    from_store: bool = False


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Payload).decode


def seal(tenant: Tenant, page: Page, position: Position, *, from_store: bool = False) -> str:
    """The cursor of the page after `position`; it keeps what `page` took for now, and who answered."""
    payload = _encode(_Payload(_VERSION, page.fingerprint, page.now, position, from_store))
    return _text(_mac(tenant, payload) + payload)


def open_(tenant: Tenant, page: Page) -> tuple[Page, Position | None]:
    """The page as of its first page's moment, and where it starts; raises `InvalidQuery` for a foreign cursor."""
    if page.cursor is None:
        return page, None
    payload = _verified(tenant, page.cursor, page.cursor_place)
    if payload.fingerprint != page.fingerprint:
        raise _fault(page.cursor_place, "belongs to another query", code="cursor_of_another_query")
    return page.at(payload.now, from_store=payload.from_store), payload.position


def _verified(tenant: Tenant, text: str, place: tuple[str, ...]) -> _Payload:
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if _text(raw) != text:  # base64 has bits to spare at its end: a changed cursor could read as the same
            raise ValueError
        payload = raw[_MAC_BYTES:]
        if not hmac.compare_digest(raw[:_MAC_BYTES], _mac(tenant, payload)):
            raise ValueError
        decoded = _decode(payload)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise _fault(place, "is not one of this log's", code="bad_cursor") from None
    if decoded.version != _VERSION:
        raise _fault(place, "is of another version", code="bad_cursor")
    return decoded


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _fault(place: tuple[str, ...], message: str, *, code: str) -> InvalidQuery:
    return InvalidQuery(f"the cursor {message}", code=code, errors=[FieldError(place, message, code)])


def _mac(tenant: Tenant, payload: bytes) -> bytes:
    return hmac.digest(tenant.secret, b"cursor\0" + payload, "sha256")[:_MAC_BYTES]
