"""From what a client sent to records: mask, decode, check, stamp and encode, many events at a time.

This is the hot path. An array without a secret or a fault is decoded by one call for all of it; whatever that call
does not take is decoded event by event, so that each is refused alone. Encoding is one call for all in any case.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from typing import Final

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
Prepared = tuple[str, Record]
"""An event's id and its record."""


class _KeyOnly(msgspec.Struct):
    idempotency_key: str | None = None


_decode_key: Final = msgspec.json.Decoder(_KeyOnly).decode


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
        except InvalidEvent as error:
            entries.append(error)
            continue
        if clean is not item and isinstance(entry.idempotency_key, str):
            # The key is no part of the event, and two keys that are masked alike would make two events one.
            entry.idempotency_key = _decode_key(item).idempotency_key
        entries.append(entry)
    return entries


def prepare(
    tenant: Tenant, entries: Sequence[Entry], now: int, keys: dict[str, bytes], key: str | None = None
) -> list[Prepared | InvalidEvent]:
    """Each entry's id and record, or what is wrong with it. Uses the entries up.

    `keys` holds the request's keys with their contents; `key` is that of a lone event.
    """
    checked: list[Entry] = []
    good: list[EventInput] = []
    timestamps: list[str] = []
    identities: dict[int, tuple[str, bytes]] = {}
    for entry in entries:
        if isinstance(entry, EventInput):
            try:
                timestamp = event.check(entry, now)
                own = entry.idempotency_key if key is None else key
                if isinstance(own, str):
                    identities[len(good)] = _identity(tenant, entry, own, keys)
            except InvalidEvent as error:
                checked.append(error)
                continue
            good.append(entry)
            timestamps.append(timestamp)
        checked.append(entry)
    stamped = _stamped(tenant, good, timestamps, identities, now)
    if len(good) == len(entries):
        return stamped
    rest = iter(stamped)
    return [entry if isinstance(entry, InvalidEvent) else next(rest) for entry in checked]


def _stamped(
    tenant: Tenant,
    events: list[EventInput],
    timestamps: list[str],
    identities: dict[int, tuple[str, bytes]],
    now: int,
) -> list[Prepared | InvalidEvent]:
    """The events' bytes for good: stamps first, then the encoded rest.

    The stamps are spliced in: building a second struct of 22 fields took twice as long.
    """
    tenant_id = tenant.id
    placement = place(tenant.placements, now)
    received_at = instant.to_text(now)
    new_ids = ids.uuid7s(now, len(events))
    for n, (event_id, _) in identities.items():
        new_ids[n] = event_id
    salts = ids.salts(len(events))
    prepared: list[Prepared | InvalidEvent] = []
    for n, line in enumerate(event.encode_all(events)):
        if event.may_be_over(line):
            try:
                event.check_encoded(events[n], line)
            except InvalidEvent as error:
                prepared.append(error)
                continue
        event_id = new_ids[n]
        stamps = (
            f'{{"id":"{event_id}","tenant_id":"{tenant_id}","timestamp":"{timestamps[n]}",'
            f'"received_at":"{received_at}","salt":"{salts[n]}",'
        )
        content = identities[n][1] if n in identities else None
        prepared.append((event_id, Record(tenant_id, placement, stamps.encode() + line[1:], content)))
    return prepared


def _identity(tenant: Tenant, entry: EventInput, key: str, keys: dict[str, bytes]) -> tuple[str, bytes]:
    """Id and content digest of an event with a client's key; raises when the request uses the key otherwise."""
    if not 0 < len(key.encode()) <= event.MAX_KEY_BYTES:
        fault = FieldError(("idempotency_key",), f"must have 1 to {event.MAX_KEY_BYTES} bytes", "length")
        raise InvalidEvent("idempotency_key: " + fault.msg, errors=[fault])
    content = hmac.digest(tenant.secret, event.content_of(entry), "sha256")
    if keys.setdefault(key, content) != content:
        raise InvalidEvent("another event of this request has this key with other content", code="key_conflict")
    return ids.uuid8_of_key(tenant.secret, key), content
