"""Links to an exported file: they say for which tenant and export, until when, and that this service made them.

A link needs no token, so that a browser or a script without one can fetch the file; it is good for minutes and dies
with the export. Its key is the tenant's own secret: no other tenant's link can be made with it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Final

import msgspec

from core.errors import Forbidden
from core.tenant import Tenant

LINK_SECONDS: Final = 900
_MAC_BYTES: Final = 32
_MAX_TEXT: Final = 1024


class Link(msgspec.Struct, array_like=True, frozen=True):
    """`expires_at` in seconds of the wall clock."""

    tenant_id: str
    job_id: str
    expires_at: int
    given_to: str = ""
    """The subject who was given it, with whose revocation it ends."""


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Link).decode


def seal(tenant: Tenant, job_id: str, expires_at: int, given_to: str = "") -> str:
    payload = _encode(Link(tenant.id, job_id, expires_at, given_to))
    return base64.urlsafe_b64encode(_mac(tenant, payload) + payload).rstrip(b"=").decode()


def claimed(text: str) -> Link:
    """What a link says of itself, not verified yet; raises `Forbidden` when it says nothing."""
    return _opened(text)[1]


def verify(tenant: Tenant, text: str, now: int) -> Link:
    """The link, made by this service for this tenant and good at `now` (seconds); raises `Forbidden`."""
    mac, link, payload = _opened(text)
    if not hmac.compare_digest(mac, _mac(tenant, payload)) or link.tenant_id != tenant.id:
        raise bad_link()
    if link.expires_at <= now:
        raise Forbidden("the link has expired; ask for the export again to get another", code="link_expired")
    return link


def bad_link() -> Forbidden:
    return Forbidden("the link is not one of this service's", code="bad_link")


def _opened(text: str) -> tuple[bytes, Link, bytes]:
    try:
        if len(text) > _MAX_TEXT:
            raise ValueError
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(raw).rstrip(b"=") != text.encode():
            raise ValueError
        return raw[:_MAC_BYTES], _decode(raw[_MAC_BYTES:]), raw[_MAC_BYTES:]
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise bad_link() from None


def _mac(tenant: Tenant, payload: bytes) -> bytes:
    return hmac.digest(tenant.secret, b"export link\0" + payload, "sha256")
