"""Event ids: UUIDv7 made by the server, UUIDv8 derived from a client's key (RFC 9562), and the salt of each event."""

from __future__ import annotations

import binascii
import hmac
import os
import uuid
from typing import Final

_URLSAFE: Final = bytes.maketrans(b"+/", b"-_")
_COUNTER: Final = tuple(f"{n:03x}-" for n in range(4096))
# Each byte with the variant's bits, 10, on top.
_VARIANT: Final = bytes(byte & 0x3F | 0x80 for byte in range(256))


def uuid7s(at_us: int, count: int) -> list[str]:
    """`count` UUIDv7 of one moment, ascending for the first 4,096: rand_a counts, rand_b is 62 random bits.

    One read of the kernel's randomness for all of them: a system call for each costs more than all the rest.
    """
    millis = f"{at_us // 1000:012x}"
    head = f"{millis[:8]}-{millis[8:]}-7"
    random = bytearray(os.urandom(8 * count))
    random[::8] = random[::8].translate(_VARIANT)
    text = random.hex()
    return [
        f"{head}{_COUNTER[n & 0xFFF]}{text[16 * n : 16 * n + 4]}-{text[16 * n + 4 : 16 * n + 16]}" for n in range(count)
    ]


def uuid8_of_key(secret: bytes, key: str) -> str:
    """The id of every event sent with this client's key in the tenant that owns `secret`."""
    digest = bytearray(hmac.digest(secret, b"event id\0" + key.encode(), "sha256")[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


def salts(count: int) -> list[str]:
    """`count` salts of 16 random bytes as unpadded base64url (22 characters).

    Each is widened to 18 bytes, so that one base64 call encodes all without padding between them.
    """
    if count == 1:  # in a third of the time
        return [binascii.b2a_base64(os.urandom(16), newline=False)[:22].translate(_URLSAFE).decode()]
    random = os.urandom(16 * count)
    wide = bytearray(18 * count)
    for column in range(16):
        wide[column::18] = random[column::16]
    text = binascii.b2a_base64(wide, newline=False).translate(_URLSAFE).decode()
    return [text[start : start + 22] for start in range(0, 24 * count, 24)]
