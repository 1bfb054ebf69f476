"""Putting an event right by rules: fields are renamed, moved, dropped and set; every other token stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from core.errors import FieldError, Invalid

MAX_OPERATIONS: Final = 50
MAX_STEPS: Final = 16
_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode
Members = dict[str, Raw]


class Operation(msgspec.Struct, frozen=True):
    """`path` and `to` are JSON Pointers into objects; for `rename`, `to` is the new name alone.

    What `path` does not find leaves the event as it is; `set` and `move` make the objects on their way.
    """

    op: Literal["rename", "move", "drop", "set"]
    path: tuple[str, ...]
    to: tuple[str, ...] = ()
    value: Raw = Raw(b"null")


def operations_of(written: Sequence[Mapping[str, Any]]) -> list[Operation]:
    """The operations of a body that was read; raises `Invalid` naming the place."""
    return [_operation(n, each) for n, each in enumerate(written)]


def applied(body: bytes, operations: Sequence[Operation]) -> bytes:
    """The object after all of them, in their order; raises `Invalid` when one would go through what is no object."""
    members = _members(body)
    for operation in operations:
        members = _one(members, operation)
    return _encode(members)


def _one(members: Members, operation: Operation) -> Members:
    if operation.op == "set":
        return _put(members, operation.path, operation.value)
    found = _at(members, operation.path)
    if found is None:
        return members
    if operation.op == "rename":
        return _renamed(members, operation.path, operation.to[0])
    left = _without(members, operation.path)
    return left if operation.op == "drop" else _put(left, operation.to, found)


def _at(members: Members, path: tuple[str, ...]) -> Raw | None:
    value = members.get(path[0])
    if value is None or len(path) == 1:
        return value
    below = _below(value)
    return None if below is None else _at(below, path[1:])


def _put(members: Members, path: tuple[str, ...], value: Raw) -> Members:
    if len(path) == 1:
        return members | {path[0]: value}
    there = members.get(path[0])
    below = {} if there is None else _below(there)
    if below is None:
        raise Invalid(f"/{'/'.join(path)}: {path[0]} is no object", code="not_an_object")
    return members | {path[0]: Raw(_encode(_put(below, path[1:], value)))}


def _without(members: Members, path: tuple[str, ...]) -> Members:
    """Of a path that is there."""
    if len(path) == 1:
        return {name: value for name, value in members.items() if name != path[0]}
    return members | {path[0]: Raw(_encode(_without(_below(members[path[0]]) or {}, path[1:])))}


def _renamed(members: Members, path: tuple[str, ...], name: str) -> Members:
    """Of a path that is there; the member keeps its place, and one of the new name goes."""
    if len(path) == 1:
        kept = {old: value for old, value in members.items() if old == path[0] or old != name}
        return {name if old == path[0] else old: value for old, value in kept.items()}
    return members | {path[0]: Raw(_encode(_renamed(_below(members[path[0]]) or {}, path[1:], name)))}


def _below(value: Raw) -> Members | None:
    return _members(value) if bytes(value).lstrip()[:1] == b"{" else None


def _operation(n: int, written: Mapping[str, Any]) -> Operation:
    op = written["op"]
    path = _pointer(n, "path", written["path"])
    if op == "drop":
        return Operation(op, path)
    if op == "set":
        return Operation(op, path, value=Raw(_encode(written.get("value"))))
    to = written.get("to")
    if not isinstance(to, str) or not to:
        raise _fault(n, "to", f"{op} needs it")
    return Operation(op, path, (to,) if op == "rename" else _pointer(n, "to", to))


def _pointer(n: int, name: str, written: str) -> tuple[str, ...]:
    if not written.startswith("/") or len(written) == 1:
        raise _fault(n, name, "must be a JSON Pointer such as /metadata/user")
    steps = tuple(step.replace("~1", "/").replace("~0", "~") for step in written[1:].split("/"))
    if len(steps) > MAX_STEPS:
        raise _fault(n, name, f"may have {MAX_STEPS} steps")
    return steps


def _fault(n: int, name: str, message: str) -> Invalid:
    fault = FieldError(("body", "mapping", n, name), message, "value")
    return Invalid(f"mapping.{n}.{name}: {message}", code="invalid_request", errors=[fault])
