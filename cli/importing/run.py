"""One import: a thread reads and maps, a few requests are in flight, the lines settled so far are noted down."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from cli.context import Context, UserError
from cli.importing.bulk import BulkClient
from cli.importing.items import Item, Keys, Refusal, item_of
from cli.importing.lines import Lines
from cli.importing.state import Progress, State
from core import instant

BATCH_EVENTS: Final = 1000
BATCH_BYTES: Final = 2 * 1024 * 1024
_SAVE_EVERY: Final = 0.5
_GRACE: Final = 15.0


@dataclass(slots=True)
class Batch:
    """Consecutive lines, up to and with `last_line`. `position` is how far the file was read."""

    items: list[Item] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    last_line: int = 0
    position: int = 0
    bytes: int = 0

    @property
    def full(self) -> bool:
        return len(self.items) >= BATCH_EVENTS or self.bytes >= BATCH_BYTES or len(self.refusals) >= BATCH_EVENTS


Fed = Batch | BaseException | None
"""What the reader hands over: batches, then how it ended."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Who wants to know: `refused` for every line that became no event, `settled` after every batch."""

    refused: Callable[[Refusal], None]
    settled: Callable[[Progress, int], None]


def batches(lines: Lines, source: str, keys: Keys, done: int, now: int) -> Iterator[Batch]:
    """What is behind line `done`, in batches; the lines before it are only counted for the keys."""
    batch = Batch()
    for line in lines:
        key = keys.next(line.data) if line.data is not None else ""
        if line.number <= done:
            continue
        made = item_of(source, line, key, now)
        if isinstance(made, Item):
            batch.items.append(made)
            batch.bytes += len(made.data)
        else:
            batch.refusals.append(made)
        batch.last_line = line.number
        batch.position = lines.position
        if batch.full:
            yield batch
            batch = Batch()
    if batch.last_line:
        yield batch


class Importer:
    """Runs one import; `run` returns whether it came to the end (False: it was asked to stop)."""

    def __init__(
        self,
        context: Context,
        state: State | None,
        progress: Progress,
        hooks: Hooks,
        *,
        patience: float,
        in_flight: int,
    ) -> None:
        self._context, self._state, self.progress, self._hooks = context, state, progress, hooks
        self._patience, self._in_flight = patience, in_flight
        self._stop = asyncio.Event()
        self._saved_at = 0.0
        self._waiting: dict[int, tuple[Batch, list[Refusal]]] = {}
        self._first = 0
        self._room = threading.Semaphore(1)
        self._left = False

    async def run(self, feed: Iterator[Batch]) -> bool:
        """Settle every batch. Raises `UserError`; whatever was settled until then is in the state."""
        self._listen()
        queue: asyncio.Queue[Fed] = asyncio.Queue()
        self._start_reader(feed, queue)
        try:
            async with httpx.AsyncClient(limits=httpx.Limits(max_connections=self._in_flight)) as http:
                await self._send_all(BulkClient(self._context, http, self._patience), queue)
        finally:
            self._left = True
            self._room.release()
            self._save()
        if self._stop.is_set():
            return False
        if self._state:
            self._state.forget()
        return True

    def _listen(self) -> None:
        """The first Ctrl-C or SIGTERM lets the requests in flight end; a second one ends the program."""
        loop = asyncio.get_running_loop()

        def stop(number: int) -> None:
            self._stop.set()
            loop.remove_signal_handler(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, stop, number)
            except (NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
                return

    def _start_reader(self, feed: Iterator[Batch], queue: asyncio.Queue[Fed]) -> None:
        # A thread, since a pipe may be silent for hours; a daemon, so that Ctrl-C need not wait for it.
        loop = asyncio.get_running_loop()

        def read() -> None:
            last: BaseException | None = None
            try:
                for batch in feed:
                    self._room.acquire()
                    if self._left:
                        return
                    loop.call_soon_threadsafe(queue.put_nowait, batch)
            except BaseException as error:
                last = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(queue.put_nowait, last)

        threading.Thread(target=read, name="import-reader", daemon=True).start()

    async def _send_all(self, client: BulkClient, queue: asyncio.Queue[Fed]) -> None:
        stopping = asyncio.create_task(self._stop.wait())
        sends: set[asyncio.Task[None]] = set()
        reading: asyncio.Task[Fed] | None = None
        number = 0
        failure: BaseException | None = None
        try:
            while failure is None and not self._stop.is_set():
                if reading is None and len(sends) < self._in_flight:
                    reading = asyncio.create_task(queue.get())
                waited = {stopping, *sends, *({reading} if reading else ())}
                done, _ = await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                failure = _first_failure(done & sends)
                sends -= done
                if reading is None or reading not in done:
                    continue
                fed, reading = reading.result(), None
                self._room.release()
                if not isinstance(fed, Batch):
                    failure = fed
                    break
                sends.add(asyncio.create_task(self._send(client, number, fed)))
                number += 1
            failure = await self._finish(sends) or failure
        finally:
            for task in (stopping, *sends, *((reading,) if reading else ())):
                task.cancel()
        if failure is not None:
            raise failure

    async def _finish(self, sends: set[asyncio.Task[None]]) -> BaseException | None:
        """Lets what is in flight come to its end, for a while only when the user wants to leave."""
        if not sends:
            return None
        grace = _GRACE if self._stop.is_set() else None
        done, _ = await asyncio.wait(sends, timeout=grace)
        return _first_failure(done)

    async def _send(self, client: BulkClient, number: int, batch: Batch) -> None:
        refused = await client.settle(batch.items)
        self._waiting[number] = batch, refused
        while self._first in self._waiting:
            self._settle(*self._waiting.pop(self._first))
            self._first += 1
        if time.monotonic() - self._saved_at > _SAVE_EVERY:
            self._save()

    def _settle(self, batch: Batch, refused: list[Refusal]) -> None:
        self.progress.lines = batch.last_line
        self.progress.accepted += len(batch.items) - len(refused)
        self.progress.refused += len(batch.refusals) + len(refused)
        for refusal in sorted([*batch.refusals, *refused], key=lambda refusal: refusal.line):
            self._hooks.refused(refusal)
        self._hooks.settled(self.progress, batch.position)

    def _save(self) -> None:
        if self._state and self.progress.lines:
            self._state.save(self.progress)
            self._saved_at = time.monotonic()


def _first_failure(done: Iterable[asyncio.Future[Any]]) -> BaseException | None:
    """One of the failures; every task is asked, since asyncio prints a traceback for one that nobody asks."""
    failures = [failure for task in done if (failure := task.exception())]
    return failures[0] if failures else None


def run_import(
    lines: Lines,
    source: str,
    origin: str | None,
    context: Context,
    state: State | None,
    hooks: Hooks,
    *,
    patience: float,
    in_flight: int,
    restart: bool = False,
) -> tuple[Progress, bool]:
    """Import what `lines` has behind the saved progress; the counts, and whether it came to the end."""
    progress = state.load() if state and not restart else Progress()
    feed = batches(lines, source, Keys(source, origin), progress.lines, instant.now_us())

    async def run() -> tuple[Progress, bool]:
        importer = Importer(context, state, progress, hooks, patience=patience, in_flight=in_flight)
        return progress, await importer.run(feed)

    try:
        return asyncio.run(run())
    except OSError as error:
        raise UserError(f"the import stopped: {error}") from None
