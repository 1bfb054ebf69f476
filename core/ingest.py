"""Taking events in: mask, decode, stamp and hand over to group commit, with a result for each."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from core import event, ids, instant
from core.commit import GroupCommit
from core.envelope import Record
from core.errors import FieldError, InvalidEvent, OcelotError
from core.masking import mask
from core.placement import place
from core.tenant import Tenant, TenantScope

# How many events are prepared before the loop gets a turn: 5 ms of work.
_SLICE: Final = 500


class ItemError(msgspec.Struct, frozen=True):
    """Why one event was not taken."""

    code: str
    message: str
    errors: list[dict[str, Any]]


class ItemResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the event at `index`: `accepted` (durable), `refused` (it is at fault) or `retry` (send again)."""

    index: int
    status: str
    id: str | None = None
    error: ItemError | None = None


class _KeyOnly(msgspec.Struct):
    idempotency_key: str | None = None


_decode_key: Final = msgspec.json.Decoder(_KeyOnly).decode


class Ingest:
    """Takes events of any tenant. One a process; `tenant` is always the one that the scope was made for."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit

    async def one(self, scope: TenantScope, tenant: Tenant, item: bytes, key: str | None) -> str:
        """Take one event; returns its id once it is durable. Raises what is wrong with it, or with the queue."""
        [prepared] = _prepare(tenant, [item], instant.now_us(), {}, key)
        if isinstance(prepared, InvalidEvent):
            raise prepared
        event_id, record = prepared
        for _, _, error in await self._commit.submit([record]):
            raise error
        return event_id

    async def many(self, scope: TenantScope, tenant: Tenant, items: Sequence[bytes | Raw]) -> list[ItemResult]:
        """Take each event on its own merits; one result for each, in order."""
        results: list[ItemResult | None] = [None] * len(items)
        taken: list[tuple[int, str, Record]] = []
        keys: dict[str, bytes] = {}
        now = instant.now_us()
        for start in range(0, len(items), _SLICE):
            for n, prepared in enumerate(_prepare(tenant, items[start : start + _SLICE], now, keys), start):
                if isinstance(prepared, InvalidEvent):
                    results[n] = ItemResult(n, "refused", error=item_error(prepared))
                else:
                    taken.append((n, *prepared))
            if start + _SLICE < len(items):
                await asyncio.sleep(0)
        failed = await self._commit.submit([record for _, _, record in taken]) if taken else []
        for n, event_id, _ in taken:
            results[n] = ItemResult(n, "accepted", event_id)
        for first, end, error in failed:
            status = "refused" if isinstance(error, InvalidEvent) else "retry"
            for n, _, _ in taken[first:end]:
                results[n] = ItemResult(n, status, error=item_error(error))
        return [result for result in results if result is not None]


def item_error(error: Exception) -> ItemError:
    """The public form of why an item was not taken."""
    if not isinstance(error, OcelotError):
        return ItemError("dependency_unavailable", "the queue is unavailable", [])
    return ItemError(error.code, error.message, [msgspec.to_builtins(fault) for fault in error.errors])


def _prepare(
    tenant: Tenant, items: Sequence[bytes | Raw], now: int, keys: dict[str, bytes], key: str | None = None
) -> list[tuple[str, Record] | InvalidEvent]:
    """Each item's id and record, or what is wrong with it. `keys` holds the request's keys with their contents."""
    received_at = instant.to_text(now)
    placement = place(tenant.placements, now)
    prepared: list[tuple[str, Record] | InvalidEvent] = []
    for item, new_id, salt in zip(items, ids.uuid7s(now, len(items)), ids.salts(len(items)), strict=True):
        try:
            raw = bytes(item)
            masked = mask(raw)
            entry = event.decode(masked)
            timestamp = event.timestamp_of(entry, now)
            own_key = entry.idempotency_key
            if isinstance(own_key, str) and masked is not raw:
                own_key = _decode_key(raw).idempotency_key  # masked keys would make two events one
            event_key = key or (own_key if isinstance(own_key, str) else None)
            content = None
            if event_key is not None:
                new_id, content = _keyed(tenant, entry, event_key, keys)
            body = event.stamp(
                entry, id=new_id, tenant_id=tenant.id, timestamp=timestamp, received_at=received_at, salt=salt
            )
            prepared.append((new_id, Record(tenant.id, placement, body, content)))
        except InvalidEvent as error:
            prepared.append(error)
    return prepared


def _keyed(tenant: Tenant, entry: event.EventInput, key: str, keys: dict[str, bytes]) -> tuple[str, bytes]:
    """Id and content digest of an event with a client's key; raises when the request uses the key otherwise."""
    if not 0 < len(key.encode()) <= event.MAX_KEY_BYTES:
        fault = FieldError(("idempotency_key",), f"must have 1 to {event.MAX_KEY_BYTES} bytes", "length")
        raise InvalidEvent("idempotency_key: " + fault.msg, errors=[fault])
    content = hmac.digest(tenant.secret, event.content_of(entry), "sha256")
    if keys.setdefault(key, content) != content:
        raise InvalidEvent("another event of this request has this key with other content", code="key_conflict")
    return ids.uuid8_of_key(tenant.secret, key), content
