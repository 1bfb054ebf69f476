"""What an event changed, as an RFC 6902 patch: applied to the state before, it makes the state after.

Values in a patch are slices of the states' own bytes. Numbers are compared as written (`1` and `1.0` differ), keys by
their text; a key that stands twice counts with its last value, as in `core.changes`.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from msgspec import Raw

MAX_PATCH_BYTES: Final = 64 * 1024
"""A finer patch than this gives way to one of the states' own members, or to one that replaces the whole state."""

_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_elements: Final = msgspec.json.Decoder(list[Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
_WHITE: Final = b" \t\n\r"


class _TooLarge(Exception):
    """The patch has outgrown its bound."""


def patch(before: bytes | None, after: bytes | None) -> list[Raw]:
    """The operations that turn one JSON state into the other, in the order to apply them; none when they are equal.

    A state that is not there counts as null. Objects are compared member by member, arrays from both ends, unless it
    takes less to replace them. Time and size are bounded by the states' size, whatever they hold.
    """
    old, new = (b"null" if state is None else state.strip(_WHITE) for state in (before, after))
    old_tree, new_tree = _tree(old), _tree(new)
    if old_tree == new_tree:
        return []
    for depth in (None, 1):
        found = _Patch(MAX_PATCH_BYTES + len(new), depth)
        try:
            found.compare("", old, new, old_tree, new_tree)
        except _TooLarge:
            continue
        return [Raw(operation) for operation in found.operations]
    return [Raw(_operation("replace", "", new))]


class _Patch:
    """Operations as they are found; `depth` bounds how deep objects are compared."""

    def __init__(self, bound: int, depth: int | None) -> None:
        self.operations: list[bytes] = []
        self._bound = bound
        self._depth = depth
        self._size = 0

    def compare(self, at: str, old: bytes, new: bytes, old_tree: Any, new_tree: Any, depth: int = 0) -> None:
        """Add what turns `old` into `new`, which differ; the trees hold the same values decoded."""
        comparable = self._depth is None or depth < self._depth
        if comparable and type(old_tree) is type(new_tree) is dict:
            self._objects(at, old, new, old_tree, new_tree, depth)
        elif comparable and type(old_tree) is type(new_tree) is list:
            self._arrays(at, old, new, old_tree, new_tree, depth)
        else:
            self._add("replace", at, new)

    def _objects(
        self, at: str, old: bytes, new: bytes, old_tree: dict[str, Any], new_tree: dict[str, Any], depth: int
    ) -> None:
        was, now = _members(old), _members(new)
        for key in (*was, *(key for key in now if key not in was)):
            if key not in now:
                self._add("remove", _step(at, key))
            elif key not in was:
                self._add("add", _step(at, key), bytes(now[key]))
            elif old_tree[key] != new_tree[key]:
                step = _step(at, key)
                self.compare(step, bytes(was[key]), bytes(now[key]), old_tree[key], new_tree[key], depth + 1)

    def _arrays(self, at: str, old: bytes, new: bytes, old_tree: list[Any], new_tree: list[Any], depth: int) -> None:
        """Element by element while that takes less than to replace the array."""
        count, size, bound = len(self.operations), self._size, self._bound
        whole = _operation("replace", at, new)
        self._bound = min(bound, size + len(whole))
        try:
            self._elementwise(at, _elements(old), _elements(new), old_tree, new_tree, depth)
            self._bound = bound
        except _TooLarge:
            del self.operations[count:]
            self._size, self._bound = size, bound
            self._keep(whole)

    def _elementwise(
        self, at: str, was: list[Raw], now: list[Raw], old_tree: list[Any], new_tree: list[Any], depth: int
    ) -> None:
        """What stands between the equal ends is compared pair by pair; the rest is taken out, or put in."""
        shorter = min(len(was), len(now))
        first = next((n for n in range(shorter) if old_tree[n] != new_tree[n]), shorter)
        last = next((n for n in range(shorter - first) if old_tree[-1 - n] != new_tree[-1 - n]), shorter - first)
        paired = shorter - last
        for n in range(first, paired):
            if n == first or old_tree[n] != new_tree[n]:
                self.compare(f"{at}/{n}", bytes(was[n]), bytes(now[n]), old_tree[n], new_tree[n], depth + 1)
        for n in range(len(was) - last - 1, paired - 1, -1):
            self._add("remove", f"{at}/{n}")
        for n in range(paired, len(now) - last):
            self._add("add", f"{at}/{n}", bytes(now[n]))

    def _add(self, name: str, path: str, value: bytes | None = None) -> None:
        self._keep(_operation(name, path, value))

    def _keep(self, operation: bytes) -> None:
        self._size += len(operation)
        if self._size > self._bound:
            raise _TooLarge
        self.operations.append(operation)


def _step(at: str, key: str) -> str:
    return f"{at}/{key.replace('~', '~0').replace('/', '~1')}"


def _operation(name: str, path: str, value: bytes | None = None) -> bytes:
    shown = b"" if value is None else b',"value":' + value
    return b'{"op":"%s","path":%s%s}' % (name.encode(), _encode(path), shown)


def _tree(document: bytes) -> Any:
    """The values, numbers as the bytes of their text: 30 digits are compared to the last, and `1` is not `true`.

    Bytes are no string of JSON's, and comparing them takes a third of what tuples take.
    """
    return json.loads(document, parse_int=str.encode, parse_float=str.encode)
