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
from core.masking import DEFAULT
from core.placement import place
from core.tenant import Tenant

Entry = EventInput | InvalidEvent

RUN: Final = 500
"""How many events are prepared before the loop gets a turn: 5 ms of work."""
_RUN_BYTES: Final = 1024 * 1024
_TURN_BYTES: Final = 64 * 1024
"""How many bytes with secrets are masked before the loop gets a turn: what is all secrets takes up to 1.3 s a MiB."""


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
class _Run:
    """Good events of a run: the line, time and place of each, and by its place a client's key with the time it gave."""

    lines: list[bytes] = field(default_factory=list)
    timestamps: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    keys: dict[int, tuple[str, str]] = field(default_factory=dict)

    def part(self, start: int, end: int) -> _Run:
        """Its events from number `start` to `end`."""
        if start == 0 and end == len(self.lines):
            return self
        return _Run(self.lines[start:end], self.timestamps[start:end], self.places[start:end], self.keys)


def prepare(
    tenant: Tenant, entries: Sequence[Entry], now: int, keys: dict[str, bytes], *, key: str | None = None
) -> Iterator[Prepared]:
    """The records of the entries that are good, and what is wrong with the others, run by run. Uses the entries up.

    `keys` holds the request's keys with their contents; `key` is that of a lone event. Between runs the caller can let
    others work.
    """
    for start in range(0, len(entries), RUN):
        faults: dict[int, InvalidEvent] = {}
        run = _encoded(entries[start : start + RUN], start, now, key, faults)
        for first, end in slices(run.lines, _RUN_BYTES):
            part = run.part(first, end)
            for _ in _mask(part.lines):
                yield Prepared()
            yield _stamped(tenant, part, now, keys)
        if faults:
            yield Prepared(faults=faults)


def _encoded(entries: Sequence[Entry], start: int, now: int, key: str | None, faults: dict[int, InvalidEvent]) -> _Run:
    """The entries that are good, encoded; the others' faults go into `faults`. `start` is the first one's place."""
    run = _Run()
    events: list[EventInput] = []
    for at, entry in enumerate(entries, start):
        if isinstance(entry, InvalidEvent):
            faults[at] = entry
            continue
        own = entry.idempotency_key if key is None else key
        given = entry.timestamp
        try:
            timestamp = event.check(entry, now)
        except InvalidEvent as error:
            faults[at] = error
            continue
        if isinstance(own, str):
            run.keys[at] = own, timestamp if isinstance(given, str) else ""
        events.append(entry)
        run.timestamps.append(timestamp)
        run.places.append(at)
    for n, line in enumerate(event.encode_all(events)):
        if isinstance(line, InvalidEvent):
            faults[run.places[n]] = line
        else:
            run.lines.append(line)
    if len(run.lines) < len(events):
        run.timestamps = [text for text, at in zip(run.timestamps, run.places, strict=True) if at not in faults]
        run.places = [at for at in run.places if at not in faults]
    return run


def _mask(lines: list[bytes]) -> Iterator[None]:
    """Mask the lines in place, with a stop after every so many bytes."""
    taken = 0
    for n, hits in DEFAULT.find_all(lines):
        taken += len(lines[n])
        lines[n] = DEFAULT.mask_found(lines[n], hits)
        if taken > _TURN_BYTES:
            taken = 0
            yield


def _stamped(tenant: Tenant, run: _Run, now: int, keys: dict[str, bytes]) -> Prepared:
    """The records of a run's masked events, and what is wrong with some of them after all.

    The stamps are spliced in: building a second struct of 22 fields took twice as long.
    """
    lines = run.lines
    new_ids = ids.uuid7s(now, len(lines))
    contents: list[bytes | None] = [None] * len(lines)
    faults: dict[int, InvalidEvent] = {}
    for n, at in enumerate(run.places) if run.keys else ():
        if at in run.keys:
            try:
                new_ids[n], contents[n] = _identity(tenant, lines[n], *run.keys[at], keys)
            except InvalidEvent as error:
                faults[at] = error
    stamps = f'","tenant_id":"{tenant.id}","received_at":"{instant.to_text(now)}","timestamp":"'
    heads = [
        f'{{"id":"{event_id}{stamps}{timestamp}","salt":"{salt}",'
        for event_id, timestamp, salt in zip(new_ids, run.timestamps, ids.salts(len(lines)), strict=True)
    ]
    bodies = [head.encode() + line[1:-1] for head, line in zip(heads, lines, strict=True)]
    placement = place(tenant.placements, now)
    records = list(map(Record, repeat(tenant.id), repeat(placement), bodies, contents))
    prepared = Prepared(new_ids, records, run.places, faults)
    _take_out(lines, prepared)
    return prepared


def _take_out(lines: Sequence[bytes], prepared: Prepared) -> None:
    """Leave out the events with faults, and those that masking made too large."""
    if max(map(len, lines)) > event.MAX_EVENT_BYTES:
        for at, line in zip(prepared.places, lines, strict=True):
            if (size := len(line) - 1) > event.MAX_EVENT_BYTES:
                prepared.faults[at] = event.too_large(size)
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
