"""Removing documents from one placement by their ids."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import msgspec

from core.adapters.index import answers, bulk
from core.adapters.index.client import Client, error_of
from core.adapters.index.verdict import Verdict, verdict

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_NOT_THERE: Final = 404


class _Item(msgspec.Struct, frozen=True):
    delete: bulk.Result


class _Response(msgspec.Struct, frozen=True):
    items: list[_Item] = []


_response: Final = msgspec.json.Decoder(_Response).decode


async def remove(client: Client, alias: str, ids: Collection[str]) -> int:
    """How many of the documents were there and are gone; raises ValueError, and sends nothing, for what is no id."""
    for event_id in ids:
        if not _ID.fullmatch(event_id):
            raise ValueError(f"not an event's id: {event_id!r}")
    lines = [b'{"delete":{"_id":"' + event_id.encode() + b'"}}\n' for event_id in ids]
    waits = f"{client.write_deadline * 800:.0f}ms"
    params = {"require_alias": "true", "filter_path": bulk.FILTER_PATH, "timeout": waits}
    removed = 0
    for batch in bulk.batches(lines):
        body = b"".join(lines[batch])
        text = await client.call(
            "POST", f"/{alias}/_bulk", params, body, writes=True, content_type="application/x-ndjson"
        )
        for item in answers.decoded(_response, text).items:
            removed += _is_removed(item.delete)
    return removed


def _is_removed(result: bulk.Result) -> bool:
    """Raises for what is not the document's being there or not."""
    if result.status < 300:
        return True
    found = verdict(result.status, result.error)
    # Of a placement without an index there is nothing to remove.
    if found is Verdict.NO_ALIAS or (result.status == _NOT_THERE and result.error is None):
        return False
    raise error_of(found)
