"""Which parts of a resource an event changed: JSON Pointers (RFC 6901) of what differs between its two states."""

from __future__ import annotations

import json
from typing import Final

import msgspec
from msgspec import Raw

MAX_PATHS: Final = 256
MAX_PATH_BYTES: Final = 1024

_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_WHITE: Final = b" \t\n\r"


def changed_paths(before: bytes | None, after: bytes | None) -> list[str]:
    """Pointers of the members that were added, removed or changed, in document order, the added ones last.

    Both states are JSON; unless both are objects there is nothing to compare. Objects are compared member by member;
    an array is one value (an element put in front would else mark all the others). Numbers are compared as written:
    `1` and `1.0` differ. At most `MAX_PATHS` pointers; one longer than `MAX_PATH_BYTES` gives way to its parent.
    """
    found: dict[str, None] = {}
    if before is not None and after is not None:
        _compare(before.strip(_WHITE), after.strip(_WHITE), "", found)
    return list(found)[:MAX_PATHS]


def _compare(before: bytes, after: bytes, pointer: str, found: dict[str, None]) -> None:
    """Add what differs below `pointer`, where both texts are objects."""
    if not (before.startswith(b"{") and after.startswith(b"{")) or before == after:
        return
    old, new = _members(before), _members(after)
    for key in (*old, *(key for key in new if key not in old)):
        if len(found) >= MAX_PATHS:
            return
        left, right = old.get(key), new.get(key)
        if left is not None and right is not None:
            if bytes(left) == bytes(right):
                continue
            if bytes(left).startswith(b"{") and bytes(right).startswith(b"{"):
                _compare(bytes(left), bytes(right), _step(pointer, key), found)
                continue
            if _value(left) == _value(right):
                continue
        step = _step(pointer, key)
        if step:
            found[step] = None


def _step(pointer: str, key: str) -> str:
    step = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
    return step if len(step.encode()) <= MAX_PATH_BYTES else pointer


def _value(raw: Raw) -> object:
    """The value with its numbers as text, so that 30 digits are compared to the last."""
    return json.loads(bytes(raw), parse_int=_number, parse_float=_number)


def _number(text: str) -> tuple[str]:
    return (text,)
