"""Prefix ends and windows of time: the arithmetic under the store's queries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.adapters.store.queries import successor
from core.adapters.store.windows import END_OF_TIME, windows
from tests.queries import TEXTS

edges = st.lists(st.sampled_from("a\ud7ff\ue000\U0010ffff"), max_size=4).map("".join)
characters = edges | st.text(max_size=5)


@given(characters.filter(bool), characters, st.sampled_from(TEXTS))
def test_a_prefix_ends_at_its_successor(prefix: str, tail: str, other: str) -> None:
    end = successor(prefix)
    for text in (prefix + tail, tail, other, prefix[:-1] + tail):
        between = prefix <= text and (end is None or text < end)
        assert between == text.startswith(prefix)
        # UTF-8 sorts as code points do, and the end is a string that UTF-8 has.
        assert (text.encode() < (end or prefix).encode()) == (text < (end or prefix))


moments = st.integers(0, 2**53)


@given(moments, moments | st.just(END_OF_TIME), moments, st.booleans(), st.integers(1, 10**12))
def test_windows_cut_the_range_without_gap_or_overlap(
    start: int, end: int, now: int, descending: bool, span: int
) -> None:
    cut = list(windows(start, end, now, descending=descending, span=span))
    ordered = cut[::-1] if descending else cut
    assert all(low < high for low, high in ordered)
    assert [low for low, _ in ordered[1:]] == [high for _, high in ordered[:-1]]
    assert ([ordered[0][0], ordered[-1][1]] if ordered else []) == ([start, end] if start < end else [])
    assert len(cut) < 70
