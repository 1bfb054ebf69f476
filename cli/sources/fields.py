"""What every source's mapping needs: to look into a document of unknown shape and to take only what is usable.

Nothing here raises for any document that JSON can hold: a value of an unexpected type is as good as none.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from typing import Any, Final

from core import instant

Original = dict[str, Any]
"""A line of the source, decoded."""
Fields = dict[str, "str | list[str] | None"]
"""Named fields of Ocelot's event; None where the source says nothing usable."""

_BRACKETED: Final = re.compile(r"\[([^\]]+)\](?::\d+)?|([0-9.]+):\d+")
_OFFSET: Final = re.compile(r"(?:[Zz]|[+-]\d\d:?\d\d)$")
_SPACES: Final = re.compile(r"\s+")
# Epoch times are taken for seconds below this and for milliseconds above: seconds reach it in the year 5138.
_LEAST_MILLISECONDS: Final = 100_000_000_000
_MAX_INTEGER: Final = 2**64


def at(value: object, *path: str | int) -> Any:
    """What is at `path`, else None. A key also matches all in lower case, as some collectors rewrite keys."""
    for step in path:
        if isinstance(value, dict):
            found = value.get(step)
            value = value.get(step.lower()) if found is None and isinstance(step, str) else found
        elif isinstance(value, list) and isinstance(step, int):
            value = value[step] if step < len(value) else None
        else:
            return None
    return value


def text(value: object) -> str | None:
    """A scalar as text; None for nothing, blanks, booleans, arrays and objects."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if abs(value) < _MAX_INTEGER else None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _MAX_INTEGER else str(value)
    return None


def first(*values: object) -> str | None:
    """The first usable text."""
    for value in values:
        found = text(value)
        if found is not None:
            return found
    return None


def number(value: object) -> int | None:
    """An integer, also when written as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return None


def address(*values: object) -> str | None:
    """The first IP address, without port, zone or IPv4 mapping; a host name or `AWS Internal` is none."""
    for value in values:
        if isinstance(value, str):
            found = _address(value.strip())
            if found is not None:
                return found
    return None


def _address(written: str) -> str | None:
    if match := _BRACKETED.fullmatch(written):
        written = match[1] or match[2]
    try:
        ip = ipaddress.ip_address(written.partition("%")[0])
    except ValueError:
        return None
    if ip.is_unspecified:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return str(ip)


def when(*values: object) -> str | None:
    """The first usable time, in canonical text.

    A time without an offset is taken as UTC: only pass fields that their source documents to be UTC.
    """
    for value in values:
        found = _from_text(value.strip()) if isinstance(value, str) else _from_number(value)
        if found is not None:
            return found
    return None


def _from_text(written: str) -> str | None:
    if written.isascii() and written.isdigit() and len(written) < 15:
        return _from_number(int(written))
    # 2022-08-16 16:56:49.309 and 2022-08-16T16:56:49+0000, as collectors write them.
    if not _OFFSET.search(written):
        written += "Z"
    elif written[-5:-4] in ("+", "-"):
        written = f"{written[:-2]}:{written[-2:]}"
    try:
        us = instant.from_text(written)
    except ValueError:
        return None
    return instant.to_text(us) if us >= 0 else None


def _from_number(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        us = int(value * 1000) if value >= _LEAST_MILLISECONDS else int(value * 1_000_000)
        # Only checks the range: the text must have a year of four digits.
        datetime.fromtimestamp(us // 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return instant.to_text(us) if us > 0 else None


def slug(value: str) -> str:
    """Lower case with hyphens for spaces: one form of a name that sources spell in several."""
    return _SPACES.sub("-", value.strip().lower())


def dotted(*parts: object) -> str:
    """An action's name of the parts that there are."""
    return ".".join(part for part in map(text, parts) if part)


def tags(**labels: object) -> list[str] | None:
    """`name:value` for each label that has a value."""
    found = [f"{name}:{value}" for name, value in ((k, text(v)) for k, v in labels.items()) if value]
    return found or None


def sentence(who: str | None, what: str, on: str | None = None, reason: str | None = None) -> str:
    """`who: what on resource (reason)`, of the parts that there are."""
    line = f"{who}: {what}" if who else what
    if on:
        line += f" on {on}"
    return f"{line} ({reason})" if reason else line
