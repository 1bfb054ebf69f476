"""Intervals of time zones, each compared with a look at what the clock shows minute by minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.stats import MAX_INTERVALS
from core.timeline import (
    AUTO_BUCKETS,
    LADDER,
    Interval,
    TooManyIntervals,
    edges_of,
    fitting,
    interval_of,
    residues_of,
    zone_of,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo",
    "America/St_Johns", "Pacific/Apia", "Africa/Casablanca", "Antarctica/Troll", "Asia/Kolkata", "Pacific/Chatham",
]  # fmt: skip
# Where clocks change: at midnight, by half an hour, by two hours, by a whole day.
CHANGES = [
    ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"), ("America/Sao_Paulo", "2018-11-04"),
    ("America/Sao_Paulo", "2018-02-18"), ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"),
    ("America/St_Johns", "2010-11-07"), ("Pacific/Apia", "2011-12-30"), ("Antarctica/Troll", "2026-03-29"),
    ("Antarctica/Troll", "2026-10-25"), ("Africa/Casablanca", "2026-02-15"), ("America/New_York", "2026-11-01"),
]  # fmt: skip


def us_of(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def wall(us: int, zone: ZoneInfo) -> datetime:
    return (EPOCH + timedelta(microseconds=us)).astimezone(zone).replace(tzinfo=None)


def minutes(shown: datetime) -> int:
    return (shown - EPOCH.replace(tzinfo=None)) // timedelta(minutes=1)


def label(day: date, interval: Interval) -> tuple[int, ...]:
    if interval.days:
        return ((day.toordinal() - 1) // interval.days,)
    return day.year, (day.month - 1) // interval.months


def looked_up(start: int, end: int, interval: Interval, zone: ZoneInfo) -> list[int]:
    """The beginnings within `(start, end)`, minute by minute."""
    found = []
    before = wall(start, zone)
    latest = label(before.date(), interval) if not interval.seconds else ()
    for us in range(start + MINUTE, end, MINUTE):
        now = wall(us, zone)
        if interval.seconds:
            step = interval.seconds // 60
            skipped = minutes(now) - minutes(before) > 1 and minutes(now) // step != minutes(before) // step
            if minutes(now) % step == 0 or skipped:
                found.append(us)
        elif label(now.date(), interval) > latest:
            latest = label(now.date(), interval)
            found.append(us)
        before = now
    return found


@pytest.mark.parametrize("text", ["15m", "30m", "1h", "2h", "3h", "12h", "1d"])
@pytest.mark.parametrize(("name", "day"), CHANGES)
def test_around_a_change_of_the_clock(name: str, day: str, text: str) -> None:
    start = us_of(f"{day}T00:00:00Z") - 40 * HOUR
    check(start, start + 88 * HOUR, interval_of(text), zone_of(name))


minute_intervals = [each for each in LADDER if each.seconds == 0 or each.seconds % 60 == 0]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(minute_intervals),
    st.integers(us_of("1973-01-01T00:00:00Z") // MINUTE, us_of("2037-12-01T00:00:00Z") // MINUTE),
    st.integers(1, 2500),
)
def test_anywhere(name: str, interval: Interval, start: int, length: int) -> None:
    check(start * MINUTE, (start + length) * MINUTE, interval, zone_of(name))


def check(start: int, end: int, interval: Interval, zone: ZoneInfo) -> None:
    edges = edges_of(start, end, interval, zone, 100_000)
    assert edges[0] <= start < edges[1]
    assert edges[-2] < end <= edges[-1]
    assert all(low < high for low, high in pairwise(edges))
    inside = [edge for edge in edges if start < edge < end]
    assert inside == looked_up(start, end, interval, zone)
    # The first and the last begin too: none lies between them and the range.
    assert looked_up(edges[0] - MINUTE, start + 1, interval, zone)[0:1] in ([edges[0]], [])
    step, residues = residues_of(edges, interval)
    assert {edge // SECOND % step for edge in edges} == set(residues)
    assert len(residues) <= 4


def test_seconds_and_microseconds() -> None:
    edges = edges_of(SECOND + 1, 3 * SECOND + 1, interval_of("1s"), zone_of("Europe/Berlin"), 10)
    assert edges == [SECOND, 2 * SECOND, 3 * SECOND, 4 * SECOND]
    assert edges_of(SECOND, 3 * SECOND, interval_of("1s"), zone_of("UTC"), 10) == [SECOND, 2 * SECOND, 3 * SECOND]


def test_where_offsets_were_no_whole_minutes() -> None:
    start = us_of("1972-01-06T12:00:00Z")
    edges = edges_of(start, start + DAY, interval_of("6h"), zone_of("Africa/Monrovia"), 10)
    assert us_of("1972-01-07T00:44:30Z") in edges
    assert edges_of(0, DAY, interval_of("1d"), zone_of("Africa/Monrovia"), 10)[1] == 2670 * SECOND


@pytest.mark.parametrize("text", ["1s", "30s", "7m", "1m", "90m", "45m", "6h", "24h", "1d", "1w", "1M", "1q", "1y"])
def test_what_divides_a_day_is_an_interval(text: str) -> None:
    divides = text not in ("7m", "24h")
    if divides:
        assert interval_of(text).text == text
    else:
        with pytest.raises(ValueError, match="divide a day"):
            interval_of(text)


@pytest.mark.parametrize(
    "text", ["", "1", "h", "0h", "-1h", "1.5h", "2d", "2M", "1w ", "1H", "٣h", "99999999h", "auto"]
)
def test_other_texts_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        interval_of(text)


@pytest.mark.parametrize(
    "name", ["", "Berlin", "europe/berlin", "../../etc/passwd", "/etc/passwd", "UTC+1", "\0", "localtime", "x" * 999]
)
def test_only_iana_names_are_zones(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        zone_of(name)


@given(st.integers(0, 10**16), st.integers(1, 2 * 10**15), st.sampled_from(ZONES))
def test_the_fitting_interval_cuts_into_few_and_is_no_longer_than_needed(start: int, length: int, name: str) -> None:
    interval = fitting(start, start + length)
    if start + length > us_of("2100-01-01T00:00:00Z"):
        return
    edges = edges_of(start, start + length, interval, zone_of(name), MAX_INTERVALS)
    assert len(edges) - 1 <= AUTO_BUCKETS + 3 + (AUTO_BUCKETS if interval == LADDER[-1] else 0)
    if interval != LADDER[0] and length < 100 * 365 * DAY:
        finer = LADDER[LADDER.index(interval) - 1]
        assert length / SECOND > AUTO_BUCKETS * finer.least_seconds


@pytest.mark.parametrize("text", ["1s", "1m", "1h", "1d", "1M"])
def test_too_many_intervals_are_refused_before_they_are_made(text: str) -> None:
    interval, start = interval_of(text), us_of("2020-01-01T00:00:00Z")
    width = interval.least_seconds * SECOND
    for most in (1, 10):
        with pytest.raises(TooManyIntervals):
            edges_of(start, start + (most + 3) * width * 31 // 28, interval, zone_of("UTC"), most)
    with pytest.raises(TooManyIntervals):
        edges_of(0, us_of("9999-01-01T00:00:00Z"), interval, zone_of("Europe/Berlin"), 1500)
    fitting_ = edges_of(start, start + 10 * width, interval, zone_of("UTC"), 10)
    assert len(fitting_) - 1 <= 10
