"""From what a client sent to records: decode, check, encode, mask and stamp.

This is the hot path. A bulk without a fault is decoded by one call for all of it; what that call does not take is
decoded event by event, so that each is refused alone. From there on events go in runs that fit the processor's cache.

Masking comes after encoding: one form to look at, joined in one piece, and what is stored is what was looked at.
"""

from __future__ import annotations

import hmac
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from typing import Final

import msgspec

from core import event, ids, instant
from core.bulk import Bulk, Form, bounded
from core.envelope import Record
from core.errors import FieldError, InvalidEvent
from core.event import EventInput
from core.masking import mask_all
from core.placement import place
from core.tenant import Tenant

Entry = EventInput | InvalidEvent

RUN: Final = 500
"""How many events are prepared at a time: what is made of them is still in the processor's cache for the next step."""
_RUN_BYTES: Final = 64 * 1024
"""How many bytes are masked before the loop gets a turn: what is all secrets takes up to 1.3 s a MiB."""


def entries_at_once(bulk: Bulk) -> list[EventInput] | None:
    """The events of an array or of lines without a fault, by one call for all; None: its items must be looked at."""
    if bulk.is_dense or not (bulk.is_array or bulk.form is Form.LINES):
        return None
    try:
        return bounded(event.decode_all(bulk.body, lines=bulk.form is Form.LINES))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # one of them, or the whole: event by event tells


def decoded(item: bytes) -> Entry:
    """An item as an event, or why it is none."""
    try:
        return event.decode(item)
    except InvalidEvent as error:
        return error


def slices(items: Sequence[bytes], size: int) -> Iterator[tuple[int, int]]:
    """Where runs of the items begin and end, of about `size` bytes at most."""
    ends = list(accumulate(map(len, items)))
    start = taken = 0
    while start < len(items):
        end = max(start + 1, bisect_right(ends, taken + size))
        yield start, end
        start, taken = end, ends[end - 1]


@dataclass(slots=True)
class Prepared:
    """What became of a run of entries: `records` with their `ids` stand for the entries at `places`."""

    ids: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    faults: dict[int, InvalidEvent] = field(default_factory=dict)


@dataclass(slots=True)
class _Encoded:
    """A run's good events: line, time and place of each, and by its number a client's key with the time it gave."""

    lines: list[bytes] = field(default_factory=list)
    timestamps: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    keys: dict[int, tuple[str, str]] = field(default_factory=dict)


def prepare(
    tenant: Tenant, entries: Sequence[Entry], now: int, keys: dict[str, bytes], *, key: str | None = None
) -> Iterator[Prepared]:
    """The records of the entries that are good, and what is wrong with the others, run by run. Uses the entries up.

    `keys` holds the request's keys with their contents; `key` is that of a lone event. Between runs the caller can let
    others work.
    """
    for start in range(0, len(entries), RUN):
        prepared = Prepared()
        encoded = _encoded(entries[start : start + RUN], start, now, key, prepared.faults)
        for first, end in slices(encoded.lines, _RUN_BYTES):
            _stamp(tenant, encoded, range(first, end), now, keys, prepared)
            yield prepared
            prepared = Prepared()
        if prepared.faults:
            yield prepared


def _encoded(
    entries: Sequence[Entry], start: int, now: int, key: str | None, faults: dict[int, InvalidEvent]
) -> _Encoded:
    """The entries that are good, encoded; the others' faults go into `faults`. `start` is the first one's place."""
    encoded = _Encoded()
    for at, entry in enumerate(entries, start):
        if isinstance(entry, InvalidEvent):
            faults[at] = entry
            continue
        own = entry.idempotency_key if key is None else key
        given = entry.timestamp
        try:
            timestamp = event.check(entry, now)
            line = event.encode(entry)
            if event.may_be_over(line):
                event.check_encoded(entry, line)
        except InvalidEvent as error:
            faults[at] = error
            continue
        if isinstance(own, str):
            encoded.keys[len(encoded.lines)] = own, timestamp if isinstance(given, str) else ""
        encoded.lines.append(line)
        encoded.timestamps.append(timestamp)
        encoded.places.append(at)
    return encoded


def _stamp(tenant: Tenant, encoded: _Encoded, run: range, now: int, keys: dict[str, bytes], prepared: Prepared) -> None:
    """Put the records of the encoded events in `run`, masked, into `prepared`.

    The stamps are spliced in: building a second struct of 22 fields took twice as long.
    """
    lines = mask_all(encoded.lines[run.start : run.stop])
    places = encoded.places[run.start : run.stop]
    new_ids = ids.uuid7s(now, len(run))
    contents: list[bytes | None] = [None] * len(run)
    for n in encoded.keys.keys() & run if encoded.keys else ():
        at = n - run.start
        try:
            new_ids[at], contents[at] = _identity(tenant, lines[at], *encoded.keys[n], keys)
        except InvalidEvent as error:
            prepared.faults[places[at]] = error
    stamps = f'","tenant_id":"{tenant.id}","received_at":"{instant.to_text(now)}","timestamp":"'
    heads = [
        f'{{"id":"{event_id}{stamps}{timestamp}","salt":"{salt}",'
        for event_id, timestamp, salt in zip(
            new_ids, encoded.timestamps[run.start : run.stop], ids.salts(len(run)), strict=True
        )
    ]
    bodies = [head.encode() + line[1:] for head, line in zip(heads, lines, strict=True)]
    placement = place(tenant.placements, now)
    prepared.ids = new_ids
    prepared.records = list(map(Record, repeat(tenant.id), repeat(placement), bodies, contents))
    prepared.places = places
    _take_out(lines, prepared)


def _take_out(lines: Sequence[bytes], prepared: Prepared) -> None:
    """Leave out the events with faults, and those that masking made too large."""
    for n, line in enumerate(lines) if max(map(len, lines)) > event.MAX_EVENT_BYTES else ():
        if len(line) > event.MAX_EVENT_BYTES:
            prepared.faults[prepared.places[n]] = event.too_large(len(line))
    if prepared.faults:
        kept = [n for n, at in enumerate(prepared.places) if at not in prepared.faults]
        prepared.ids = [prepared.ids[n] for n in kept]
        prepared.records = [prepared.records[n] for n in kept]
        prepared.places = [prepared.places[n] for n in kept]


def _identity(tenant: Tenant, line: bytes, key: str, given: str, keys: dict[str, bytes]) -> tuple[str, bytes]:
    """Id and content digest of an event with a client's key; raises when the request uses the key otherwise.

    The digest covers the masked line and the time that the client gave, if any: what tells a retry from a conflict.
    """
    if not 0 < len(key.encode()) <= event.MAX_KEY_BYTES:
        fault = FieldError(("idempotency_key",), f"must have 1 to {event.MAX_KEY_BYTES} bytes", "length")
        raise InvalidEvent("idempotency_key: " + fault.msg, errors=[fault])
    content = hmac.digest(tenant.secret, line + given.encode(), "sha256")
    if keys.setdefault(key, content) != content:
        raise InvalidEvent("another event of this request has this key with other content", code="key_conflict")
    return ids.uuid8_of_key(tenant.secret, key), content
