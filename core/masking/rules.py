"""Which names hold secrets: the rules as data, and the verdict on one name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

SEPARATORS: Final = b"-_. :*[]"
"""Bytes that a name is read without: `api-key`, `API_KEY`, `user[password]` and `apiKey` are one."""
_NO_SEPARATORS: Final = SEPARATORS + b"0123456789"
MASKED: Final = b"[masked]"


class Verdict(IntEnum):
    """What a name says of its value. The order counts: above PLAIN, a string is masked."""

    KEPT = -1
    """Holds no secret even inside an object that does."""
    PLAIN = 0
    COUNT = 1
    """A plural: strings are secrets, a bare number counts them (`"tokens": 512`)."""
    OPEN = 2
    """A string or number is a secret, an object is judged by its own names (Azure's `authorization` object)."""
    SEALED = 3
    """Every string and number below is a secret, but for KEPT names."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A name is sensitive when it is or ends with one of `names`, but not with one of `harmless`.

    Names are written in lower case, with a hyphen where another spelling may have a separator. A name's plural in `s`
    counts as well.
    """

    names: tuple[str, ...]
    open_names: tuple[str, ...]
    harmless: tuple[str, ...]
    kept: frozenset[str]
    assigned: frozenset[str]
    """Names that in text take a value right after a colon; `secret:x` and `token:create` are labels far more often."""
    cards: bool = True

    def all_names(self) -> list[str]:
        """Every sensitive ending, plurals too, the longest first."""
        singles = {*self.names, *self.open_names}
        return sorted(singles | {name + "s" for name in singles}, key=lambda name: (-len(name), name))


def normal(name: bytes) -> bytes:
    """A name in lower case without separators and without the digits at its end (`password2`)."""
    return name.lower().rstrip(_NO_SEPARATORS).translate(None, SEPARATORS)


def judge(rules: Rules) -> Callable[[bytes], Verdict]:
    """The rules as a function from a name (unescaped UTF-8) to its verdict."""

    def endings(names: tuple[str, ...], plural: str = "") -> tuple[bytes, ...]:
        return tuple((name.replace("-", "") + plural).encode() for name in names)

    sealed, opened = endings(rules.names), endings(rules.open_names)
    plurals, harmless = endings((*rules.names, *rules.open_names), "s"), endings(rules.harmless)
    kept = frozenset(name.encode() for name in rules.kept)

    def verdict(name: bytes) -> Verdict:
        plain = normal(name)
        if plain in kept:
            return Verdict.KEPT
        if plain.endswith(harmless):
            return Verdict.PLAIN
        if plain.endswith(sealed):
            return Verdict.SEALED
        if plain.endswith(opened):
            return Verdict.OPEN
        return Verdict.COUNT if plain.endswith(plurals) else Verdict.PLAIN

    return verdict


def spaced(name: str) -> str:
    """A pattern for the spellings of `name` in text."""
    return r"[-_. ]?".join(re.escape(part) for part in name.split("-"))


DEFAULT_RULES: Final = Rules(
    names=(
        "pass-word", "passwd", "pwd", "pass-phrase", "pass-code", "password-hash", "password-value",
        "secret", "secret-key", "secret-access-key", "secret-value", "secret-string", "secret-binary",
        "token", "token-value", "jwt", "api-key", "account-key", "shared-access-key", "private-key", "signing-key",
        "cookie", "credential", "cvv", "cvc",
    ),
    open_names=("authorization", "access-key"),
    harmless=(
        "next-token", "page-token", "pagination-token", "continuation-token", "starting-token", "sequence-token",
        "forward-token", "backward-token", "resume-token", "sync-token",
        "client-token", "client-request-token", "idempotency-token", "change-token", "lock-token",
        "elevated-token", "public-key-token", "http-tokens", "x-amz-credential",
    ),
    kept=frozenset({
        "accesskeyid", "createdate", "creationdate", "defaultmode", "expiration", "expires", "expiresat", "expiresin",
        "expiry", "name", "secretname", "status", "tokentype", "type", "username",
    }),
    assigned=frozenset({"pass-word", "passwd", "pwd", "pass-phrase", "pass-code"}),
)  # fmt: skip
