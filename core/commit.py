"""Group commit: the events of all requests in flight share envelopes, and envelopes share sends.

While the allowed sends are under way, the next envelopes fill; a free send takes what has gathered at once, so that a
lone event waits for nobody and a crowd pays for few sends. Sends are tasks of their own: a client that goes away
cancels nothing, and 202 is said only after the queue's acknowledgement.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Final

from core import envelope, instant, tracing
from core.envelope import Header, Record
from core.errors import Overloaded, Unavailable, as_value
from core.ports import Heartbeat, Message, Queue
from core.submission import Sealed, Segment, Submission, Waiting, fit

log = logging.getLogger(__name__)
# A tenant with this much waiting (packed) gets envelopes of its own, which SQS can then deliver fairly.
OWN_ENVELOPE_BYTES: Final = 16 * 1024
# One batch of SQS: ten messages.
ENVELOPES_A_SEND: Final = 10
_SEND_TIMEOUT: Final = 5.0
_LAST_TRY: Final = 2.0
_BACKOFF: Final = (0.05, 1.0)


class GroupCommit:
    """Packs records into envelopes and sends them; one a process. `producer` names this process for ever.

    `max_pending_bytes` bounds the raw bytes of what was submitted and has no result yet; `deadline` is in seconds.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        sends_in_flight: int = 4,
        deadline: float = 10.0,
        max_pending_bytes: int = 256 * 1024 * 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.producer = uuid.uuid4().hex
        self.pending_bytes = 0
        self._queue = queue
        self._sends_in_flight = sends_in_flight
        self._deadline = deadline
        self._max_pending_bytes = max_pending_bytes
        self._clock = clock
        self._tenants: OrderedDict[str, Waiting] = OrderedDict()
        self._flights: set[asyncio.Task[None]] = set()
        self._sequence = 0
        self._voided: list[int] = []
        self._pump_due = False
        self._stamps: dict[object, int] = {}
        # How many raw bytes make a packed one, learned from each envelope; a low first guess errs to small ones.
        self._ratio = 4.0

    @contextmanager
    def stamping(self) -> Iterator[int]:
        """The moment (microseconds) to stamp a request's events with; until the block ends, none later is called past.

        Give it to `submit` within the block.
        """
        key, at = object(), instant.now_us()
        self._stamps[key] = at
        try:
            yield at
        finally:
            del self._stamps[key]

    async def submit(self, records: Sequence[Record], stamp: int | None = None) -> list[tuple[int, int, Exception]]:
        """Wait until every record (of one tenant) is durable in the queue, or has failed.

        `stamp` is what `stamping` gave; it counts on until the last of them has a result, whoever still waits for it.
        Returns the failed runs as (start, end, error); [] means that all are accepted. Raises `Overloaded` before
        anything is taken when the bound is reached.
        """
        ends = list(accumulate([len(record.body) for record in records]))
        size = ends[-1]
        if self.pending_bytes and self.pending_bytes + size > self._max_pending_bytes:
            raise Overloaded("too many events wait for the queue")
        loop = asyncio.get_running_loop()
        submission = Submission(
            records,
            ends,
            loop.create_future(),
            self._clock() + self._deadline,
            self._stamps.pop,
            tracing.traceparent.get() if tracing.is_on() else None,
            len(records),
        )
        self._stamps[submission] = instant.now_us() if stamp is None else stamp
        waiting = self._tenants.setdefault(records[0].tenant_id, Waiting())
        waiting.segments.append(Segment(submission, 0, len(records)))
        waiting.raw_bytes += size
        self.pending_bytes += size
        self._pump_soon()
        # Cancelled with its client, the future goes; the submission, and the other events of its envelope, stay.
        return await submission.future

    async def drain(self) -> None:
        """Wait until nothing is waiting or under way."""
        while self._tenants or self._flights:
            self._pump()
            await asyncio.sleep(0.01)

    def waited(self) -> float:
        """For how many seconds the oldest of what waits for an envelope has been waiting."""
        expiries = [waiting.segments[0].submission.expires_at for waiting in self._tenants.values()]
        return max(0.0, self._clock() + self._deadline - min(expiries)) if expiries else 0.0

    def heartbeat(self, *, ended: bool = False) -> Heartbeat:
        """What was sealed so far: no event stamped before its time is missing from `sequence`."""
        at = self._low_water()
        return Heartbeat(self.producer, self._sequence, at, tuple(self._voided), ended)

    def _low_water(self) -> int:
        """No event stamped before this moment is still to be sealed.

        The clock alone would not do: an event is stamped before it is sealed, by 10 s when the queue is slow.
        """
        return min(instant.now_us(), *self._stamps.values()) if self._stamps else instant.now_us()

    def voids_recorded(self, voided: Sequence[int]) -> None:
        """A heartbeat with these is durable: they need not be said again."""
        del self._voided[: len(voided)]

    def _pump_soon(self) -> None:
        """Pump after the handlers that are ready in this turn of the loop: their events share the send."""
        if not self._pump_due and len(self._flights) < self._sends_in_flight:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        while self._tenants and len(self._flights) < self._sends_in_flight:
            batch: list[Sealed] = []
            while self._tenants and len(batch) < ENVELOPES_A_SEND:
                if (sealed := self._seal()) is not None:
                    batch.append(sealed)
            if batch:
                flight = asyncio.create_task(self._fly(batch))
                self._flights.add(flight)
                flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._pump()

    def _seal(self) -> Sealed | None:
        """The next envelope: of the first tenant alone if it has much waiting, else of all that have little."""
        room = min(envelope.MAX_RAW_BYTES, int(envelope.TARGET_BYTES * self._ratio))
        own = OWN_ENVELOPE_BYTES * self._ratio
        first = next(iter(self._tenants))
        alone = self._tenants[first].raw_bytes >= own
        names = [first] if alone else [name for name, waiting in self._tenants.items() if waiting.raw_bytes < own]
        segments: list[Segment] = []
        taken = 0
        for name in names:
            if taken >= room:
                break
            taken += self._take(name, room - taken, segments)
        if not segments:
            return None
        return self._pack(segments, taken, first if alone else None)

    def _take(self, tenant_id: str, room: int, segments: list[Segment]) -> int:
        """Move up to `room` raw bytes (one event at least) of a tenant to `segments`; how many were moved."""
        waiting = self._tenants[tenant_id]
        taken = 0
        now = self._clock()
        while waiting.segments and (taken < room):
            segment = waiting.segments.popleft()
            submission = segment.submission
            end, size = fit(submission.ends, segment.start, segment.end, room - taken, first=not segments)
            if end == segment.start:
                waiting.segments.appendleft(segment)
                break
            waiting.raw_bytes -= size
            if end < segment.end:
                waiting.segments.appendleft(Segment(submission, end, segment.end))
            if submission.expires_at < now:
                self.pending_bytes -= size
                submission.settle(segment.start, end, Unavailable("queue"))
                continue
            segments.append(Segment(submission, segment.start, end))
            taken += size
        if waiting.segments:
            self._tenants.move_to_end(tenant_id)  # the others come first next time
        else:
            del self._tenants[tenant_id]
        return taken

    def _pack(self, segments: list[Segment], raw_bytes: int, group: str | None) -> Sealed:
        records = [record for s in segments for record in s.submission.records[s.start : s.end]]
        events: dict[str, int] = {}
        for s in segments:
            tenant_id = s.submission.records[s.start].tenant_id
            events[tenant_id] = events.get(tenant_id, 0) + s.end - s.start
        span = tracing.Sending((s.submission.trace for s in segments), len(records)) if tracing.is_on() else None
        self._sequence += 1
        header = Header(
            id=f"{self.producer}-{self._sequence}",
            producer=self.producer,
            sequence=self._sequence,
            made_at=self._low_water(),
            events=events,
            trace=None if span is None else span.traceparent,
        )
        body = envelope.pack(header, records)
        if raw_bytes > envelope.TARGET_BYTES:  # a small envelope says little about how a full one packs
            self._ratio += (min(raw_bytes / len(body), 64.0) - self._ratio) / 4
        return Sealed(self._sequence, Message(body, group), segments, raw_bytes, span)

    async def _fly(self, batch: list[Sealed]) -> None:
        """Send until each envelope is taken, refused for good, or out of time; the same bytes each time."""
        delay = _BACKOFF[0]
        last_try = self._clock() + _LAST_TRY
        while True:
            results = await self._send([sealed.message for sealed in batch])
            again = []
            for sealed, error in zip(batch, results, strict=True):
                expired = self._clock() >= max(sealed.expires_at, last_try)
                if isinstance(error, Unavailable) and not expired:
                    again.append(sealed)
                    continue
                if error is not None:
                    log.warning("envelope %d of %s was not taken: %s", sealed.sequence, self.producer, error)
                    self._voided.append(sealed.sequence)
                self.pending_bytes -= sealed.raw_bytes
                sealed.settle(error)
            if not again:
                return
            batch = again
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311
            delay = min(2 * delay, _BACKOFF[1])

    async def _send(self, messages: list[Message]) -> list[Exception | None]:
        try:
            async with asyncio.timeout(_SEND_TIMEOUT):
                results = await self._queue.send(messages)
            if len(results) != len(messages):
                raise RuntimeError("a queue must give one result for each message")
            return results
        except Exception as error:
            fault = as_value(error) if isinstance(error, Unavailable) else Unavailable("queue")
            return [fault] * len(messages)
