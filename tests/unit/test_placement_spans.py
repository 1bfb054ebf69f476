"""Placements and the times that they hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.placement import Period, Placement, place, placements_within, span_of

DAY = 86_400_000_000
TIMES = st.integers(0, 4_102_444_800_000_000)
HISTORIES = st.lists(st.tuples(TIMES, st.sampled_from(Period)), max_size=3, unique_by=lambda each: each[0]).map(
    lambda found: (Placement(), *(Placement(since, period) for since, period in sorted(found)))
)


def us(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("placement", "start", "end"),
    [
        ("2026", us(2026, 1, 1), us(2027, 1, 1)),
        ("202611", us(2026, 11, 1), us(2026, 12, 1)),
        ("202612", us(2026, 12, 1), us(2027, 1, 1)),
        ("202402", us(2024, 2, 1), us(2024, 3, 1)),
        ("20241231", us(2024, 12, 31), us(2025, 1, 1)),
    ],
)
def test_a_span(placement: str, start: int, end: int) -> None:
    assert span_of(placement) == (start, end)


@given(HISTORIES, TIMES)
def test_every_event_lies_in_its_placements_span(history: tuple[Placement, ...], at: int) -> None:
    start, end = span_of(place(history, at))
    assert start <= at < end


@given(HISTORIES, TIMES, st.integers(1, 90 * DAY), st.data())
def test_every_placement_of_a_range_is_named(
    history: tuple[Placement, ...], start: int, length: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(start, start + length - 1))
    assert place(history, at) in placements_within(history, start, start + length)
