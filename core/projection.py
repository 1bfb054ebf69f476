"""Some of an event's fields: slices of its stored bytes, so that no value is read and written again on the way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Raw

from core.errors import FieldError, InvalidQuery
from core.event import FREE_FIELDS, StoredEvent

MAX_FIELDS: Final = 64
MAX_FIELD_BYTES: Final = 1024
NAMES: Final = StoredEvent.__struct_fields__
"""Every field that an event may have."""

_members_of: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_key_of: Final = msgspec.json.Decoder(str).decode
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALAR: Final = re.compile(rb"[^ \t\n\r,\]}]+")
_STRING_OR_BRACKET: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_BETWEEN: Final = re.compile(rb"[ \t\n\r,:]*")
_OPENING: Final = (b"{", b"[")


class Projection:
    """Picks named fields, and values under paths such as `metadata.user.name`, out of events."""

    def __init__(self, names: frozenset[str], paths: dict[str, tuple[str, ...]]) -> None:
        self._names = names
        self._paths = paths

    @classmethod
    def parse(cls, written: Sequence[str]) -> Projection:
        """The projection that `fields` names, each text a list with commas; raises `InvalidQuery`.

        A path reads as it does in a filter: `metadata.a.b` is `b` in the object `a`, or the key `a.b`; arrays are
        looked through.
        """
        fields = dict.fromkeys(field for text in written for field in text.split(","))
        if len(fields) > MAX_FIELDS:
            raise _fault(f"may name {MAX_FIELDS} fields", "parameter")
        names: set[str] = set()
        paths: dict[str, tuple[str, ...]] = {}
        for field in fields:
            root, dot, path = field.partition(".")
            if len(field.encode(errors="replace")) > MAX_FIELD_BYTES:
                raise _fault(f"may have {MAX_FIELD_BYTES} bytes for a field", "parameter")
            if field in NAMES:
                names.add(field)
            elif dot and root in FREE_FIELDS and path and not path.startswith(".") and not path.endswith("."):
                paths[root] = (*paths.get(root, ()), path)
            else:
                message = f"names no field of an event: {field!r}; a path begins with {', '.join(FREE_FIELDS)}"
                raise _fault(message, "unknown_field")
        return cls(frozenset(names), {root: found for root, found in paths.items() if root not in names})

    def of(self, body: bytes) -> bytes:
        """The event `body` with the named fields alone, in their order and their exact bytes."""
        kept: list[bytes] = []
        for name, raw in _members_of(body).items():
            if name in self._names:
                kept.append(b'"%s":%s' % (name.encode(), bytes(raw)))
            elif (paths := self._paths.get(name)) and (value := _pruned(bytes(raw), 0, paths)):
                kept.append(b'"%s":%s' % (name.encode(), value))
        return b"{" + b",".join(kept) + b"}"


def _pruned(text: bytes, at: int, paths: tuple[str, ...]) -> bytes:
    """The object or array at `at` with what lies under one of `paths` alone; b"" when nothing does.

    A key that stands twice is kept twice: the scanner sees what a dictionary would lose.
    """
    if text[at : at + 1] == b"[":
        elements = [_pruned(text, start, paths) for start, _ in _elements(text, at)]
        kept = [element for element in elements if element]
        return b"[" + b",".join(kept) + b"]" if kept else b""
    if text[at : at + 1] != b"{":
        return b""
    kept = []
    for key, start, end in _members(text, at):
        name = _key_of(key)
        if any(path == name or name.startswith(path + ".") for path in paths):
            kept.append(key + b":" + text[start:end])
        elif below := tuple(path[len(name) + 1 :] for path in paths if path.startswith(name + ".")):
            value = _pruned(text, start, below)
            if value:
                kept.append(key + b":" + value)
    return b"{" + b",".join(kept) + b"}" if kept else b""


def _members(text: bytes, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Each member of the object at `at`: its key as it is written, and where its value starts and ends."""
    at = _next(text, at + 1)
    while text[at : at + 1] != b"}":
        end = _end(text, at)
        start = _next(text, end)
        key = text[at:end]
        at = _end(text, start)
        yield key, start, at
        at = _next(text, at)


def _elements(text: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Where each element of the array at `at` starts and ends."""
    at = _next(text, at + 1)
    while text[at : at + 1] != b"]":
        end = _end(text, at)
        yield at, end
        at = _next(text, end)


def _next(text: bytes, at: int) -> int:
    """Where the next token stands; the text is known to be JSON, so what is in between needs no look."""
    found = _BETWEEN.match(text, at)
    assert found is not None  # noqa: S101 - it matches nothing as well
    return found.end()


def _end(text: bytes, at: int) -> int:
    """Where the value at `at` ends."""
    first = text[at : at + 1]
    if first in _OPENING:
        depth = 0
        for token in _STRING_OR_BRACKET.finditer(text, at):
            if (found := token[0]) in _OPENING:
                depth += 1
            elif found in (b"}", b"]"):
                depth -= 1
                if not depth:
                    return token.end()
    value = (_STRING if first == b'"' else _SCALAR).match(text, at)
    if value is None:
        raise ValueError("not JSON")
    return value.end()


def _fault(message: str, kind: str) -> InvalidQuery:
    return InvalidQuery(f"fields {message}", errors=[FieldError(("query", "fields"), message, kind)])
