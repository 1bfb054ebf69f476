"""What is kept of an event that is at fault. Nothing is kept that was not masked, and nothing that cannot be."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from core import ids
from core.event import MAX_DEPTH, MAX_EVENT_BYTES, MAX_KEY_BYTES, EventInput, depth_of
from core.ports.quarantine import CONFLICT, Form, Kept
from core.tenant import Tenant

_MEMBER_BYTES: Final = 2 * 1024
_HEAD_BYTES: Final = 16 * 1024
_OUTLINE: Final = 4 * 1024
_MAX_COMMAS: Final = 20_000
_MAX_NAMES: Final = 100
_STAMPS: Final = ("id", "tenant_id", "received_at", "salt")
_KEY: Final = "idempotency_key"
_LINE_BREAKS: Final = bytes.maketrans(b"\n\r", b"  ")
_WORD: Final = re.compile(r'[^\s{}\[\]:,"]+')
_SHOWN: Final = frozenset({*EventInput.__struct_fields__, "true", "false", "null"})
_members: Final = msgspec.json.Decoder(dict[str, Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be kept; `line` is still to be masked, unless it is an outline."""

    form: Form
    line: bytes
    cut: list[str]
    key: str | None
    """The client's own, from the event's body."""


class Reserved(Exception):
    """The event has an action of the service's own: it is refused, never kept."""


def draft_of(item: bytes) -> Draft:
    """Raises `Reserved`.

    The parts of an object are joined anew, and members of one name are one then: masking finds what it knows the form
    of. What two parsers could read differently is not kept but as an outline.
    """
    members = _object(item)
    if members is None:
        return Draft(Form.OUTLINE, _outline(item), [], None)
    key = _text(members.pop(_KEY, None))
    if (_text(members.get("action")) or "")[:7].lower() == "ocelot.":
        raise Reserved
    line = _joined(members)
    if len(line) <= MAX_EVENT_BYTES and depth_of(line) <= MAX_DEPTH:
        return Draft(Form.EVENT, line, [], key)
    head, cut, size = {}, [], 0
    for name, value in members.items():
        length = len(name) + len(value)
        if length > _MEMBER_BYTES or size + length > _HEAD_BYTES or depth_of(bytes(value)) >= MAX_DEPTH:
            cut.append(name[:_MAX_NAMES])
        else:
            head[name] = value
            size += length
    line = _joined(head)
    if not _is_strict(line):
        return Draft(Form.OUTLINE, _outline(item), [], key)
    return Draft(Form.HEAD, line, cut[:_MAX_NAMES], key)


def kept_of(tenant: Tenant, draft: Draft, item: bytes, at: int, code: str, fields: list[str], key: str | None) -> Kept:
    """Of a draft that is masked. With a key, the same bytes sent again are the same item."""
    sha256 = hashlib.sha256(item).hexdigest()
    key = draft.key if key is None else key
    is_key = key is not None and 0 < len(key.encode(errors="replace")) <= MAX_KEY_BYTES and _is_text(key)
    event_id = ids.uuid8_of_key(tenant.secret, key) if is_key and key is not None else None
    own = None if event_id is None else ids.uuid8_of_key(tenant.secret, f"\0quarantined:{event_id}:{sha256}")
    return Kept(
        id=own or ids.uuid7s(at, 1)[0],
        at=at,
        code=code,
        fields=fields,
        form=draft.form,
        body=draft.line,
        cut=draft.cut,
        size=len(item),
        sha256=sha256,
        event_id=event_id,
    )


def conflict_of(tenant_id: str, event_id: str, body: bytes, at: int) -> Kept:
    """Of an event that the store has another of under its id, as it would be sent again; its bytes are masked."""
    members = _members(body)
    for stamp in _STAMPS:
        members.pop(stamp, None)
    digest = bytearray(hashlib.sha256(tenant_id.encode() + b"\0" + body).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return Kept(
        id=str(uuid.UUID(bytes=bytes(digest))),
        at=at,
        code=CONFLICT,
        fields=[_KEY],
        form=Form.EVENT,
        body=_joined(members),
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        conflicts_with=event_id,
    )


def replay_id(tenant: Tenant, kept: Kept) -> str:
    """The id that the event is stored under when it is replayed: the same, however often it is."""
    return kept.event_id or ids.uuid8_of_key(tenant.secret, f"\0quarantine:{kept.id}")


def _object(item: bytes) -> dict[str, Raw] | None:
    """The members of a JSON object; None for anything else, and for what only some parsers would take."""
    if len(item) > MAX_EVENT_BYTES and item.count(b",") > _MAX_COMMAS:
        return None
    try:
        item.decode()
        members = _members(item)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return None
    # Of a larger one only a head is kept, which is read so itself.
    return members if len(item) > MAX_EVENT_BYTES or _is_strict(item) else None


def _is_strict(document: bytes) -> bool:
    """By the stricter parser: an escape or a number that none may write would pass in a raw value.

    Half of a surrogate pair passes the parser, and cannot be encoded.
    """
    try:
        json.dumps(json.loads(document, parse_int=len, parse_float=len), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _joined(members: dict[str, Raw]) -> bytes:
    return _encode(members).translate(_LINE_BREAKS)


def _text(value: Raw | None) -> str | None:
    """The value where it is a string."""
    if value is None:
        return None
    try:
        found: Any = json.loads(bytes(value), parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _outline(item: bytes) -> bytes:
    """Its beginning with every word but the names of events' fields as `*`: no word, no secret."""
    text = item[:_OUTLINE].decode(errors="replace")
    return _WORD.sub(lambda word: word[0] if word[0] in _SHOWN else "*", text).translate(_SPACES).encode()


_SPACES: Final = {ord(c): " " for c in "\n\r\t\x0b\x0c\x85\u2028\u2029"}
