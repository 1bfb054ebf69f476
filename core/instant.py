"""Time as Ocelot keeps it: UTC microseconds since 1970 as an int, RFC 3339 with six digits and `Z` as text."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
# RFC 3339, section 5.6, with the offset required. datetime.fromisoformat alone also takes week dates and naive times.
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.(\d+))?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CANONICAL_LENGTH: Final = len("2026-11-21T11:40:00.123456Z")


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


def to_text(us: int) -> str:
    """`2026-11-21T11:40:00.123456Z`."""
    return (_EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> int:
    """Microseconds of an RFC 3339 time with an offset; further digits are cut off, never rounded.

    Raises ValueError with a message fit for the sender.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time with an offset, such as 2026-11-21T11:40:00Z")
    fraction = match[1]
    if fraction is not None and len(fraction) > 6:
        text = text.replace("." + fraction, "." + fraction[:6], 1)
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a time: {error}") from None


def is_canonical(text: str) -> bool:
    """Whether `text`, known to be valid, is already written as `to_text` would write it."""
    return len(text) == _CANONICAL_LENGTH and text[10] == "T" and text[19] == "." and text[26] == "Z"
