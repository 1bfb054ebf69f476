"""Keyed hashes that stand for values: equal values have equal ones, and only the tenant's secret leads from a guess
of the value to its hash."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
from typing import Final

from core.masking.rules import MASKED

STANDING: Final = re.compile(re.escape(MASKED) + rb"|\[hmac:[A-Za-z0-9_-]{22}\]")
"""What has taken a value's place already. Masking leaves it alone, so that masking twice is masking once."""
_DIGEST: Final = 16
_PURPOSE: Final = b"ocelot masking v1"
_PREFIX: Final = 6


class Pseudonyms:
    """Of one tenant."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _PURPOSE, "sha256")
        # RFC 4193: a unique local address has 40 bits of its own network's; here they are the tenant's.
        self._network = b"\xfd" + hmac.digest(self._key, b"network", "sha256")[: _PREFIX - 1]

    def of(self, value: bytes) -> bytes:
        """`[hmac:...]` with 128 bits of HMAC-SHA256 over the value in base64url, without escapes in any JSON."""
        digest = hmac.digest(self._key, value, "sha256")[:_DIGEST]
        return b"[hmac:" + base64.urlsafe_b64encode(digest)[:22] + b"]"

    def of_address(self, text: str) -> str:
        """An address for an address: in the tenant's own /48 below fd00::/8, 80 bits of the digest."""
        address = ipaddress.ip_address(text)
        if address.packed.startswith(self._network):
            return text
        digest = hmac.digest(self._key, address.compressed.encode(), "sha256")
        return ipaddress.IPv6Address(self._network + digest[: 16 - _PREFIX]).compressed
