"""Reading by time in windows that double, which is what keeps a sorted read cheap on every server.

SecantusDB sorts by scanning the whole range (the newest 50 of 30,000 events: 2 s; within a narrow window: 20 ms), so a
page is put together from narrow windows that widen while they find too little. On MongoDB itself each window is one
descent into the index: some 30 empty ones of about 1 ms reach back fifty years.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

FIRST_SPAN: Final = 1_000_000
"""A second, in microseconds: at 100 events a second a first window of a minute took SecantusDB half a second."""
END_OF_TIME: Final = 1 << 62
"""Above every time there is; an int64."""


def windows(start: int, end: int, now: int, *, descending: bool, span: int = FIRST_SPAN) -> Iterator[tuple[int, int]]:
    """`[start, end)` cut into half-open windows in reading order, each twice as long as the one before.

    Newest first with an open end, the first window is all that lies ahead of `now`, where there is next to nothing.
    """
    if descending:
        if start < now < end == END_OF_TIME:
            yield now, end
            end = now
        while start < end:
            low = max(start, end - span)
            yield low, end
            end, span = low, span * 2
    else:
        while start < end:
            high = min(end, start + span)
            yield start, high
            start, span = high, span * 2
