"""Times: RFC 3339 in, microseconds, RFC 3339 out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import instant


@given(st.integers(0, 253_402_300_799_999_999))
def test_text_and_back(us):
    text = instant.to_text(us)
    assert instant.from_text(text) == us
    assert instant.parse(text) == (us, text)


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    st.integers(-1439, 1439),
)
def test_every_offset_is_the_same_moment(moment, minutes):
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert instant.from_text(aware.isoformat()) == expected


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("2026-11-21T11:40:00Z", "2026-11-21T11:40:00.000000Z"),
        ("2026-11-21t11:40:00.5z", "2026-11-21T11:40:00.500000Z"),
        ("2026-11-21T11:40:00.1234569Z", "2026-11-21T11:40:00.123456Z"),
        ("2026-11-21T11:40:00.9999999999+05:30", "2026-11-21T06:10:00.999999Z"),
        ("2026-01-01T00:00:00.000001-00:30", "2026-01-01T00:30:00.000001Z"),
    ],
)
def test_further_digits_are_cut_off_and_never_rounded(text, canonical):
    assert instant.to_text(instant.from_text(text)) == canonical


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-11-21", "2026-11-21T11:40:00", "2026-11-21T11:40Z", "20261121T114000Z", "2026-W47-6T11:40:00Z",
     "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-21T24:40:00Z", "2026-11-21T11:40:61Z",
     "2026-11-21T11:40:00+0100", "2026-11-21T11:40:00+25:00", "0001-01-01T00:00:00+14:00", "٢٠٢٦-11-21T11:40:00Z",
     "2026-11-21T11:40:00Z\n", "2026-11-21T11:40:00.Z"],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        instant.from_text(text)
