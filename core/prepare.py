"""From what a client sent to records: mask, decode, check, stamp and encode, many events at a time.

This is the hot path. An array without a secret or a fault is decoded by one call for all of it; whatever that call
does not take is decoded event by event, so that each is refused alone. Encoding is one call for all in any case.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from core import event, ids, instant
from core.bulk import Bulk, bounded
from core.envelope import Record
from core.errors import FieldError, InvalidEvent
from core.event import EventInput
from core.masking import mask_all, may_hold_secret
from core.placement import place
from core.tenant import Tenant

Entry = EventInput | InvalidEvent


def entries_at_once(bulk: Bulk) -> list[EventInput] | None:
    """The events of an array without a secret or a fault, by one call for all; None: its items must be looked at."""
    if not bulk.is_array or bulk.is_dense or may_hold_secret(bulk.body):
        return None
    try:
        return bounded(event.decode_all(bulk.body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # one of them, or the whole: event by event tells


def slices(items: Sequence[bytes], count: int, size: int) -> Iterator[Sequence[bytes]]:
    """The items in runs of `count` items and about `size` bytes at most."""
    start = 0
    while start < len(items):
        end, taken = start, 0
        while end < len(items) and end - start < count and taken < size:
            taken += len(items[end])
            end += 1
        yield items[start:end]
        start = end


def decoded(items: Sequence[bytes]) -> list[Entry]:
    """Each item, masked and decoded, or why it is no event."""
    entries: list[Entry] = []
    # What is too large is refused unmasked: masking a body of 16 MiB as if it were one event takes seconds.
    fitting = [item if len(item) <= event.MAX_EVENT_BYTES else b"" for item in items]
    for item, fit, clean in zip(items, fitting, mask_all(fitting), strict=True):
        try:
            entry = event.decode(clean if fit is item else item)
            if clean is not item and isinstance(entry.idempotency_key, str):
                # The key is no part of the event, and two keys that are masked alike would make two events one.
                entry.idempotency_key = event.key_of(item)
        except InvalidEvent as error:
            entries.append(error)
            continue
        entries.append(entry)
    return entries


@dataclass(slots=True)
class Prepared:
    """What became of a run of entries: `records` with their `ids` stand for the entries at `places`."""

    ids: list[str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    places: Sequence[int] = ()
    faults: dict[int, InvalidEvent] = field(default_factory=dict)


def prepare(
    tenant: Tenant,
    entries: Sequence[Entry],
    now: int,
    keys: dict[str, bytes],
    *,
    key: str | None = None,
    one_line: bool = False,
) -> Prepared:
    """The records of the entries that are good, and what is wrong with the others. Uses the entries up.

    `keys` holds the request's keys with their contents; `key` is that of a lone event; `one_line`: none of them was
    sent with a line break in it.
    """
    faults: dict[int, InvalidEvent] = {}
    good: list[EventInput] = []
    timestamps: list[str] = []
    places: list[int] = []
    identities: dict[int, tuple[str, bytes]] = {}
    for n, entry in enumerate(entries):
        if isinstance(entry, InvalidEvent):
            faults[n] = entry
            continue
        try:
            timestamp = event.check(entry, now, one_line)
            own = entry.idempotency_key if key is None else _one_key(entry, key)
            if isinstance(own, str):
                identities[len(good)] = _identity(tenant, entry, own, keys)
        except InvalidEvent as error:
            faults[n] = error
            continue
        good.append(entry)
        timestamps.append(timestamp)
        places.append(n)
    return _stamped(tenant, good, timestamps, identities, now, Prepared(places=places, faults=faults))


def _stamped(
    tenant: Tenant,
    events: list[EventInput],
    timestamps: list[str],
    identities: dict[int, tuple[str, bytes]],
    now: int,
    prepared: Prepared,
) -> Prepared:
    """The events' bytes for good: stamps first, then the encoded rest.

    The stamps are spliced in: building a second struct of 22 fields took twice as long.
    """
    tenant_id = tenant.id
    placement = place(tenant.placements, now)
    received_at = instant.to_text(now)
    lines = event.encode_all(events)
    new_ids = ids.uuid7s(now, len(events))
    for n, (event_id, _) in identities.items():
        new_ids[n] = event_id
    heads = [
        f'{{"id":"{event_id}","tenant_id":"{tenant_id}","timestamp":"{timestamp}",'
        f'"received_at":"{received_at}","salt":"{salt}",'
        for event_id, timestamp, salt in zip(new_ids, timestamps, ids.salts(len(events)), strict=True)
    ]
    prepared.ids = new_ids
    prepared.records = [
        Record(tenant_id, placement, head.encode() + line[1:]) for head, line in zip(heads, lines, strict=True)
    ]
    for n, (_, content) in identities.items():
        prepared.records[n] = Record(tenant_id, placement, prepared.records[n].body, content)
    _take_out(events, lines, prepared)
    return prepared


def _take_out(events: list[EventInput], lines: list[bytes], prepared: Prepared) -> None:
    """Make faults of the events that are over a bound once they are encoded."""
    over: set[int] = set()
    for n in [n for n, line in enumerate(lines) if event.may_be_over(line)]:
        try:
            event.check_encoded(events[n], lines[n])
        except InvalidEvent as error:
            over.add(n)
            prepared.faults[prepared.places[n]] = error
    if over:
        kept = [n for n in range(len(lines)) if n not in over]
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


def _identity(tenant: Tenant, entry: EventInput, key: str, keys: dict[str, bytes]) -> tuple[str, bytes]:
    """Id and content digest of an event with a client's key; raises when the request uses the key otherwise."""
    if not 0 < len(key.encode()) <= event.MAX_KEY_BYTES:
        fault = FieldError(("idempotency_key",), f"must have 1 to {event.MAX_KEY_BYTES} bytes", "length")
        raise InvalidEvent("idempotency_key: " + fault.msg, errors=[fault])
    content = hmac.digest(tenant.secret, event.content_of(entry), "sha256")
    if keys.setdefault(key, content) != content:
        raise InvalidEvent("another event of this request has this key with other content", code="key_conflict")
    return ids.uuid8_of_key(tenant.secret, key), content
