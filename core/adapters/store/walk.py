"""A tenant's events of a range of time in order, in batches: windows that follow how densely the events lie.

Nothing is held on the server between two batches. A window that takes the server too long is asked for again, narrower:
SecantusDB looks at all that lies in one before it answers with the first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Final

from core.adapters.store.client import DEADLINE, store_calls, timed_out
from core.adapters.store.pages import Reader
from core.adapters.store.windows import END_OF_TIME, FIRST_SPAN
from core.errors import Unavailable
from core.ports import Stored
from core.query import Position

_WIDE_DEADLINE: Final = 2.0
"""Seconds for a window that may have grown too wide."""
_NARROWER: Final = 16
_MAX_TRIES: Final = 10


@dataclass(slots=True)
class Walk:
    """All events of the reader's span in its order. `batch` is how many come at once, but for the last ones."""

    reader: Reader
    batch: int
    clock: Callable[[], int]
    after: Position | None = None
    span: int = FIRST_SPAN

    async def batches(self) -> AsyncIterator[list[Stored]]:
        found: list[Stored] = []
        start, end = self.reader.span
        while start < end:
            if len(found) >= self.batch:
                yield found[: self.batch]
                found = found[self.batch :]
                continue
            events, low, high = await self._window(start, end)
            found += events
            if len(events) == self.batch:  # the window may have more, of the last one's moment too
                self.after = self.reader.order.position(events[-1])
                start, end = (start, self.after.us + 1) if self.reader.order.descending else (self.after.us, end)
                self.span = max(1, 2 * abs(events[0].received_at - self.after.us))
            else:
                self.after = None
                start, end = (start, low) if self.reader.order.descending else (high, end)
                self.span = 2 * self.span if high - low <= self.span else FIRST_SPAN
        for first in range(0, len(found), self.batch):
            yield found[first : first + self.batch]

    async def _window(self, start: int, end: int) -> tuple[list[Stored], int, int]:
        """The first events of the next window, at most a batch, and the window's bounds."""
        for attempt in range(_MAX_TRIES):
            low, high = self._bounds(start, end)
            try:
                with store_calls(_WIDE_DEADLINE if self.span > FIRST_SPAN else DEADLINE):
                    events = await replace(self.reader, span=(low, high)).read(
                        self.after, self.batch, self.clock(), high - low
                    )
            except Unavailable as error:
                if attempt + 1 == _MAX_TRIES or self.span == 1 or not timed_out(error):
                    raise
                self.span = max(1, self.span // _NARROWER)
            else:
                return events, low, high
        raise AssertionError("unreachable")

    def _bounds(self, start: int, end: int) -> tuple[int, int]:
        if not self.reader.order.descending:
            return start, min(end, start + self.span)
        if start < (now := self.clock()) < end == END_OF_TIME:  # what lies ahead of now is next to nothing
            return now, end
        return max(start, end - self.span), end
