"""The collector's settings for a process that serves."""

from __future__ import annotations

import gc

from core.garbage import settled


def test_what_was_there_is_spared_until_the_block_ends() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with settled():
        assert gc.get_freeze_count() > frozen
        assert gc.get_threshold()[0] > before[0]
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_the_settings_come_back_after_a_fault() -> None:
    before = gc.get_threshold()
    try:
        with settled():
            raise RuntimeError
    except RuntimeError:
        pass
    assert gc.get_threshold() == before
