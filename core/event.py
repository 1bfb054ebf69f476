"""An audit event: what a client may send, and the bytes that it becomes.

The bytes made here are the event from then on: the queue carries them, the store keeps them, the index is fed them
and every answer returns them. `metadata`, `before_state` and `after_state` pass through unparsed (`msgspec.Raw`), so
that keys with dots, 30-digit numbers and `1e400` survive.
"""

from __future__ import annotations

import io
import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from core import instant
from core.errors import InvalidEvent, as_value
from core.event_faults import MAX_DEPTH as MAX_DEPTH
from core.event_faults import MAX_EVENT_BYTES as MAX_EVENT_BYTES
from core.event_faults import in_field, no_json, too_deep, too_large, wrong_type

MAX_STRING_BYTES: Final = 8 * 1024
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_KEY_BYTES: Final = 255
MAX_TAGS: Final = 64
MAX_FUTURE_US: Final = 24 * 3600 * 1_000_000
MAX_LINE_BYTES: Final = MAX_EVENT_BYTES + len('"severity":"INFO",')
"""Of an encoded event, which has a severity even where the client sent none."""

Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Outcome = Literal["success", "failure", "denied"]
_Name = Annotated[str, Meta(min_length=1, max_length=MAX_STRING_BYTES)]
_Text = Annotated[str, Meta(max_length=MAX_STRING_BYTES)]

KEYWORD_FIELDS: Final = (
    "action", "severity", "outcome", "user_id", "session_id", "user_agent", "resource_type", "resource_id",
    "request_id", "trace_id", "source", "tags",
)  # fmt: skip
"""Named fields that are filtered by exact value or prefix, in store and index alike."""
FREE_FIELDS: Final = ("before_state", "after_state", "metadata")
"""Free-form fields: a JSON object or null, kept token for token."""


class EventInput(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False):
    """One event as a client sends it. `msgspec` refuses an unknown field by its name.

    No cycle can run through it, and the collector's walks over 500 of them took a sixth of a bulk's time.
    """

    action: _Name
    timestamp: str | UnsetType | None = UNSET
    severity: Severity | None = None
    outcome: Outcome | None = None
    message: Annotated[str, Meta(max_length=MAX_MESSAGE_BYTES)] | None = None
    user_id: _Text | None = None
    session_id: _Text | None = None
    ip_address: Annotated[str, Meta(max_length=45)] | None = None
    user_agent: _Text | None = None
    resource_type: _Text | None = None
    resource_id: _Text | None = None
    request_id: _Text | None = None
    trace_id: _Text | None = None
    source: _Text | None = None
    tags: Annotated[list[_Text], Meta(max_length=MAX_TAGS)] | None = None
    before_state: Raw | UnsetType = UNSET
    after_state: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    idempotency_key: Annotated[str, Meta(min_length=1)] | UnsetType | None = UNSET


class StoredEvent(msgspec.Struct, kw_only=True, frozen=True):
    """The named fields of an event's stored bytes, as consumer and readers decode them."""

    id: str
    tenant_id: str
    action: str
    timestamp: str
    received_at: str
    severity: str
    outcome: str | None = None
    message: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    source: str | None = None
    tags: list[str] | None = None
    before_state: Raw | UnsetType = UNSET
    after_state: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    salt: str = ""


_decoder: Final = msgspec.json.Decoder(EventInput)
_list_decoder: Final = msgspec.json.Decoder(list[EventInput])
_encoder: Final = msgspec.json.Encoder()
decode_stored: Final = msgspec.json.Decoder(StoredEvent).decode
_BRACE: Final = ord("{")
_N: Final = ord("n")
_LINE_BREAKS: Final = bytes.maketrans(b"\n\r", b"  ")
_STRING_OR_BRACKET: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


def decode(item: bytes) -> EventInput:
    """One event from its JSON (UTF-8 already checked), unmasked; raises `InvalidEvent` naming the field.

    `check` has still to be called.
    """
    if len(item) > MAX_EVENT_BYTES:
        raise too_large(len(item))
    try:
        return _decoder.decode(item)
    except msgspec.ValidationError as error:
        raise wrong_type(str(error)) from None
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise no_json(item, error) from None


def decode_all(body: bytes) -> list[EventInput]:
    """A JSON array of events in one call, in C; raises `msgspec.DecodeError` or the like if any of them is bad."""
    return _list_decoder.decode(body)


