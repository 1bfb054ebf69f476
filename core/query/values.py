"""The values of a query as both ways of writing one read them; what is wrong is a ValueError without the place."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from core import instant
from core.event import FREE_FIELDS
from core.query.bounds import MAX_TEXT, MAX_WORDS
from core.query.model import EXACT_FIELDS, INDEX_FIELDS, TIME_FIELDS, Match, Value
from core.query.words import words_of

NO_PREFIX: Final = ("id", "message", "ip_address")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_RELATIVE: Final = re.compile(r"-(\d{1,9})([smhdw])", re.ASCII)


def is_field(name: str) -> bool:
    """Whether a condition can be on `name`: a named field, or a path into a free-form one."""
    if name in EXACT_FIELDS or name in INDEX_FIELDS or name == "ip_address":
        return True
    root, _, path = name.partition(".")
    return bool(root in FREE_FIELDS and path and not path.startswith(".") and not path.endswith("."))


def moment(text: str, now: int) -> int:
    """RFC 3339, `now`, or relative to now such as `-1h`, in microseconds."""
    if text == "now":
        return now
    if relative := _RELATIVE.fullmatch(text):
        return max(0, now - int(relative[1]) * _UNITS[relative[2]] * 1_000_000)
    try:
        return instant.from_text(text)
    except ValueError as error:
        raise ValueError(f"{error}; or relative to now, such as -1h") from None


def address(written: str) -> Value:
    try:
        if "/" in written:
            return Value(str(ipaddress.ip_network(written, strict=False)), Match.CIDR)
        if "%" in written:
            raise ValueError
        return Value(str(ipaddress.ip_address(written)))
    except ValueError:
        raise ValueError("must be an IP address or a CIDR such as 10.0.0.0/8") from None


def order(written: str) -> tuple[str, bool]:
    """The field to sort by, and whether the newest comes first."""
    field = written.removeprefix("-")
    if field not in TIME_FIELDS:
        raise ValueError("must be timestamp or received_at, with - before it for newest first")
    return field, field != written


def full_text(written: str) -> str:
    if not 0 < len(written.strip()) <= MAX_TEXT:
        raise ValueError(f"must have 1 to {MAX_TEXT} characters")
    if len(words_of(written)[0]) > MAX_WORDS:
        raise ValueError(f"may have {MAX_WORDS} words")
    return written
