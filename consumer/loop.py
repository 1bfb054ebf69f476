"""The main loop: receive, process, acknowledge; keep leases alive; stop receiving while the store is down; drain."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from consumer.outcome import outcome_of
from consumer.pipeline import Delivery, Pipeline
from core import telemetry
from core.errors import OcelotError, Unavailable, as_value
from core.ports import Lease, Queue

log = logging.getLogger(__name__)
# Seconds that work under way has to end when the consumer stops. A store's call that is cut off goes on in its thread
# for 15 s at most, and a process that was told to end is mostly killed after 30.
GRACE: Final = 10.0
_WAIT: Final = 5.0
_PROBE: Final = (0.25, 5.0)


class Loop:
    """`workers` batches are on their way at once, so that the store works while the index does.

    When it stops, what is under way has `grace` seconds to end; then it is cut off and its messages go back. Every step
    of it may be repeated, so nothing is lost or done twice.
    """

    def __init__(
        self,
        queue: Queue,
        pipeline: Pipeline,
        probe: Callable[[], Awaitable[None]],
        *,
        workers: int = 2,
        batch: int = 10,
        lease: float = 120.0,
        grace: float = GRACE,
    ) -> None:
        self._queue = queue
        self._pipeline = pipeline
        self._probe = probe
        self._workers = workers
        self._batch = batch
        self._lease = lease
        self._grace = grace
        self._stopping = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._probing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Work until `stop`, then finish what was received."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())
        if self._probing is not None:
            self._probing.cancel()

    def stop(self) -> None:
        """Receive no more; what was received is finished or given back."""
        self._stopping.set()
        self._open.set()

    async def _work(self) -> None:
        while not self._stopping.is_set():
            await self._open.wait()
            leases = await self._receive()
            if leases and self._stopping.is_set():
                await self._give_back([(lease, 0.0) for lease in leases])
            elif leases:
                await self._handle(leases)

    async def _receive(self) -> list[Lease]:
        """A batch, or [] when none came, the queue failed, or it is time to stop."""
        if self._stopping.is_set():
            return []
        receive = asyncio.create_task(self._queue.receive(self._batch, _WAIT, self._lease))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({receive, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        # A receive that is cut off may have leased messages that nobody would hold: wait for its end.
        try:
            return await receive
        except Unavailable as error:
            telemetry.ERRORS.labels(error.dependency).inc()
            log.warning("queue: %s", error.message)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), random.uniform(0.5, 1.5))  # noqa: S311
            return []

    async def _handle(self, leases: Sequence[Lease]) -> None:
        held = _Held(self._queue, leases, self._lease)
        extending = asyncio.create_task(held.extend_forever())
        try:
            results = await self._until_stopped(leases)
        finally:
            extending.cancel()
        if results is None:
            log.warning("%d messages go back unfinished: it is time to stop", len(leases))
            await self._give_back([(held.current(lease), 0.0) for lease in leases])
            return
        done, back = [], []
        for lease, result in zip(leases, results, strict=True):
            if result is None:
                done.append(held.current(lease))
                telemetry.ENVELOPES.labels("done").inc()
            else:
                outcome = outcome_of(result, lease.receives)
                telemetry.ENVELOPES.labels(outcome.fate).inc()
                back.append((held.current(lease), outcome.delay))
        if done:
            with suppress(OcelotError):  # not acknowledged: it comes again and changes nothing
                await self._queue.ack(done)
        if back:
            await self._give_back(back)

    async def _until_stopped(self, leases: Sequence[Lease]) -> list[Exception | None] | None:
        """The results of a batch; None for one that has not ended in time after `stop`."""
        work = asyncio.create_task(self._process(leases))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait({work}, timeout=self._grace)
            return work.result() if done else None
        finally:
            stopping.cancel()
            if work.cancel():
                await asyncio.wait({work})

    async def _process(self, leases: Sequence[Lease]) -> list[Exception | None]:
        try:
            return await self._pipeline.process([Delivery(lease.body, lease.receives) for lease in leases])
        except Unavailable as error:
            telemetry.ERRORS.labels(error.dependency).inc()
            log.warning("batch goes back: %s", error.message)
            if error.dependency == "store":
                self._close()
            return [as_value(error)] * len(leases)
        except Exception as error:
            if len(leases) > 1:  # one bad message must not take the others back with it
                return [result for lease in leases for result in await self._process([lease])]
            log.exception("message goes back: unforeseen error")
            return [as_value(error)]

    async def _give_back(self, back: Sequence[tuple[Lease, float]]) -> None:
        by_delay: dict[float, list[Lease]] = {}
        for lease, delay in back:
            by_delay.setdefault(delay, []).append(lease)
        # All at once, because a queue that hangs would take its deadline for each. What is not given back: its lease
        # lapses.
        releases = (self._queue.release(leases, delay) for delay, leases in by_delay.items())
        for result in await asyncio.gather(*releases, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, OcelotError):
                raise result

    def _close(self) -> None:
        """Receive nothing until the store answers: messages that cannot be stored would only be used up."""
        if self._open.is_set() and not self._stopping.is_set():
            self._open.clear()
            self._probing = asyncio.create_task(self._probe_until_open())

    async def _probe_until_open(self) -> None:
        delay = _PROBE[0]
        while not self._stopping.is_set():
            try:
                await self._probe()
            except Exception:
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311
                delay = min(2 * delay, _PROBE[1])
            else:
                break
        self._open.set()


class _Held:
    """The leases of one batch, extended at half their time until the batch is done."""

    def __init__(self, queue: Queue, leases: Sequence[Lease], seconds: float) -> None:
        self._queue = queue
        self._leases = {id(lease): lease for lease in leases}
        self._seconds = seconds

    def current(self, lease: Lease) -> Lease:
        """The newest form of a lease."""
        return self._leases.get(id(lease), lease)

    async def extend_forever(self) -> None:
        while True:
            await asyncio.sleep(self._seconds / 2)
            keys = list(self._leases)
            try:
                extended = await self._queue.extend([self._leases[key] for key in keys], self._seconds)
            except OcelotError as error:
                log.warning("leases not extended: %s", error.message)
                continue
            by_handle = {lease.handle: lease for lease in extended}
            for key in keys:
                self._leases[key] = by_handle.get(self._leases[key].handle, self._leases[key])
