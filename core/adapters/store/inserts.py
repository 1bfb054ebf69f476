"""Inserting events: one outcome for each, and an exception only for what the event itself causes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import bson
from bson.errors import BSONError
from pymongo.errors import BulkWriteError

from core.adapters.store.client import (
    BULK_DEADLINE,
    DUPLICATE_KEY,
    BsonMap,
    Collection,
    chunks,
    store_calls,
    unavailable,
)
from core.errors import Invalid, Unavailable
from core.ports import InsertOutcome, StoreRow

Outcome = InsertOutcome | Exception
MAX_DOCUMENT_BYTES: Final = 16 * 1024 * 1024
_ROWS_OWN: Final = frozenset({
    2,  # BadValue
    22,  # InvalidBSON
    52,  # DollarPrefixedFieldName
    121,  # DocumentValidationFailure
    10334,  # BSONObjectTooLarge
    17280,  # KeyTooLong
    17419, 17420,  # too large once it is encoded
})  # fmt: skip
"""Server errors that the same document would meet again; any other says that the server could not."""


AGAIN: Final = "again"
"""The field of a document that was stored before, and was away: see `core.adapters.store.feed`."""


async def insert_rows(events: Collection, rows: Sequence[StoreRow], *, again: bool = False) -> list[Outcome]:
    """`EventStore.insert`. The driver splits at 48 MB and 100,000 documents; each part is durable on its own."""
    outcomes: list[Outcome] = [InsertOutcome.STORED] * len(rows)
    documents: dict[int, BsonMap] = {}
    for n, row in enumerate(rows):
        try:
            documents[n] = document_of(row) | {AGAIN: True} if again else document_of(row)
        except UnicodeDecodeError:
            outcomes[n] = Invalid("the event is not UTF-8")
    try:
        duplicates = await _insert(events, documents, outcomes)
    except Invalid:
        # What went before the bad document may be stored: inserting it again is harmless. Looking at each document
        # first would encode all of them twice for a fault that no event of the API's has.
        duplicates = await _insert(events, _encodable(documents, outcomes), outcomes)
    if duplicates:
        await _judge(events, rows, duplicates, outcomes)
    return outcomes


def document_of(row: StoreRow) -> BsonMap:
    """The document of a row; raises UnicodeDecodeError for bytes that are no text.

    An empty list is left out: a field without a value is a field that is not there, as it is to the index.
    """
    document: BsonMap = {
        "_id": row.id,
        "tenant_id": row.tenant_id,
        "placement": row.placement,
        "timestamp": row.timestamp,
        "received_at": row.received_at,
        **row.named,
        "hash": row.hash,
        "envelope": row.envelope,
        "body": row.body.decode(),
    }
    if row.content is not None:
        document["content"] = row.content
    if document.get("tags") == []:
        del document["tags"]
    return document


async def _insert(events: Collection, documents: dict[int, BsonMap], outcomes: list[Outcome]) -> list[int]:
    """Insert, and put each document's own fault into `outcomes`; the rows whose id was there already."""
    if not documents:
        return []
    order = list(documents)
    try:
        with store_calls(BULK_DEADLINE):
            await events.insert_many([documents[n] for n in order], ordered=False)
    except Unavailable as error:
        cause = error.__cause__
        if not isinstance(cause, BulkWriteError) or cause.details.get("writeConcernErrors"):
            raise
        return _write_errors(cause, order, outcomes)
    return []


def _write_errors(error: BulkWriteError, order: list[int], outcomes: list[Outcome]) -> list[int]:
    duplicates = []
    for fault in error.details["writeErrors"]:
        n, code = order[fault["index"]], fault.get("code")
        if code == DUPLICATE_KEY:
            duplicates.append(n)
        elif code in _ROWS_OWN:
            outcomes[n] = Invalid(f"the store cannot hold this event (error {code})")
        else:
            raise unavailable(error) from error
    return duplicates


def _encodable(documents: dict[int, BsonMap], outcomes: list[Outcome]) -> dict[int, BsonMap]:
    """The documents without those that BSON cannot hold, whose fault goes into `outcomes`."""
    good = {}
    for n, document in documents.items():
        try:
            if len(bson.encode(document)) > MAX_DOCUMENT_BYTES:
                raise OverflowError
        except (BSONError, OverflowError, UnicodeError) as error:
            outcomes[n] = Invalid(f"the store cannot hold this event ({type(error).__name__})")
        else:
            good[n] = document
    return good


async def _judge(events: Collection, rows: Sequence[StoreRow], duplicates: list[int], outcomes: list[Outcome]) -> None:
    """Tell duplicates from conflicts by what the store holds under their ids."""
    held: dict[str, BsonMap] = {}
    with store_calls(BULK_DEADLINE):
        for chunk in chunks([*{rows[n].id: None for n in duplicates}]):
            cursor = events.find({"_id": {"$in": list(chunk)}}, {"tenant_id": 1, "hash": 1, "content": 1})
            held.update((document["_id"], document) for document in await cursor.to_list(None))
    for n in duplicates:
        row = rows[n]
        if row.id not in held:
            # Removed in between, by retention say: the next try stores it.
            raise Unavailable("store")
        outcomes[n] = InsertOutcome.DUPLICATE if _same(row, held[row.id]) else InsertOutcome.CONFLICT


def _same(row: StoreRow, held: BsonMap) -> bool:
    if held["tenant_id"] != row.tenant_id:
        return False
    content = held.get("content")
    return bytes(held["hash"]) == row.hash or (content is not None and bytes(content) == row.content)