def check(event: EventInput, received_at: int) -> str:
    """The event's own time in canonical text (`received_at` when it gives none); checks what the types do not say.

    Takes out of `event` what is a stamp: its timestamp and key. Raises `InvalidEvent` naming the field.
    """
    if event.action[:7].lower() == "ocelot.":
        raise in_field("action", "actions that begin with ocelot. are the service's own", "reserved_action")
    if event.ip_address is not None and not _is_ip(event.ip_address):
        raise in_field("ip_address", "not an IPv4 or IPv6 address", "ip_address")
    if event.severity is None:
        event.severity = "INFO"
    event.idempotency_key = UNSET
    text = event.timestamp
    event.timestamp = UNSET
    if not isinstance(text, str):
        return instant.to_text(received_at)
    try:
        us, canonical = instant.parse(text)
    except ValueError as error:
        raise in_field("timestamp", str(error), "timestamp") from None
    if not 0 <= us <= received_at + MAX_FUTURE_US:
        raise in_field("timestamp", "must lie between 1970 and 24 hours from now", "timestamp_out_of_range")
    return canonical


def encode_all(events: Sequence[EventInput]) -> list[bytes | InvalidEvent]:
    """Each checked event as JSON on one line, with a line feed at its end, or what is wrong with it.

    One call for all of them takes a third of a call for each; the lines are those that `readlines` finds, since
    `bytes.split` looks at byte after byte.
    """
    encoded = _encoder.encode_lines(events)
    lines = io.BytesIO(encoded).readlines()
    if len(lines) != len(events) or encoded.find(b"\r") >= 0:  # some were sent with line breaks in them
        return [_alone(event) for event in events]
    return [
        line if _is_plain(event, line) and not may_be_over(line) else _alone(event)
        for event, line in zip(events, lines, strict=True)
    ]


def _alone(event: EventInput) -> bytes | InvalidEvent:
    try:
        line = encode(event)
        if may_be_over(line):
            _check_encoded(event, line)
    except InvalidEvent as error:
        return as_value(error)
    return line


def encode(event: EventInput) -> bytes:
    """A checked event as JSON on one line, with a line feed at its end.

    0x0A and 0x0D, which valid JSON holds only as white space, become spaces: a line break inside `metadata` would
    otherwise be a command of its own in the index's bulk protocol. Raises `InvalidEvent` for a free-form field that is
    no object.
    """
    if event.before_state is not UNSET:
        event.before_state = _object("before_state", event.before_state)
    if event.after_state is not UNSET:
        event.after_state = _object("after_state", event.after_state)
    if event.metadata is not UNSET:
        event.metadata = _object("metadata", event.metadata)
    return _encoder.encode(event).translate(_LINE_BREAKS) + b"\n"


def _is_plain(event: EventInput, line: bytes) -> bool:
    """Whether a line needs no look at its free-form fields: `metadata` comes last, and only an object ends so."""
    return (
        (event.metadata is UNSET or line.endswith(b"}}\n"))
        and event.before_state is UNSET
        and event.after_state is UNSET
    )


def may_be_over(line: bytes) -> bool:
    """Whether `_check_encoded` has anything to look at: a look at the line's length and opening brackets.

    Those bound the depth from above, and most events have fewer than 64 in all. `bytes.count` looks at byte after
    byte; `replace` skips from bracket to bracket, which takes half the time.
    """
    size = len(line)
    return size > MAX_STRING_BYTES or 2 * size - len(line.replace(b"{", b"")) - len(line.replace(b"[", b"")) > MAX_DEPTH


def _check_encoded(event: EventInput, line: bytes) -> None:
    """The bounds that are read off the encoded event: size, depth and lengths; raises `InvalidEvent`."""
    if (size := len(line) - 1) > MAX_LINE_BYTES:
        raise too_large(size)
    _check_sizes(event)
    if depth_of(line) > MAX_DEPTH:
        deep = (name for name in FREE_FIELDS if depth_of(bytes(getattr(event, name) or b"")) >= MAX_DEPTH)
        raise too_deep(next(deep, None))


def depth_of(document: bytes) -> int:
    """How deep the arrays and objects of valid JSON nest."""
    deepest = depth = 0
    for token in _STRING_OR_BRACKET.findall(document):
        if token in (b"{", b"["):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"}", b"]"):
            depth -= 1
    return deepest


def _object(name: str, raw: Raw) -> Raw | UnsetType:
    """A free-form field, UNSET for null."""
    first = memoryview(raw)[0]
    if first == _BRACE:
        return raw
    if first == _N:
        return UNSET
    raise in_field(name, "must be an object or null", "object")


def _check_sizes(event: EventInput) -> None:
    for name in (*KEYWORD_FIELDS, "message"):
        limit = MAX_MESSAGE_BYTES if name == "message" else MAX_STRING_BYTES
        value = getattr(event, name)
        for text in value if isinstance(value, list) else (value,):
            if text is not None and len(text.encode()) > limit:
                raise in_field(name, f"may have {limit} bytes of UTF-8", "string_too_long")


@lru_cache(maxsize=8192)
def _is_ip(text: str) -> bool:
    if "%" in text:  # a zone id names an interface of one host, and the index takes none
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
