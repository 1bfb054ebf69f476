"""Events as they are stored, from MongoDB's change streams: `EventFeed`.

What differs from server to server, and is tried in the contract suite:

- A token is good only for a watch whose filter lets its event through (error 280 elsewhere). So a mark is the token of
  an event, for watches of that event's tenant, or the token of an empty answer, for any; but an empty answer repeats
  the last event's token until something else is written.
- SecantusDB skips, without a word, what a watch has not read when the oplog drops it; MongoDB raises an error then. But
  SecantusDB refuses to *resume* behind the oplog's end. So a watch that was late asks whether the place where it was
  last in time can still be resumed from: if so, nothing after it was dropped when it was read.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pymongo.errors import OperationFailure, PyMongoError

from core.adapters.store.client import BsonMap, Database, store_calls
from core.adapters.store.feed_marks import event_of, mark_of, token_of
from core.adapters.store.indexes import EVENTS
from core.adapters.store.inserts import AGAIN
from core.errors import HistoryLost, OcelotError, Unavailable
from core.ports import FeedEvent, Reading
from core.tenant import TenantScope

log = logging.getLogger(__name__)
AWAIT_MS: Final = 300
"""How long the server waits for an event before it answers with none."""
BATCH: Final = 500
MAX_WAITING: Final = 2000
"""Events read and not yet asked for; past them the watch reads no further."""
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""The same in bytes of their bodies."""
LATE: Final = 2.0
"""Seconds that a watch may be behind before it asks whether the server has dropped anything."""
STRIDE: Final = 1000
"""Events that a late watch reads between two such questions."""
_LOST: Final = frozenset({
    9,  # FailedToParse: another kind of server's token
    136,  # CappedPositionLost
    260,  # InvalidResumeToken
    280,  # ChangeStreamFatalError: the token's event is not there
    286,  # ChangeStreamHistoryLost
})  # fmt: skip


class MongoEventFeed:
    """Watches of the collection `events`.

    Each has a thread of its own: a watch waits for its server nearly all of the time, and the driver's pool of threads
    is for calls that end.
    """

    def __init__(self, database: Database) -> None:
        self._events: Any = database[EVENTS].delegate

    async def watch(self, scopes: Collection[TenantScope], after: bytes | None) -> MongoWatch:
        watch = MongoWatch(self._events, sorted({scope.tenant_id for scope in scopes}), after)
        await watch.open()
        return watch


