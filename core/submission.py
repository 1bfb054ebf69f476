"""What group commit has in hand: requests' records until each has a result, and the envelopes that carry them."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core import tracing
from core.envelope import Record
from core.ports import Message


@dataclass(slots=True, eq=False)
class Submission:
    """The events of one request, until each has a result."""

    records: Sequence[Record]
    ends: Sequence[int]
    """How many raw bytes the records have up to the end of each."""
    future: asyncio.Future[list[tuple[int, int, Exception]]]
    expires_at: float
    settled: Callable[[Submission], object]
    """Called once when each record has a result, whoever still waits for it."""
    trace: str | None = None
    """The request's `traceparent`."""
    open: int = 0
    failed: list[tuple[int, int, Exception]] = field(default_factory=list)

    def settle(self, start: int, end: int, error: Exception | None) -> None:
        if error is not None:
            self.failed.append((start, end, error))
        self.open -= end - start
        if self.open == 0:
            self.settled(self)
            if not self.future.done():  # the client may have gone away
                self.future.set_result(self.failed)


@dataclass(slots=True)
class Segment:
    """A run of one submission's records, `start` to `end`, of one tenant."""

    submission: Submission
    start: int
    end: int


@dataclass(slots=True)
class Waiting:
    """What one tenant has waiting for an envelope."""

    segments: deque[Segment] = field(default_factory=deque)
    raw_bytes: int = 0


@dataclass(slots=True)
class Sealed:
    """An envelope on its way; its bytes never change, however often it is sent."""

    sequence: int
    message: Message
    segments: list[Segment]
    raw_bytes: int
    span: tracing.Sending | None = None

    @property
    def expires_at(self) -> float:
        return max(segment.submission.expires_at for segment in self.segments)

    def settle(self, error: Exception | None) -> None:
        if self.span is not None:
            self.span.end(error)
        for segment in self.segments:
            segment.submission.settle(segment.start, segment.end, error)


def fit(ends: Sequence[int], start: int, end: int, room: int, *, first: bool) -> tuple[int, int]:
    """How far from `start` the records fit in `room` bytes (the first one always, if `first`), and their size."""
    before = ends[start - 1] if start else 0
    fitting = bisect_right(ends, before + room, start, end)
    if first and fitting == start:
        fitting = start + 1
    return fitting, ends[fitting - 1] - before if fitting > start else 0
