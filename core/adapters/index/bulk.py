"""The body of a bulk request: an action line and an event's own bytes for each document, never decoded or re-encoded.

The alias is in the URL and no line names an index, so a request reaches one tenant's placement at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from core.event import decode_stored
from core.ports import IndexDocument

# The smallest managed domains refuse a request of more than 10 MiB.
MAX_BODY_BYTES: Final = 9 * 1024 * 1024
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


def check(document: IndexDocument, tenant_id: str) -> None:
    """Raise ValueError unless the document is one line of JSON object and its event is this tenant's.

    A line break inside a body would end the event there and make what follows a command of its own.
    """
    body = document.body
    if b"\n" in body or b"\r" in body:
        raise ValueError(f"the event {document.id!r} is more than one line")
    if not _ID.fullmatch(document.id):
        raise ValueError(f"not an event's id: {document.id!r}")
    # What `core.prepare` writes; to decode the named fields instead takes ten times as long.
    if body.startswith(f'{{"id":"{document.id}","tenant_id":"{tenant_id}",'.encode()) and body.endswith(b"}"):
        return
    try:
        event = decode_stored(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the document {document.id!r} is no event: {error}") from None
    if event.id != document.id or event.tenant_id != tenant_id or not body.endswith(b"}"):
        raise ValueError(f"the document {document.id!r} holds another event, or another tenant's")


def entry(event_id: str, body: bytes, members: bytes = b"") -> bytes:
    """The two lines of a document: `members`, each with its comma in front, go before the closing brace of `body`."""
    head = b'{"create":{"_id":"' + event_id.encode() + b'"}}\n'
    return head + body + b"\n" if not members else head + body[:-1] + members + b"}\n"


def batches(entries: Sequence[bytes]) -> Iterator[slice]:
    """Consecutive slices of at most `MAX_BODY_BYTES` each, or of one entry."""
    start = size = 0
    for end, item in enumerate(entries):
        if size and size + len(item) > MAX_BODY_BYTES:
            yield slice(start, end)
            start, size = end, 0
        size += len(item)
    if size:
        yield slice(start, len(entries))


class Cause(msgspec.Struct, frozen=True):
    """Why the index refused something, in its own words; `reason` may quote the event, so it is for logs at most."""

    type: str = ""
    reason: str = ""
    caused_by: Cause | None = None


class Result(msgspec.Struct, frozen=True):
    """What became of one document."""

    status: int
    error: Cause | None = None


class _Item(msgspec.Struct, frozen=True):
    create: Result


class _Response(msgspec.Struct, frozen=True):
    items: list[_Item] = []


_response: Final = msgspec.json.Decoder(_Response).decode
FILTER_PATH: Final = "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by"


def results(text: str) -> list[Result]:
    """One result for each document, from a response cut down to `FILTER_PATH`; raises ValueError for anything else."""
    return [item.create for item in _response(text).items]
