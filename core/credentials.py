"""API keys: making them and their secrets, checking a secret, giving a new one, revoking.

A secret is 256 random bits, so what is kept is its plain SHA-256: there is nothing to guess that a slow hash would
protect, and a slow hash would make the token endpoint cheap to overload.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from core import instant
from core.errors import Conflict, NotFound, Overloaded, Unauthenticated, Unavailable
from core.ports.control import Control
from core.ports.keys import ApiKey, Keys, KeySecret
from core.tenant import Tenant, TenantScope

KEY_PREFIX: Final = "ock_"
SECRET_PREFIX: Final = "ocs_"  # noqa: S105
KEY_ID: Final = re.compile(r"ock_[0-9a-f]{24}")
SECRET: Final = re.compile(r"ocs_[0-9A-Za-z]{49}")
"""What secret scanners search for; `is_secret` tells a secret from what only looks like one."""
MAX_KEYS: Final = 1_000
"""Of one tenant, the revoked ones not counted."""
MAX_SECRETS: Final = 5
"""Of one key at a time: rotations whose overlaps run together."""
MAX_OVERLAP: Final = 30 * 86_400
"""Seconds."""
TOKENS_END: Final = 25 * 3600 * 1_000_000
"""Microseconds after which no token is good that was issued before: a day, and what clocks may differ by."""
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM: Final = 43
_CHECK: Final = 6
_NO_HASH: Final = bytes(32)
_TRIES: Final = 5
_USED_EVERY: Final = 60_000_000


def new_secret() -> str:
    """43 random characters (256 bits) and a checksum, so that a scanner needs to ask nobody."""
    drawn = "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM))
    return SECRET_PREFIX + drawn + _checksum(drawn)


def is_secret(text: str) -> bool:
    """Whether the text has a secret's form and its checksum is right."""
    if not SECRET.fullmatch(text):
        return False
    drawn = text[len(SECRET_PREFIX) : -_CHECK]
    return text.endswith(_checksum(drawn))


def _checksum(drawn: str) -> str:
    """CRC-32 of the characters, in base 62, the most significant digit first."""
    left, found = zlib.crc32(drawn.encode()), ""
    for _ in range(_CHECK):
        left, digit = divmod(left, len(_DIGITS))
        found = _DIGITS[digit] + found
    return found


async def create_key(
    keys: Keys,
    tenant: Tenant,
    name: str,
    roles: Iterable[str],
    *,
    created_by: str = "",
    networks: Iterable[str] = (),
    expires_at: int | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its secret, which is not kept."""
    now = instant.now_us()
    secret = new_secret()
    key = ApiKey(
        # Sorts by the time it was made at.
        id=f"{KEY_PREFIX}{now:016x}{secrets.token_hex(4)}",
        tenant_id=tenant.id,
        name=name,
        roles=tuple(roles),
        secrets=(KeySecret(1, _hash(secret), now),),
        created_at=now,
        created_by=created_by,
        networks=tuple(networks),
        expires_at=expires_at,
    )
    await keys.create(key)
    return key, secret


async def check_room(keys: Keys, scope: TenantScope) -> None:
    """Raise `Conflict` when the tenant has as many keys as it may."""
    if await keys.count(scope) >= MAX_KEYS:
        raise Conflict(f"a tenant may have {MAX_KEYS} keys: revoke some", code="too_many_keys")


async def authenticate(keys: Keys, key_id: str, secret: str) -> tuple[ApiKey, KeySecret]:
    """The key with this id and the secret of it that was shown.

    Raises `Unauthenticated`, the same whatever is wrong. Digests of the secret are compared, each in constant time,
    also where there is no such key: the time tells nothing of what is kept.
    """
    key = await keys.find(key_id) if KEY_ID.fullmatch(key_id) else None
    shown = _hash(secret)
    found = None
    for each in key.secrets if key is not None else ():
        if hmac.compare_digest(shown, each.hash):
            found = each
    now = instant.now_us()
    if key is None or found is None:
        hmac.compare_digest(shown, _NO_HASH)
        raise _wrong()
    if not found.good_at(now) or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise _wrong()
    if key.used_at is None or key.used_at < now - _USED_EVERY:
        with suppress(Unavailable):
            await keys.used(key.id, now)
    return key, found


def lifetime(key: ApiKey, most: int) -> int:
    """Seconds that a token of the key may live: `most`, or until the key ends."""
    if key.expires_at is None:
        return most
    return max(1, min(most, (key.expires_at - instant.now_us()) // 1_000_000))


async def rotate(keys: Keys, control: Control, scope: TenantScope, key: ApiKey, overlap: int) -> tuple[ApiKey, str]:
    """The key with a new secret, and that secret; the old ones work for `overlap` seconds more.

    With none, what was issued for them ends too. Raises `Conflict` for a key that is revoked or has too many secrets,
    `NotFound` for one that is gone.
    """
    for _ in range(_TRIES):
        now = instant.now_us()
        if key.revoked_at is not None:
            raise Conflict("the key is revoked", code="key_revoked")
        end = now + overlap * 1_000_000
        old = [replace(each, expires_at=min(end, each.expires_at or end)) for each in key.secrets if each.good_at(now)]
        kept = tuple(each for each in old if each.good_at(now))
        if len(kept) >= MAX_SECRETS:
            raise Conflict(f"{MAX_SECRETS} secrets of the key still work: wait for an overlap's end, or give none")
        secret = new_secret()
        number = max((each.number for each in key.secrets), default=0) + 1
        new = replace(key, secrets=(*kept, KeySecret(number, _hash(secret), now)))
        if await keys.replace(scope, key, new):
            if not kept:
                # Those of earlier rotations as well: the last one may have ended half way.
                for ended in range(max(1, number - _TRIES), number):
                    await control.revoke(key.secret_name(ended), now, expires_at=now + TOKENS_END)
            return replace(new, version=key.version + 1), secret
        key = await _again(keys, scope, key.id)
    raise Overloaded("the key is being changed by others; try again")


async def change(
    keys: Keys, scope: TenantScope, key: ApiKey, *, name: str | None, networks: tuple[str, ...] | None
) -> ApiKey:
    """The key with another name or other networks; what is None stays."""
    for _ in range(_TRIES):
        if key.revoked_at is not None:
            raise Conflict("the key is revoked", code="key_revoked")
        new = replace(
            key, name=key.name if name is None else name, networks=key.networks if networks is None else networks
        )
        if await keys.replace(scope, key, new):
            return replace(new, version=key.version + 1)
        key = await _again(keys, scope, key.id)
    raise Overloaded("the key is being changed by others; try again")


async def revoke(keys: Keys, control: Control, scope: TenantScope, key: ApiKey) -> None:
    """End the key, and all that was issued for it. Again does it again: the first call may have ended half way."""
    now = instant.now_us()
    for _ in range(_TRIES):
        # The key first, which is for good; the revocation is forgotten once no token can be left.
        if key.revoked_at is not None or await keys.replace(scope, key, replace(key, revoked_at=now)):
            await control.revoke(key.subject, now, expires_at=now + TOKENS_END)
            return
        key = await _again(keys, scope, key.id)
    raise Overloaded("the key is being changed by others; try again")


async def _again(keys: Keys, scope: TenantScope, key_id: str) -> ApiKey:
    key = await keys.get(scope, key_id)
    if key is None:
        raise NotFound("no such key")
    return key


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _wrong() -> Unauthenticated:
    return Unauthenticated("the client id or secret is wrong", code="invalid_client")