class MongoWatch:
    """One change stream; `core.ports.Watch`."""

    def __init__(self, events: Any, tenant_ids: Sequence[str], after: bytes | None) -> None:
        self.mark = after or b""
        self._events = events
        self._tenant_ids = tenant_ids
        self._after = after
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[bytes] = self._loop.create_future()
        self._wake = asyncio.Event()
        self._lock = threading.Condition()
        self._waiting: deque[FeedEvent | _Empty | Exception] = deque()
        self._waiting_bytes = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    async def open(self) -> None:
        """Begin; raises as `EventFeed.watch` does."""
        self._thread.start()
        try:
            self.mark = await asyncio.shield(self._opened)
        except BaseException:
            self._close()
            raise

    async def read(self) -> Reading:
        asked = time.monotonic()
        while True:
            await self._wake.wait()
            with self._lock:
                events, last = self._take()
                if not self._waiting:
                    self._wake.clear()
                self._lock.notify()
            if events:
                return Reading(events, None)
            if isinstance(last, Exception):
                raise last
            if last is not None and last.began >= asked:
                return Reading([], last.mark)

    async def aclose(self) -> None:
        self._close()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _take(self) -> tuple[list[FeedEvent], _Empty | Exception | None]:
        """The events in front, or else what stands there; an exception stays."""
        events: list[FeedEvent] = []
        while self._waiting:
            item = self._waiting[0]
            if isinstance(item, FeedEvent):
                events.append(item)
                self._waiting_bytes -= len(item.body)
            elif events:
                break
            elif isinstance(item, Exception):
                return [], item
            else:
                self._waiting.popleft()
                return [], item
            self._waiting.popleft()
        return events, None

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify()

    # From here on, in the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        stream = None
        try:
            with store_calls():
                stream = self._stream(None if self._after is None else token_of(self._after), AWAIT_MS)
            self._say(self._open_with, mark_of(stream.resume_token))
            self._read(stream)
        except Exception as error:
            fault = _fault(error)
            self._say(self._fail_with, fault)
            self._put(fault)
        finally:
            if stream is not None:
                try:
                    with store_calls():
                        stream.close()
                except OcelotError as error:
                    log.debug("the server ends this watch by itself: %s", error.message)

    def _read(self, stream: Any) -> None:
        punctuality = _Punctuality(stream.resume_token)
        of_event = None if self._after is None else token_of(self._after)
        while not self._closed:
            began = time.monotonic()
            with store_calls():
                change = stream.try_next()
            token = stream.resume_token
            punctuality.note(change, token)
            if punctuality.is_due:
                with store_calls():
                    self._stream(punctuality.checkpoint, 1).close()
                punctuality.passed(token, caught_up=change is None)
            if change is not None:
                of_event = change["_id"]
                # Not in the filter: a token is good only for a watch that would have let its event through.
                if AGAIN not in change["fullDocument"]:
                    self._put(event_of(change))
            elif stream.alive:
                self._put(_Empty(None if token == of_event else mark_of(token), began))
            else:
                raise HistoryLost("the collection was dropped or renamed")

    def _stream(self, token: BsonMap | None, wait_ms: int) -> Any:
        chosen = {"operationType": "insert", "fullDocument.tenant_id": {"$in": list(self._tenant_ids)}}
        return self._events.watch([{"$match": chosen}], resume_after=token, max_await_time_ms=wait_ms, batch_size=BATCH)

    def _put(self, item: FeedEvent | _Empty | Exception) -> None:
        with self._lock:
            while (len(self._waiting) >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES) and not self._closed:
                self._lock.wait()
            nothing = not self._waiting
            if isinstance(item, _Empty) and not nothing and isinstance(self._waiting[-1], _Empty):
                self._waiting.pop()
            self._waiting.append(item)
            if isinstance(item, FeedEvent):
                self._waiting_bytes += len(item.body)
        if nothing:  # else the reader is awake, or will be: to call it costs more than the event
            self._say(self._wake.set)

    def _say(self, call: Any, *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop has ended before the watch
            self._closed = True

    def _open_with(self, mark: bytes) -> None:
        if not self._opened.done():
            self._opened.set_result(mark)

    def _fail_with(self, fault: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(fault)
            self._opened.exception()  # looked at: the reader may have gone


class _Empty:
    """An answer without an event, to a question of the moment `began` (monotonic seconds)."""

    __slots__ = ("began", "mark")

    def __init__(self, mark: bytes | None, began: float) -> None:
        self.mark = mark
        self.began = began


class _Punctuality:
    """Whether a watch is so far behind that the server may have dropped what it had still to read.

    It is when an event comes long after it was stored, or when the watch itself has not asked for long: a server that
    keeps less than `LATE` seconds of writes cannot be watched at all.
    """

    def __init__(self, token: BsonMap) -> None:
        self.checkpoint = token
        """Where the watch was in time for the last time."""
        self._late = False
        self._since = 0
        self._asked = time.monotonic()
        self._empty = False

    def note(self, change: BsonMap | None, token: BsonMap) -> None:
        now = time.monotonic()
        if now - self._asked > LATE + AWAIT_MS / 1000 or (change is not None and _age(change) > LATE):
            self._late = True
        self._asked = now
        self._empty = change is None
        if self._late:
            self._since += 1
        else:
            self.checkpoint = token

    @property
    def is_due(self) -> bool:
        return self._late and (self._empty or self._since >= STRIDE)

    def passed(self, token: BsonMap, *, caught_up: bool) -> None:
        self.checkpoint = token
        self._since = 0
        self._late = not caught_up
        self._asked = time.monotonic()


def _age(change: Mapping[str, Any]) -> float:
    """Seconds since the event was stored, by the server's clock against this one."""
    stored = change.get("wallTime")
    return time.time() - float(change["clusterTime"].time if stored is None else stored.timestamp())


def _fault(error: Exception) -> Exception:
    cause = error.__cause__ if isinstance(error, Unavailable) else error
    if isinstance(cause, OperationFailure) and cause.code in _LOST:
        return HistoryLost("the server does not know any more what was stored since the mark")
    if isinstance(cause, PyMongoError | OcelotError) or isinstance(error, OcelotError):
        return error
    log.error("the watch failed", exc_info=error)
    return Unavailable("store", "the watch failed")
