"""Every answer of the running service that a test gets, counted: no 5xx but 503, and a 503 says when to come again.

The counts make a row of figures for each suite; what must not be fails the test that met it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.figures import tally

_COUNTED = ("answers", "good", "refused", "unavailable", "without_retry_after", "errors_of_ours")
_seen: Counter[str] = Counter()
_wrong: list[str] = []


def look(status: int, retry_after: str | None, of: str) -> None:
    """Count one answer; any thread's."""
    if status < 400:
        kind = "good"
    elif status < 500:
        kind = "refused"
    elif status == 503:
        kind = "unavailable" if retry_after and retry_after.isdecimal() and int(retry_after) >= 1 else _COUNTED[4]
    else:
        kind = _COUNTED[5]
    _seen.update(("answers", kind))
    if kind in _COUNTED[4:]:
        _wrong.append(f"{status} {of}"[:1000])


def _hook(response: httpx.Response) -> None:
    request = response.request
    look(response.status_code, response.headers.get("Retry-After"), f"{request.method} {request.url}")


LOOKED_AT: dict[str, list[Any]] = {"response": [_hook]}
"""`event_hooks` of an HTTP client."""


@pytest.fixture(autouse=True)
def every_answer_is_looked_at(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    seen, wrong = {name: _seen[name] for name in _COUNTED}, list(_wrong)
    _seen.clear()
    _wrong.clear()
    if seen["answers"]:
        tally(request, "answers of the service", f"to {request.node.path.parent.name}", **seen)
    assert wrong == [], "a 5xx that is no 503 with Retry-After"
