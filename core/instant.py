"""Time as Ocelot keeps it: UTC microseconds since 1970 as an int, RFC 3339 with six digits and `Z` as text."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)
# RFC 3339, section 5.6, with the offset required. datetime.fromisoformat alone also takes week dates and naive times.
_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.(\d+))?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_HEAD: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_EXPECTED: Final = "not an RFC 3339 time with an offset, such as 2026-11-21T11:40:00Z"


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1000


def to_text(us: int) -> str:
    """`2026-11-21T11:40:00.123456Z`."""
    seconds, micros = divmod(us, 1_000_000)
    return f"{_head_of(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=256)
def _head_of(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=8192)
def parse(text: str) -> tuple[int, str]:
    """The microseconds of an RFC 3339 time with an offset, and the text that `to_text` gives for them.

    Digits past the sixth are cut off, never rounded. Raises ValueError with a message fit for the sender.
    """
    # Most times end in Z and share their second with others: 0.7 us this way, 5 by datetime alone.
    if text[10:11] == "T" and text.endswith("Z") and (len(text) == 20 or (text[19:20] == "." and len(text) > 21)):
        fraction = text[20:-1]
        if not fraction or (fraction.isascii() and fraction.isdigit()):
            head = text[:19]
            micros = fraction[:6].ljust(6, "0")
            return _second(head) * 1_000_000 + int(micros), f"{head}.{micros}Z"
    us = _any_form(text)
    try:
        return us, to_text(us)
    except OverflowError:
        raise ValueError("not a time: its year in UTC is not 1 to 9999") from None


def from_text(text: str) -> int:
    """The microseconds of `parse`."""
    # The canonical form is what the consumer reads, twice an event and seldom twice the same: 0.4 us without the cache.
    if len(text) == 27 and text[10] == "T" and text[19] == "." and text[26] == "Z":
        micros = text[20:26]
        if micros.isascii() and micros.isdigit():
            return _second(text[:19]) * 1_000_000 + int(micros)
    return parse(text)[0]


@lru_cache(maxsize=4096)
def _second(head: str) -> int:
    """Seconds of `2026-11-21T11:40:00`, in UTC."""
    if _HEAD.fullmatch(head) is None:
        raise ValueError(_EXPECTED)
    try:
        return (datetime.fromisoformat(head).replace(tzinfo=UTC) - _EPOCH) // _SECOND
    except ValueError as error:
        raise ValueError(f"not a time: {error}") from None


def _any_form(text: str) -> int:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(_EXPECTED)
    fraction = match[1]
    if fraction is not None and len(fraction) > 6:
        text = text.replace("." + fraction, "." + fraction[:6], 1)
    try:
        return (datetime.fromisoformat(text.upper()) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not a time: {error}") from None
