"""Lengths of time as people write them: 900s, 15m, 12h, 30d."""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int | None:
    """The seconds, or None where the text is no such length; a number alone is seconds."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    return int(match[1]) * _UNITS[match[2] or "s"] if match else None
