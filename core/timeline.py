"""Cutting a range of time into intervals as a time zone's clocks and calendar have them.

An interval of seconds, minutes or hours begins where the wall clock shows a multiple of it, counted from midnight; of
days or longer at midnight of its first day, a week's being a Monday. Where the clock is put back, each of the two
times that it shows the same begins an interval; where it is put forward over a beginning, the interval begins at that
moment. So a day may have 23, 24 or 25 hours, and every moment is in one interval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

DAY: Final = 86_400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_WRITTEN: Final = re.compile(r"([1-9][0-9]{0,4})([smhdwMqy])", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
_MONTHS: Final = {"M": 1, "q": 3, "y": 12}
AUTO_BUCKETS: Final = 120


@dataclass(frozen=True, slots=True)
class Interval:
    """`text` as a user writes it: `15m`. One of `seconds` (a divisor of a day), `days` and `months` is not 0."""

    text: str
    seconds: int = 0
    days: int = 0
    months: int = 0

    @property
    def least_seconds(self) -> int:
        """No interval of this kind but a day's first or last, or one at a change of the clock, is shorter."""
        return self.seconds or self.days * DAY or self.months * 28 * DAY


@lru_cache(maxsize=256)
def interval_of(text: str) -> Interval:
    """Raises ValueError unless it divides a day or is 1d, 1w, 1M, 1q or 1y."""
    match = _WRITTEN.fullmatch(text)
    if match is not None:
        count, unit = int(match[1]), match[2]
        if unit in _SECONDS:
            seconds = count * _SECONDS[unit]
            if DAY % seconds == 0 and seconds < DAY:
                return Interval(text, seconds=seconds)
        elif count == 1:
            if unit in _MONTHS:
                return Interval(text, months=_MONTHS[unit])
            return Interval(text, days=7 if unit == "w" else 1)
    raise ValueError("must be seconds, minutes or hours that divide a day (30s, 15m, 6h), or 1d, 1w, 1M, 1q or 1y")


LADDER: Final = tuple(
    interval_of(text)
    for text in (
        "1s", "2s", "5s", "10s", "30s", "1m", "2m", "5m", "10m", "15m", "30m",
        "1h", "2h", "3h", "6h", "12h", "1d", "1w", "1M", "1q", "1y",
    )
)  # fmt: skip


def fitting(start: int, end: int) -> Interval:
    """The shortest usual interval that cuts `[start, end)`, in microseconds, into `AUTO_BUCKETS` or so."""
    seconds = (end - start) / 1_000_000
    return next((each for each in LADDER if seconds <= AUTO_BUCKETS * each.least_seconds), LADDER[-1])


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """The time zone of an IANA name; raises ValueError for any other text."""
    if name not in _zone_names():
        raise ValueError("must be an IANA time zone such as Europe/Berlin or UTC")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    # `localtime` is this machine's own, where the system has it.
    return frozenset(available_timezones() - {"localtime"})


class TooManyIntervals(ValueError):
    """The range would have more than `most`."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the range has more than {most} intervals")


def edges_of(start: int, end: int, interval: Interval, zone: ZoneInfo, most: int) -> list[int]:
    """The beginnings of all intervals that meet `[start, end)`, and the end of the last one; microseconds.

    The first is at or before `start`. Raises `TooManyIntervals`.
    """
    # Seconds, the end rounded up: an interval never begins within one.
    first, last = start // 1_000_000, -(-end // 1_000_000)
    # A day's slack, for the offset; an interval cut short by a clock's change is in `most` or it is not.
    if (last - first) / interval.least_seconds > most + DAY / interval.least_seconds + 2:
        raise TooManyIntervals(most)
    edges: list[int] = []
    for second in _beginnings(first, interval, zone):
        if second <= first:
            edges = [second]
            continue
        if second == edges[-1]:
            continue  # a day that the calendar has and the clock never showed
        edges.append(second)
        if second >= last:
            break
        if len(edges) > most:
            raise TooManyIntervals(most)
    if len(edges) - 1 > most:
        raise TooManyIntervals(most)
    return [second * 1_000_000 for second in edges]


def residues_of(edges: Sequence[int], interval: Interval) -> tuple[int, list[int]]:
    """A step of seconds, and the remainders that the edges leave by it: a few, one for each offset of the zone.

    Equal steps from one remainder pass through every edge that leaves it, so that counts of equal steps in UTC add up
    to the counts before each edge.
    """
    step = interval.seconds or DAY
    return step, sorted({edge // 1_000_000 % step for edge in edges})


def _beginnings(first: int, interval: Interval, zone: ZoneInfo) -> Iterator[int]:
    """Ascending beginnings of intervals, in seconds, from one at or before `first` on, without end."""
    if interval.seconds:
        return _by_the_clock(first, interval.seconds, zone)
    day = _local(first, zone).date()
    if interval.days:
        walls = _days(day - timedelta(days=day.weekday() + 7 if interval.days == 7 else 1), interval.days)
    else:
        walls = _months(day.year - 1, interval.months)
    return (_first_shown(wall, zone) for wall in walls)


def _by_the_clock(first: int, step: int, zone: ZoneInfo) -> Iterator[int]:
    """Two beginnings are less than two steps apart, at a change of the clock as well."""
    moment = first - 2 * step
    while True:
        offset = _offset(moment, zone)
        following = moment + step - (moment + offset) % step
        later = _offset(following, zone)
        if later != offset:
            change = _change(moment, following, zone)
            skipped = later > offset and (change + later) // step * step >= change + offset
            following = change if skipped else change + -(change + later) % step
        yield following
        moment = following


def _days(day: date, step: int) -> Iterator[datetime]:
    while True:
        yield datetime.combine(day, time())
        day += timedelta(days=step)


def _months(year: int, step: int) -> Iterator[datetime]:
    while True:
        for month in range(1, 13, step):
            yield datetime.combine(date(year, month, 1), time())
        year += 1


def _first_shown(wall: datetime, zone: ZoneInfo) -> int:
    """The first second at which the clock shows `wall`, or is put forward over it."""
    before, after = (_seconds(wall.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
    return before if before <= after else _change(after, before, zone)


def _change(low: int, high: int, zone: ZoneInfo) -> int:
    """The first second in `(low, high]` with another offset than `low`, of which there is one change at most."""
    offset = _offset(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
    return high


def _offset(second: int, zone: ZoneInfo) -> int:
    offset = _local(second, zone).utcoffset()
    return 0 if offset is None else offset // _SECOND


def _local(second: int, zone: ZoneInfo) -> datetime:
    return (_EPOCH + timedelta(seconds=second)).astimezone(zone)


def _seconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _SECOND
