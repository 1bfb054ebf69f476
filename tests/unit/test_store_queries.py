"""Prefix ends and windows of time, the arithmetic under the store's queries; and whose fault a slow one is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo.errors import (
    AutoReconnect,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from core.adapters.store.pages import Order, Reader
from core.adapters.store.queries import successor
from core.adapters.store.windows import END_OF_TIME, windows
from core.errors import TimedOut, Unavailable, UnboundedQuery
from tests.queries import TEXTS
from tests.unit.ports import anything

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


class Cut:
    """A collection whose every read ends in `error`, on a server that is there or not."""

    def __init__(self, error: Exception, there: bool) -> None:
        self._error = error
        self._there = there
        self.database = self

    def find(self, *_: object) -> None:
        raise self._error

    aggregate = find

    async def command(self, _: str) -> None:
        if not self._there:
            raise ServerSelectionTimeoutError("none")


@pytest.mark.parametrize(
    ("error", "there", "narrowed", "raised"),
    [
        (ExecutionTimeout("", 50), False, True, UnboundedQuery),  # the server's own word: it is not asked again
        (ExecutionTimeout("", 50), True, False, Unavailable),
        (NetworkTimeout(""), True, True, UnboundedQuery),
        (NetworkTimeout(""), False, True, TimedOut),
        (NetworkTimeout(""), True, False, TimedOut),
        (OperationFailure("", 13), True, True, Unavailable),
        (AutoReconnect(""), True, True, Unavailable),
    ],
)
async def test_whose_fault_it_is_that_a_page_does_not_come(
    error: Exception, there: bool, narrowed: bool, raised: type[Exception]
) -> None:
    base = {"tenant_id": "x"} | ({"$and": [{"user_id": "x"}]} if narrowed else {})
    reader = Reader(anything(Cut(error, there)), base, Order("timestamp", True), (0, 10))
    with pytest.raises(raised) as caught:
        await reader.page(None, 1, 1, 5)
    assert isinstance(caught.value, UnboundedQuery) is (raised is UnboundedQuery)
