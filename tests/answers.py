"""Every answer of the running service that a test gets, counted: no 5xx but 503, and a 503 says when to come again.

A fault of Ocelot's own is answered 503 too, with the code `internal`: here it is an error of ours. The counts make a
row of figures for each suite; what must not be fails the test that met it.
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


def look(status: int, retry_after: str | None, body: bytes, of: str) -> None:
    """Count one answer; any thread's. The body is looked at if it is a 503."""
    if status < 400:
        kind = "good"
    elif status < 500:
        kind = "refused"
    elif status != 503 or b'"code":"internal"' in body:
        kind = "errors_of_ours"
    else:
        kind = "unavailable" if (retry_after or "").isdecimal() and retry_after != "0" else "without_retry_after"
    _seen.update(("answers", kind))
    if kind in ("errors_of_ours", "without_retry_after"):
        _wrong.append(f"{status} {of}: {body[:500]!r}")


def _hook(response: httpx.Response) -> None:
    body = response.read() if response.status_code == 503 else b""
    request = response.request
    look(response.status_code, response.headers.get("Retry-After"), body, f"{request.method} {request.url}")


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
    assert wrong == [], "a 5xx that is no 503 with Retry-After, or a fault of the service's own"
