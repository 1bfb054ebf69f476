"""Writes that several processes may make at once and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pymongo.errors import BulkWriteError, DuplicateKeyError

from core.adapters.store.client import BULK_DEADLINE, DUPLICATE_KEY, BsonMap, Collection, codes_of, store_calls
from core.errors import Unavailable

_TRIES: Final = 3


async def upsert(collection: Collection, id: str, change: BsonMap) -> None:  # noqa: A002
    """Apply `change` to the document with this `_id` exactly once; made when it is missing.

    Of two upserts at the same moment MongoDB may refuse the later with a duplicate key: it has changed nothing then,
    and once more it finds the document.
    """
    for _ in range(_TRIES):
        with store_calls():
            try:
                await collection.update_one({"_id": id}, change, upsert=True)
            except DuplicateKeyError:
                continue
            return
    raise Unavailable("store")


async def insert_once(collection: Collection, documents: Sequence[BsonMap]) -> None:
    """Insert the documents whose `_id` is not there yet; the others stay as they are."""
    if not documents:
        return
    with store_calls(BULK_DEADLINE):
        try:
            await collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            if codes_of(error) != {DUPLICATE_KEY}:
                raise
