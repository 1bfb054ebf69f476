"""Taking events at fault into the quarantine, by way of the queue: what is answered 202 is as durable as an event."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from core.aside import Aside
from core.commit import GroupCommit
from core.envelope import Record
from core.masking import DEFAULT
from core.masking.own import Maskers
from core.ports.quarantine import PLACEMENT, Form, Kept
from core.quarantine.keeping import Draft, Reserved, draft_of, kept_of
from core.tenant import Tenant

_LARGE: Final = 64 * 1024
"""Bytes of an item that is read in a thread: the loop goes on meanwhile."""
_MAX_FIELDS: Final = 20
_TURN: Final = 50
"""Items that are read before the loop gets a turn."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Kept).decode
_json: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Fault:
    """An event that was refused: what was sent, and why; `errors` are those of an answer."""

    item: bytes
    code: str
    errors: Sequence[dict[str, Any]]
    key: str | None = None
    """From the request's header."""


class Intake:
    def __init__(self, commit: GroupCommit, aside: Aside, maskers: Maskers) -> None:
        self._commit = commit
        self._aside = aside
        self._maskers = maskers

    async def keep(self, tenant: Tenant, faults: Sequence[Fault]) -> list[str | Exception | None]:
        """Of each the id of its item in the quarantine, which is durable; what the queue said; or None: it is refused.

        An event with an action of the service's own is never kept.
        """
        drafts: list[Draft | None] = []
        for fault in faults:
            drafts.append(await _draft(fault))
            if len(drafts) % _TURN == 0:
                await asyncio.sleep(0)
        places = [n for n, draft in enumerate(drafts) if draft is not None]
        kept: list[Kept] = []
        with self._commit.stamping() as now:
            lines = await self._masked(tenant, [draft for draft in drafts if draft is not None])
            for n, (draft, line, cut) in zip(places, lines, strict=True):
                fault = faults[n]
                fields = _masked_names([_path(error) for error in fault.errors[:_MAX_FIELDS]])
                masked = replace(draft, line=line, cut=cut)
                kept.append(kept_of(tenant, masked, fault.item, now, fault.code, fields, fault.key))
            results: list[str | Exception | None] = [None] * len(faults)
            for n, each in zip(places, kept, strict=True):
                results[n] = each.id
            records = [Record(tenant.id, PLACEMENT, _encode(each)) for each in kept]
            for first, end, error in await self._commit.submit(records, now) if records else ():
                for n in places[first:end]:
                    results[n] = error
        return results

    async def _masked(self, tenant: Tenant, drafts: Sequence[Draft]) -> list[tuple[Draft, bytes, list[str]]]:
        lines = [draft.line for draft in drafts if draft.form is not Form.OUTLINE]
        await self._aside.mask(lines, self._maskers.of(tenant))
        masked = iter(lines)
        return [
            (draft, draft.line if draft.form is Form.OUTLINE else next(masked), _masked_names(draft.cut))
            for draft in drafts
        ]


def kept_in(record: Record) -> Kept | None:
    """The item that a record of the queue holds; None when it holds none."""
    if record.placement != PLACEMENT:
        return None
    try:
        return _decode(record.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


async def _draft(fault: Fault) -> Draft | None:
    if any(error["type"] == "reserved_action" for error in fault.errors):
        return None
    try:
        return await asyncio.to_thread(draft_of, fault.item) if len(fault.item) > _LARGE else draft_of(fault.item)
    except Reserved:
        return None


def _path(error: dict[str, Any]) -> str:
    return ".".join(map(str, error["loc"]))[:200]


def _masked_names(names: list[str]) -> list[str]:
    """Names that clients gave may be secrets themselves."""
    masked: list[str] = msgspec.json.decode(DEFAULT.mask(_json({"names": names})))["names"]
    return masked
