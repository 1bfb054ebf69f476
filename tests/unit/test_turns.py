"""Turns are counted for each tenant and over all, and given back."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from core.errors import Overloaded
from core.turns import Turns


def test_turns_are_refused_beyond_their_number_and_come_back() -> None:
    turns = Turns(3, 2)
    with ExitStack() as held:
        for tenant in "aab":
            held.enter_context(turns.taken(tenant))
        for tenant in "abc":
            with pytest.raises(Overloaded), turns.taken(tenant):
                pass
    with ExitStack() as held:
        for tenant in "aa":
            held.enter_context(turns.taken(tenant))
        with pytest.raises(Overloaded), turns.taken("a"):
            pass
        with turns.taken("b"):
            pass


def test_a_turn_comes_back_after_a_failure() -> None:
    turns = Turns(1, 1)
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), turns.taken("a"):
            raise ValueError("x")
