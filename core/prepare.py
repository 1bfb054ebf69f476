"""From what a client sent to records: decode, check, encode, mask and stamp.

This is the hot path. A bulk without a fault is decoded by one call for all of it; what that call does not take is
decoded event by event, so that each is refused alone. From there on events go in runs, between which others work.

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
from core.bulk import Bulk, bounded
from core.envelope import Record
from core.errors import FieldError, InvalidEvent, as_value
from core.event import EventInput
from core.event_faults import no_utf8, too_large
from core.placement import place
from core.tenant import Tenant

Entry = EventInput | InvalidEvent
_LARGE: Final = 2 * 1024
"""Bytes an event, from which on those of a bulk are measured as they came: in most they are far from the bound."""

RUN: Final = 500
"""How many events are prepared before the loop gets a turn: 5 ms of work."""
_RUN_BYTES: Final = 1024 * 1024


def entries_at_once(bulk: Bulk) -> list[EventInput] | None:
    """The events of an array without a fault, by one call for all; None: its items must be looked at."""
    if bulk.is_dense or not bulk.is_array or not bulk.is_utf8:
        return None
    try:
        entries = bounded(event.decode_all(bulk.body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # one of them, or the whole: event by event tells
    size = len(bulk.body)
    if size > max(event.MAX_EVENT_BYTES, _LARGE * len(entries)) and max(map(len, bulk.items())) > event.MAX_EVENT_BYTES:
        return None
    return entries


def decoded(item: bytes, *, is_utf8: bool = True) -> Entry:
    """An item as an event, or why it is none. Without `is_utf8` that has still to be found out."""
    if not (is_utf8 or _is_utf8(item)):
        return no_utf8(item)
    try:
        return event.decode(item)
    except InvalidEvent as error:
        return as_value(error)


def _is_utf8(item: bytes) -> bool:
    try:
        item.decode()
    except UnicodeDecodeError:
        return False
    return True


def slices(items: Sequence[bytes], size: int) -> Iterator[tuple[int, int]]:
    """Where runs of the items begin and end, of about `size` bytes at most."""
    ends = list(accumulate(map(len, items)))
    start = taken = 0
    while start < len(items):
        end = max(start + 1, bisect_right(ends, taken + size))
        yield start, end
        start, taken = end, ends[end - 1]


@dataclass(slots=True)
class Run:
    """Good events of a request: the line, time and place of each; by its place a key with the time that came with it.

    `faults` says by its place what is wrong with an event that is left out.
    """

    lines: list[bytes] = field(default_factory=list)
    timestamps: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    keys: dict[int, tuple[str, str]] = field(default_factory=dict)
    faults: dict[int, InvalidEvent] = field(default_factory=dict)

    def parts(self) -> Iterator[Run]:
        """Runs of about 1 MiB, the faults with the first of them."""
        faults = self.faults
        for start, end in slices(self.lines, _RUN_BYTES):
            part = slice(start, end)
            yield Run(self.lines[part], self.timestamps[part], self.places[part], self.keys, faults)
            faults = {}
        if not self.lines:
            yield self


@dataclass(slots=True)
class Prepared:
    """What became of a run: `records` with their `ids` stand for the entries at `places`."""

    ids: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    faults: dict[int, InvalidEvent] = field(default_factory=dict)


def encoded(entries: Sequence[Entry], now: int, *, key: str | None = None) -> Iterator[Run]:
    """The entries that are good as lines, still to be masked, run by run. Uses the entries up.

    `key` is that of a lone event. Between runs the caller can let others work.
    """
    for start in range(0, len(entries), RUN):
        yield from _encoded(entries[start : start + RUN], start, now, key).parts()


def _encoded(entries: Sequence[Entry], start: int, now: int, key: str | None) -> Run:
    run = Run()
    events: list[EventInput] = []
    for at, entry in enumerate(entries, start):
        if isinstance(entry, InvalidEvent):
            run.faults[at] = entry
            continue
        given = entry.timestamp
        try:
            own = entry.idempotency_key if key is None else _one_key(entry, key)
            timestamp = event.check(entry, now)
        except InvalidEvent as error:
            run.faults[at] = as_value(error)
            continue
        if isinstance(own, str):
            run.keys[at] = own, timestamp if isinstance(given, str) else ""
        events.append(entry)
        run.timestamps.append(timestamp)
        run.places.append(at)
    for at, line in zip(run.places, event.encode_all(events), strict=True):
        if isinstance(line, InvalidEvent):
            run.faults[at] = line
        else:
            run.lines.append(line)
    if len(run.lines) < len(events):
        run.timestamps = [text for text, at in zip(run.timestamps, run.places, strict=True) if at not in run.faults]
        run.places = [at for at in run.places if at not in run.faults]
    return run


def stamped(tenant: Tenant, run: Run, now: int, keys: dict[str, bytes]) -> Prepared:
    """The records of a run whose lines are masked. `keys` holds the request's keys with their contents.

    The stamps are spliced in: building a second struct of 22 fields took twice as long.
    """
    lines = run.lines
    new_ids = ids.uuid7s(now, len(lines))
    contents: list[bytes | None] = [None] * len(lines)
    faults = run.faults
    for n, at in enumerate(run.places) if run.keys else ():
        if at in run.keys:
            try:
                new_ids[n], contents[n] = _identity(tenant, lines[n], *run.keys[at], keys)
            except InvalidEvent as error:
                faults[at] = as_value(error)
    tenant_id = f'","tenant_id":"{tenant.id}","timestamp":"'
    received_at = f'","received_at":"{instant.to_text(now)}","salt":"'
    heads = [
        f'{{"id":"{event_id}{tenant_id}{timestamp}{received_at}{salt}",'
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
    if max(map(len, lines), default=0) > event.MAX_LINE_BYTES:
        for at, line in zip(prepared.places, lines, strict=True):
            if (size := len(line) - 1) > event.MAX_LINE_BYTES:
                prepared.faults[at] = too_large(size)
    if prepared.faults:
        kept = [n for n, at in enumerate(prepared.places) if at not in prepared.faults]
        prepared.ids = [prepared.ids[n] for n in kept]
        prepared.records = [prepared.records[n] for n in kept]
        prepared.places = [prepared.places[n] for n in kept]


def _one_key(entry: EventInput, header: str) -> str:
    """The key of a lone event, which its body may repeat; raises when the body says another."""
    if isinstance(entry.idempotency_key, str) and entry.idempotency_key != header:
        message = "the header Idempotency-Key and the body's idempotency_key differ"
        places = (("header", "Idempotency-Key"), ("idempotency_key",))
        raise InvalidEvent(message, errors=[FieldError(place, message, "differs") for place in places])
    return header


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
