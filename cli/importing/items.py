"""From a line to an item of a bulk request: the mapped event, the original whole in it, and a key that repeats.

The sources' own ids are no keys (they repeat with other contents), nor is the line alone (equal lines may be separate
events). A key is the source, the log that the line is from, the SHA-256 of the line, and its ordinal among the equal
lines of that log; so the same log gives the same keys under any name, packed or not, and two logs never share one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cli.importing.lines import Line
from cli.sources import NDJSON, named_fields
from core.errors import FieldError
from core.event import MAX_EVENT_BYTES

_ORIGIN_DIGITS: Final = 16
_SAFE_INTEGER_DIGITS: Final = 19
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Item:
    """A line ready to send: one event as JSON on one line, with its key."""

    line: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that did not become an event, and why: `code` and `errors` as the server's, or found here."""

    line: int
    code: str
    message: str
    errors: tuple[FieldError, ...] = ()


class Keys:
    """Gives each line of one log its idempotency key. Deterministic: a second run gives the same.

    `origin` names the log; without one, its first line does. Memory: about 85 bytes for each different line.
    """

    def __init__(self, source: str, origin: str | None = None) -> None:
        self._prefix = source
        self._origin = _digits(origin.encode()) if origin else None
        self._seen: dict[bytes, int] = {}

    def next(self, data: bytes) -> str:
        """The key of the next line; must see every line, in order."""
        digest = hashlib.sha256(data)
        if self._origin is None:
            self._origin = digest.hexdigest()[:_ORIGIN_DIGITS]
        short = digest.digest()[:16]
        ordinal = self._seen.get(short, 0)
        self._seen[short] = ordinal + 1
        return f"{self._prefix}:{self._origin}:{digest.hexdigest()}:{ordinal}"


def item_of(source: str, line: Line, key: str, now: int) -> Item | Refusal:
    """The item of a line, or why there is none. `now` in microseconds."""
    data = line.data
    if data is None:
        return _too_large(line.number)
    try:
        original = parse(data)
    except RecursionError:
        return Refusal(line.number, "too_deep", "nests too deep")
    except ValueError as error:
        return Refusal(line.number, "malformed_json", f"not JSON: {error}")
    if not isinstance(original, dict):
        return Refusal(line.number, "not_an_object", "a line must be a JSON object")
    if source == NDJSON:
        event = _with_key(data, key) if original.get("idempotency_key") is None else data
    else:
        event = _event(source, original, data, key, now)
    return Item(line.number, event) if len(event) <= MAX_EVENT_BYTES else _too_large(line.number)


def parse(data: bytes) -> Any:
    """The JSON of a line; raises ValueError or RecursionError. Numbers that no machine has (`1e400`) are well."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return json.loads(data.decode(), parse_constant=_no_constant, parse_int=_integer)


def _event(source: str, original: dict[str, Any], data: bytes, key: str, now: int) -> bytes:
    named: dict[str, Any] = named_fields(source, original, now)
    event = {**named, "metadata": msgspec.Raw(data), "idempotency_key": key}
    encoded = _encode(event)
    if len(encoded) > MAX_EVENT_BYTES:
        # Nothing is lost: the original has it all.
        event = {"action": named["action"], "metadata": msgspec.Raw(data), "idempotency_key": key}
        if "timestamp" in named:
            event["timestamp"] = named["timestamp"]
        encoded = _encode(event)
    return encoded


def _with_key(data: bytes, key: str) -> bytes:
    """The same bytes with the key spliced in before the closing brace (after a null key: the last one counts)."""
    body = data[:-1].rstrip()
    return b'%b%b"idempotency_key":"%b"}' % (body, b"" if body == b"{" else b",", key.encode())


def _too_large(line: int) -> Refusal:
    return Refusal(line, "event_too_large", f"an event may have {MAX_EVENT_BYTES} bytes")


def _digits(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_ORIGIN_DIGITS]


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _SAFE_INTEGER_DIGITS else digits


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
