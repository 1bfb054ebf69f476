"""Rules by key: a member's name, however it is spelled."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core.masking.rules import SEPARATORS

_BETWEEN: Final = "[" + re.escape(SEPARATORS.decode()) + "]*"


@dataclass(frozen=True, slots=True)
class KeyName:
    """A name in lower case (A-Z alone) without separators; with `before` or `after`, anything may stand there."""

    plain: bytes
    before: bool
    after: bool

    @classmethod
    def parse(cls, text: str) -> KeyName:
        """Of `ssn`, `*ssn`, `ssn*` or `*ssn*`; raises `ValueError`."""
        before, after = text.startswith("*"), text.endswith("*")
        plain = plain_name(text.encode())
        if not plain:
            raise ValueError("must have a letter or digit")
        if "*" in text[before : len(text) - after]:
            raise ValueError("* stands for anything, at the beginning or the end of the name only")
        return cls(plain, before, after)

    def takes(self) -> Callable[[bytes], bool]:
        """Whether a `plain_name` is meant."""
        plain = self.plain
        if self.before and self.after:
            return lambda name: plain in name
        if self.before:
            return lambda name: name.endswith(plain)
        if self.after:
            return lambda name: name.startswith(plain)
        return lambda name: name == plain

    def pattern(self) -> str:
        """For RE2: found wherever a member with such a name stands in JSON without escapes, and seldom elsewhere."""
        letters = _BETWEEN.join(quoted(letter) for letter in self.plain.decode())
        begin = "" if self.before else f'"{_BETWEEN}'
        end = "" if self.after else rf'{_BETWEEN}"\s*:'
        return f"(?i:{begin}{letters}{end})"


def plain_name(name: bytes) -> bytes:
    """A name, unescaped, as rules by key compare it."""
    return name.lower().translate(None, SEPARATORS)


def quoted(text: str) -> str:
    """A pattern for RE2 that finds `text` itself."""
    return "".join(c if c.isalnum() or c == "_" or ord(c) > 127 else f"\\x{{{ord(c):x}}}" for c in text)
