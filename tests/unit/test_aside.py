"""Which events are masked in the thread of their own, so that the loop goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

import pytest

from core import aside as module
from core.aside import LARGE, Aside
from core.masking import DEFAULT, Masker
from core.masking.screen import Span

SECRET = b'{"action":"x","metadata":{"password":"p1"}}\n'


def large(**metadata: object) -> bytes:
    return json.dumps({"action": "x", "metadata": {**metadata, "text": "a" * LARGE}}).encode()


class Watched(Masker):
    """Knows which threads it masked in."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[str] = []

    def mask_found(self, item: bytes, hits: list[Span]) -> bytes:
        self.threads.append(threading.current_thread().name)
        return super().mask_found(item, hits)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    masker = Watched()
    monkeypatch.setattr(module, "DEFAULT", masker)
    monkeypatch.setattr(module, "LONG", 60.0)
    return masker


@pytest.mark.parametrize(
    ("lines", "threads"),
    [
        ([SECRET], ["MainThread"]),
        ([SECRET] * 500, ["MainThread"] * 500),
        ([large(n=1)], []),
        ([large(password="p1")], ["masking_0"]),
        ([SECRET, large(n=1), large(password="p1"), SECRET], ["MainThread", "masking_0", "masking_0"]),
        ([], []),
    ],
    ids=["a secret", "many", "large", "a large secret", "one of many", "none"],
)
async def test_what_is_large_and_may_hold_a_secret_goes_aside(
    lines: Sequence[bytes], threads: list[str], watched: Watched
) -> None:
    masked = list(lines)
    await Aside().mask(masked)
    assert watched.threads == threads
    assert masked == DEFAULT.mask_all(lines)
    assert not any(b"p1" in line for line in masked)


async def test_once_a_run_took_long_the_rest_of_it_goes_aside(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONG", -1.0)
    lines = [SECRET] * 3
    await Aside().mask(lines)
    assert watched.threads == ["masking_0"] * 3
    assert not any(b"p1" in line for line in lines)


async def test_what_fails_aside_fails_here(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(item: bytes, hits: list[Span]) -> bytes:
        raise ValueError("no")

    monkeypatch.setattr(watched, "mask_found", fails)
    with pytest.raises(ValueError, match="no"):
        await Aside().mask([large(password="p1")])
