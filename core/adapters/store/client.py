"""The connection to MongoDB: deadlines, durability, and the driver's exceptions as Ocelot's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import pymongo
from bson.errors import BSONError
from motor.frameworks.asyncio import run_on_executor
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from core.errors import Blocked, Invalid, TimedOut, Unavailable

BsonMap: TypeAlias = dict[str, Any]
Client: TypeAlias = "AsyncIOMotorClient[BsonMap]"
Database: TypeAlias = "AsyncIOMotorDatabase[BsonMap]"
Collection: TypeAlias = "AsyncIOMotorCollection[BsonMap]"
_T = TypeVar("_T")

DEADLINE: Final = 5.0
"""Seconds that a call may take, its connection and server selection included."""
BULK_DEADLINE: Final = 15.0
DUPLICATE_KEY: Final = 11000
IN_CHUNK: Final = 100
"""Values of one `$in`. SecantusDB compares each with each: 100 ids take 16 ms, 1,000 take 1.3 s."""
_BLOCKED: Final = frozenset({
    13,  # Unauthorized: the account may not write
    371,  # UserWritesBlocked
    8000,  # AtlasError: over the storage quota
    12501,  # quota exceeded
    14031,  # OutOfDiskSpace
})  # fmt: skip


def open_client(url: str) -> Client:
    """A client of the deployment at `url`; connects at its first call.

    A write is acknowledged when a majority has it in its journal, unless the URL says otherwise. The driver's own
    retries are off: retries are the caller's.
    """
    given = {name.lower() for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)}
    durable: dict[str, Any] = {"w": "majority", "journal": True}
    milliseconds = int(DEADLINE * 1000)
    return AsyncIOMotorClient(
        url,
        appname="ocelot",
        connectTimeoutMS=milliseconds,
        serverSelectionTimeoutMS=milliseconds,
        timeoutMS=milliseconds,
        retryReads=False,
        retryWrites=False,
        tz_aware=True,
        uuidRepresentation="standard",
        **{name: value for name, value in durable.items() if name not in given},
    )


@contextmanager
def store_calls(seconds: float = DEADLINE) -> Iterator[None]:
    """Calls to the store that share one deadline; whatever the driver raises becomes `Unavailable` or `Blocked`.

    A value that BSON cannot hold is `Invalid`. The messages name neither the server nor the statement, so they may go
    to a log or a client.
    """
    try:
        with pymongo.timeout(seconds):
            yield
    except (BSONError, OverflowError, UnicodeError) as error:
        raise Invalid(f"the store cannot hold this ({type(error).__name__})") from error
    except PyMongoError as error:
        raise unavailable(error) from error


def unavailable(error: Exception) -> Unavailable:
    """What the driver's exception means to a caller."""
    if codes_of(error) & _BLOCKED:
        return Blocked("store", "store takes no writes")
    # A failed operation is an answer, a query that the server cut off too.
    if isinstance(error, PyMongoError) and error.timeout and not isinstance(error, OperationFailure):
        return TimedOut("store")
    return Unavailable("store")


def timed_out(error: Unavailable) -> bool:
    """Whether this, which `store_calls` made, is of a deadline: the driver's own or the server's."""
    cause = error.__cause__
    return isinstance(cause, PyMongoError) and cause.timeout


def codes_of(error: Exception) -> set[int]:
    """The server's error codes in an exception, those of a batch's single writes included."""
    if isinstance(error, BulkWriteError):
        details = error.details
        faults = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
        return {fault["code"] for fault in faults if "code" in fault}
    if isinstance(error, OperationFailure) and error.code is not None:
        return {error.code}
    return set()


async def listed(collection: Collection, asked: BsonMap, fields: BsonMap) -> list[BsonMap]:
    """All documents that `find` finds, by one turn of a thread.

    Motor's cursor takes its documents out by a call each, and wakes the loop twice.
    """
    if type(collection) is not AsyncIOMotorCollection:  # the stand-in in memory
        return await collection.find(asked, fields).to_list(None)
    cursor = collection.delegate.find(asked, fields)
    found: list[BsonMap] = await run_on_executor(asyncio.get_running_loop(), cursor.to_list)  # type: ignore[no-untyped-call]
    return found


async def ping(database: Database) -> None:
    """Raise `Unavailable` unless the deployment answers."""
    with store_calls():
        await database.command("ping")


def chunks(items: Sequence[_T], size: int = IN_CHUNK) -> list[Sequence[_T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
