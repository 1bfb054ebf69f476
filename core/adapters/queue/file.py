"""The queue in a file: durable, shared by the processes of one machine, on SQLite's write-ahead log."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, Self, TypeVar, cast

from core.adapters.queue.bell import Bell
from core.adapters.queue.file_database import Held, QueueDatabase, translate
from core.adapters.queue.limits import fault_of
from core.errors import Unavailable
from core.ports import Depth, Lease, Message

T = TypeVar("T")

# Without a bell a waiting consumer looks often, for 2% of a core. The bell tells of a write, but before its sync and
# commit: looks follow it at growing distance, up to one that is there for lapsed leases. Idle, that is 0.25%.
_LOOK_SECONDS: Final = 0.008
_FIRST_LOOK_SECONDS: Final = 0.0005
_LAST_LOOK_SECONDS: Final = 0.1
_MAX_COMMIT_BYTES: Final = 8 * 1024 * 1024
_MICROSECONDS: Final = 1_000_000


class _Sending(NamedTuple):
    messages: Sequence[Message]
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Waiting:
    count: int
    lease: float
    until: float
    done: asyncio.Future[list[Lease]]


class FileQueue:
    """A `core.ports.Queue` in the SQLite file `path`, which any number of processes may have open at once.

    The file is opened at the first call and again after an error, in a thread of its own that makes every call to it;
    sends that come while another is being written share the next commit. A message received `max_receives` times
    without an ack is a dead letter. A file that is no queue raises `Blocked` and is left as it is.
    """

    def __init__(
        self, path: Path, max_receives: int = 100, *, busy_timeout: float = 5.0, deadline: float = 6.0
    ) -> None:
        self._path = path
        self._max_receives = max_receives
        self._busy_timeout = busy_timeout
        self._deadline = deadline
        self._database: QueueDatabase | None = None
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._sending: deque[_Sending] = deque()
        self._waiting: list[_Waiting] = []
        self._thread: threading.Thread | None = None
        self._closed = False
        self._bell: Bell | None = None
        self._pause = self._longest_pause = _LOOK_SECONDS

    async def open(self) -> None:
        """Make or check the file now; raises as every call would."""
        await self._call(lambda database: None)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def send(self, messages: Sequence[Message]) -> list[Exception | None]:
        results: list[Exception | None] = [fault_of(message) for message in messages]
        fit = [message for message, fault in zip(messages, results, strict=True) if fault is None]
        if fit:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._sending.append(_Sending(fit, done))
            try:
                await self._submit(self._commit, done, self._deadline)
            except Unavailable as error:
                results = [fault or error for fault in results]
        return results

    async def receive(self, count: int, wait: float, lease: float) -> list[Lease]:
        done: asyncio.Future[list[Lease]] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(count, lease, time.monotonic() + wait, done)
        try:
            return await self._submit(lambda: self._waiting.append(waiting), done, wait + self._deadline)
        except asyncio.CancelledError:
            if done.done() and not done.cancelled() and done.exception() is None:
                self._give_back(done.result())
            raise

    async def extend(self, leases: Sequence[Lease], lease: float) -> list[Lease]:
        if not leases:
            return []
        expires_at = time.monotonic() + lease
        held = [_held(each) for each in leases]
        kept = await self._call(lambda database: database.extend(held, round(lease * _MICROSECONDS)))
        return [replace(each, expires_at=expires_at) for each, good in zip(leases, kept, strict=True) if good]

    async def ack(self, leases: Sequence[Lease]) -> int:
        if not leases:
            return 0
        held = [_held(each) for each in leases]
        return await self._call(lambda database: database.ack(held))

    async def release(self, leases: Sequence[Lease], delay: float = 0) -> None:
        if leases:
            held = [_held(each) for each in leases]
            await self._call(lambda database: database.release(held, round(delay * _MICROSECONDS)))

    async def depth(self) -> Depth:
        return await self._call(lambda database: database.depth())

    async def ping(self) -> None:
        await self._call(lambda database: database.touch())

    async def aclose(self) -> None:
        """Finish what was begun, answer who waits with nothing, and close the file."""
        self._closed = True
        if self._thread is not None:
            self._put(None)
            await asyncio.to_thread(self._thread.join)
        bell, self._bell = self._bell, None
        if bell is not None:
            bell.close()

    async def _call(self, method: Callable[[QueueDatabase], T]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def job() -> None:
            if not done.cancelled():
                _settle(done, *self._attempt(method))

        return await self._submit(job, done, self._deadline)

    async def _submit(self, job: Callable[[], object], done: asyncio.Future[T], deadline: float) -> T:
        if self._closed:
            raise Unavailable("queue", f"queue file {self._path}: closed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="file-queue", daemon=True)
            self._thread.start()
        self._put(job)
        try:
            async with asyncio.timeout(deadline):
                return await done
        except TimeoutError:
            raise Unavailable("queue", f"queue file {self._path}: no answer within {deadline:.0f} s") from None

    def _put(self, job: Callable[[], object] | None) -> None:
        self._jobs.put(job)
        # Only a thread that has someone waiting sleeps by the bell, and it looks for jobs once more before it does.
        if self._waiting and self._bell is not None:
            self._bell.ring()

    # What follows runs in the thread.

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()
            if self._waiting:
                self._serve()
        for waiting in self._waiting:
            _settle(waiting.done, [], None)
        if self._database is not None:
            self._database.close()

    def _next(self) -> Callable[[], object] | None:
        """The next job; while someone waits, a job that does nothing when it is time to look."""
        if not self._waiting:
            return self._jobs.get()
        with contextlib.suppress(Empty):
            if self._bell is None:
                return self._jobs.get(timeout=_LOOK_SECONDS)
            return self._jobs.get_nowait()
        if self._bell is not None:
            rung = self._bell.wait(self._pause)
            self._pause = _FIRST_LOOK_SECONDS if rung else min(2 * self._pause, self._longest_pause)
        with contextlib.suppress(Empty):
            return self._jobs.get_nowait()
        return _nothing

    def _attempt(self, method: Callable[[QueueDatabase], T]) -> tuple[T | None, Unavailable | None]:
        """The method's result or the port's error; after an error the file is opened anew."""
        try:
            if self._database is not None and not self._database.in_place():
                self._drop()
            if self._database is None:
                self._database = QueueDatabase(self._path, self._max_receives, self._busy_timeout)
                self._listen(self._database)
            return method(self._database), None
        except sqlite3.Error as error:
            self._drop()
            return None, translate(error, self._path)
        except Exception as error:  # whatever it is, the thread lives on and the caller hears of it
            self._drop()
            return None, Unavailable("queue", f"queue file {self._path}: {error}")

    def _listen(self, database: QueueDatabase) -> None:
        if self._bell is None:
            self._bell = Bell.make()
        watched = self._bell is not None and self._bell.watch(database.log_path)
        self._longest_pause = _LAST_LOOK_SECONDS if watched else _LOOK_SECONDS

    def _drop(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _commit(self) -> None:
        """Write all sends that wait, up to a bound, in one transaction."""
        batch: list[_Sending] = []
        size = 0
        while self._sending and size < _MAX_COMMIT_BYTES:
            sending = self._sending.popleft()
            if not sending.done.cancelled():
                batch.append(sending)
                size += sum(len(message.body) for message in sending.messages)
        if batch:
            messages = [message for sending in batch for message in sending.messages]
            _, error = self._attempt(lambda database: database.send(messages))
            for sending in batch:
                _settle(sending.done, None, error)

    def _serve(self) -> None:
        """Give every waiting receive what there is; those with nothing and time left wait on."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if each.done.cancelled():
                continue
            leases, error = self._attempt(lambda database, each=each: _claim(database, each))  # type: ignore[misc]
            if leases or error or time.monotonic() >= each.until:
                _settle(each.done, leases, error, self._give_back)
            else:
                self._waiting.append(each)

    def _give_back(self, leases: Sequence[Lease] | None) -> None:
        """Release what was leased to a receive that was cancelled meanwhile."""
        if leases:
            held = [_held(lease) for lease in leases]
            self._jobs.put(lambda: self._attempt(lambda database: database.release(held, 0)))


def _nothing() -> None:
    pass


def _claim(database: QueueDatabase, waiting: _Waiting) -> list[Lease]:
    expires_at = time.monotonic() + waiting.lease
    claims = database.claim(waiting.count, round(waiting.lease * _MICROSECONDS))
    return [Lease(claim.body, f"{claim.id}.{claim.token}", claim.receives, expires_at) for claim in claims]


def _held(lease: Lease) -> Held:
    """Message and token of a lease; those of no message where another queue made the handle."""
    id_, _, token = lease.handle.partition(".")
    try:
        return int(id_), int(token)
    except ValueError:
        return 0, 0


def _settle(
    done: asyncio.Future[T], result: T | None, error: Exception | None, lost: Callable[[T], None] | None = None
) -> None:
    """Answer a call from the thread; `lost` takes the result of one that no longer listens."""

    def deliver() -> None:
        if not done.done():
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(cast("T", result))
        elif lost is not None and error is None:
            lost(cast("T", result))

    with contextlib.suppress(RuntimeError):  # its loop is closed: nobody listens, and what it leased lapses
        done.get_loop().call_soon_threadsafe(deliver)
