"""Which events are masked in the thread of their own, so that the loop goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

import pytest

from core import aside as module
from core.aside import LARGE, Aside

SECRET = b'{"action":"x","metadata":{"password":"p1"}}'


def large(**metadata: object) -> bytes:
    return json.dumps({"action": "x", "metadata": {**metadata, "text": "a" * LARGE}}).encode()


def where(items: Sequence[bytes]) -> str:
    """The name of the thread that works on the items."""
    return threading.current_thread().name


@pytest.mark.parametrize(
    ("items", "thread"),
    [
        ([SECRET], "MainThread"),
        ([SECRET] * 500, "MainThread"),
        ([large(n=1)], "MainThread"),
        ([large(password="p1")], "masking_0"),
        ([SECRET, large(n=1), large(password="p1")], "masking_0"),
        ([b"[" * LARGE], "MainThread"),
        ([], "MainThread"),
    ],
    ids=["a secret", "many", "large", "a large secret", "one of many", "no JSON", "none"],
)
async def test_what_is_large_and_may_hold_a_secret_goes_aside(items: list[bytes], thread: str) -> None:
    assert await Aside().run()(where, items) == thread


async def test_once_a_slice_took_long_the_rest_of_its_request_goes_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    aside = Aside()
    run = aside.run()
    assert await run(where, [SECRET]) == "MainThread"
    monkeypatch.setattr(module, "LONG", -1.0)
    assert await run(where, [SECRET]) == "MainThread"
    assert await run(where, [SECRET]) == "masking_0"
    monkeypatch.undo()
    assert await run(where, [SECRET]) == "masking_0"
    assert await aside.run()(where, [SECRET]) == "MainThread"


async def test_what_fails_aside_fails_here() -> None:
    def fails(items: Sequence[bytes]) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await Aside().run()(fails, [large(password="p1")])
