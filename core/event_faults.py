"""What is wrong with an event, as errors that name the field."""

from __future__ import annotations

import json
import re
from typing import Final

from core.errors import FieldError, InvalidEvent

MAX_EVENT_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 64
_PATH: Final = re.compile(r" - at `(?:key in )?\$(.*)`$")
_PATH_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def in_field(field: str, message: str, kind: str) -> InvalidEvent:
    """A fault of one field."""
    return InvalidEvent(f"{field}: {message}", errors=[FieldError((field,), message, kind)])


def too_deep(field: str | None = None) -> InvalidEvent:
    """The fault of an event that nests too deep, in `field` where that is known."""
    message = f"an event may nest {MAX_DEPTH} levels deep"
    return InvalidEvent(message, code="too_deep", errors=[FieldError((field,), message, "too_deep")] if field else [])


def too_large(size: int) -> InvalidEvent:
    """The fault of an event of `size` bytes."""
    return InvalidEvent(f"an event may have {MAX_EVENT_BYTES} bytes, this one has {size}", code="event_too_large")


def no_json(item: bytes, error: Exception) -> InvalidEvent:
    """The fault of UTF-8 that the parser does not take."""
    # No UTF-8 holds half of a surrogate pair, and msgspec refuses an escape that stands for one.
    field = _broken_field(item)
    if field is None:
        return InvalidEvent(f"not JSON: {error}", code="malformed_json")
    message = "holds half of a surrogate pair"
    fault = FieldError((field,), message, "lone_surrogate")
    return InvalidEvent(f"{field}: {message}", code="lone_surrogate", errors=[fault])


def no_utf8(item: bytes) -> InvalidEvent:
    """The fault of an item that is not UTF-8."""
    field = _broken_field(item) if len(item) <= MAX_EVENT_BYTES else None
    fault = FieldError((field,) if field else (), "is not UTF-8", "invalid_utf8")
    return InvalidEvent(f"{field or 'the event'}: is not UTF-8", code="invalid_utf8", errors=[fault])


def _broken_field(item: bytes) -> str | None:
    """The first field of an event whose name or value no UTF-8 can hold; None when it is no JSON otherwise."""
    try:
        members = json.loads(item.decode(errors="surrogateescape"), parse_int=len, parse_float=len)
        for name, value in members.items() if isinstance(members, dict) else ():
            try:
                json.dumps([name, value], ensure_ascii=False).encode()
            except UnicodeEncodeError:
                return str(name).encode(errors="replace").decode()
    except (ValueError, RecursionError):
        pass
    return None


def wrong_type(message: str) -> InvalidEvent:
    """An `InvalidEvent` from msgspec's message, whose tail says where: "... - at `$.tags[0]`"."""
    match = _PATH.search(message)
    path = match[1] if match else ""
    loc: list[str | int] = [
        name or (int(index) if index.isdigit() else index) for name, index in _PATH_STEP.findall(path)
    ]
    message = message[: match.start()] if match else message
    kind = "type"
    if message.startswith("Object contains unknown field"):
        kind = "unknown_field"
        loc.append(message.split("`")[1])
    elif message.startswith("Object missing required field"):
        kind = "missing"
        loc.append(message.split("`")[1])
    elif "length" in message:
        kind = "length"
    elif message.startswith("Invalid enum value"):
        kind = "enum"
    detail = message if kind in ("unknown_field", "missing") or not loc else f"{'.'.join(map(str, loc))}: {message}"
    return InvalidEvent(detail, errors=[FieldError(tuple(loc), message, kind)])
