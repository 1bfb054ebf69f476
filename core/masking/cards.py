"""Payment card numbers in text: known prefixes, the length that goes with each, and the Luhn check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

# Contiguous, or grouped as cards are printed. Looser grouping takes in SIDs and GUIDs: half of all Sysmon events.
_CANDIDATE: Final = re.compile(
    rb"[2-6](?<![0-9A-Za-z].)(?<![0-9][.].)"  # in this order the search skips to the digits
    rb"(?:[0-9]{12,18}"
    rb"|[0-9]{3}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,4}([ -][0-9]{1,3})?"
    rb"|[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5})"
    rb"(?![0-9A-Za-z])(?![.][0-9])"
)
TRIGGER: Final = (
    r"(?:^|[^0-9a-z]|\\[bfnrt]|\\u[0-9a-f]{4})"
    r"(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|2[2-7][0-9]{14}|3[47][0-9]{13}|3[0689][0-9]{12}|35[0-9]{14}"
    r"|6[0-9]{15}|62[0-9]{15,17}|3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5}"
    r"|(?:2[2-7]|[3-6][0-9])[0-9]{2}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{1,4})(?:[^0-9]|$)"
)
"""Over raw JSON (RE2, any case): found wherever `spans` finds a card, and in little else."""
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"\x00\x02\x04\x06\x08\x01\x03\x05\x07\x09")
_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))


def spans(text: bytes) -> Iterator[tuple[int, int]]:
    """Where card numbers stand in `text`."""
    start = 0
    while (match := _CANDIDATE.search(text, start)) is not None:
        first, end = match.span()
        # The last group may be the expiry date's month: "4111 1111 1111 1111 12/31".
        end = next((e for e in (end, match.start(1)) if e > 0 and _is_written(text[first:e])), -1)
        if end > 0:
            yield first, end
        # "1000 4111 1111 1111 1111": the number may begin at the next group.
        start = end if end > 0 else first + 4


def _is_written(number: bytes) -> bool:
    digits = number.translate(None, b" -")
    return is_card(digits, grouped=len(digits) != len(number))


def is_card(digits: bytes, *, grouped: bool = False) -> bool:
    """Whether `digits` are a card number that some brand could have given out."""
    return len(digits) in _lengths(digits, grouped=grouped) and _luhn(digits)


def _lengths(digits: bytes, *, grouped: bool) -> tuple[int, ...]:
    two, four = int(digits[:2]), int(digits[:4])
    if two in (34, 37):
        return (15,)
    if two in (36, 38, 39) or 3000 <= four <= 3059 or four == 3095:
        return (14,)
    if two // 10 == 4:
        # Visa's 19 digits only as printed: one in ten 64-bit ids that begin with 4 passes for one.
        return (13, 16, 19) if grouped else (13, 16)
    if two == 62:
        return (16, 17, 18, 19)
    known = 51 <= two <= 55 or 2221 <= four <= 2720 or 3528 <= four <= 3589 or four == 6011 or 644 <= four // 10 <= 659
    return (16,) if known else ()


def _luhn(digits: bytes) -> bool:
    return (sum(digits[-1::-2].translate(_VALUES)) + sum(digits[-2::-2].translate(_DOUBLED))) % 10 == 0
