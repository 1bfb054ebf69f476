"""Sends items to `POST /api/v1/logs/bulk` until each is settled: accepted or refused, never merely tried."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import zstandard

from cli.context import Context, UserError
from cli.importing.items import Item, Refusal
from core.errors import FieldError

PATH: Final = "/api/v1/logs/bulk"
# A request may wait for the queue's acknowledgement; the server itself gives up sooner, with 503.
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)
_FIRST_DELAY: Final = 0.25
_MAX_DELAY: Final = 30.0
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
# Level 1 packs mapped CloudTrail lines 13 times and Windows lines 24 times, in 3 to 6 us an event.
_LEVEL: Final = 1


class OutOfPatience(UserError):
    """Nothing was settled for as long as the user will wait."""


class Delays:
    """Waits that double from a quarter of a second to half a minute, with jitter; `settled` starts over."""

    def __init__(self, patience: float, sleep: Callable[[float], Awaitable[None]], clock: Callable[[], float]) -> None:
        self._patience, self._sleep, self._clock = patience, sleep, clock
        self.settled()

    def settled(self) -> None:
        self._next = _FIRST_DELAY
        self._since = self._clock()

    async def wait(self, reason: str, retry_after: float | None = None) -> None:
        """Sleep, at least `retry_after`; raises `OutOfPatience` where that would be past the patience."""
        # Many clients that were told the same second must not all come back in it.
        delay = self._next * random.uniform(0.5, 1.0) + (retry_after or 0.0)  # noqa: S311
        self._next = min(self._next * 2, _MAX_DELAY)
        if self._clock() - self._since + delay > self._patience:
            raise OutOfPatience(f"gave up after {self._patience:g} s without progress: {reason}")
        await self._sleep(delay)


class BulkClient:
    """Bulk requests with one token. `patience`: seconds without any item settled until `OutOfPatience`."""

    def __init__(
        self,
        context: Context,
        http: httpx.AsyncClient,
        patience: float,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = context.api_url + PATH
        self._headers = {
            **context.headers,
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "zstd",
            "Accept": "application/json",
        }
        self._http, self._patience, self._sleep, self._clock = http, patience, sleep, clock

    async def settle(self, items: Sequence[Item]) -> list[Refusal]:
        """Returns when every item is accepted, but for those returned, which the server refused for good.

        Raises `UserError` where going on is of no use: a bad token, no Ocelot there, out of patience. Which of the
        items were accepted by then is unknown; sending them again is right, since each has its key.
        """
        delays = Delays(self._patience, self._sleep, self._clock)
        refusals: list[Refusal] = []
        pending = list(items)
        while pending:
            try:
                response = await self._post(pending)
            except httpx.TransportError as error:
                await delays.wait(f"{self._url}: {str(error) or error.__class__.__name__}")
                continue
            results = _results(response, len(pending))
            if results is None:
                refusals += await self._without_results(response, pending, delays)
                if response.status_code not in _BUSY:
                    return refusals
                continue
            pending, refused = _sorted_out(pending, results)
            refusals += refused
            if len(pending) < len(results):
                delays.settled()
            if pending:
                await delays.wait(f"{len(pending)} events answered to send again", _retry_after(response))
        return refusals

    async def _post(self, items: Sequence[Item]) -> httpx.Response:
        body = b"\n".join(item.data for item in items) + b"\n"
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(body)
        return await self._http.post(self._url, content=packed, headers=self._headers, timeout=_TIMEOUT)

    async def _without_results(self, response: httpx.Response, items: list[Item], delays: Delays) -> list[Refusal]:
        """For an answer about the request as a whole: wait, divide it, or give up."""
        status = response.status_code
        problem = _problem(response)
        if status in _BUSY:
            await delays.wait(_said(response, problem), _retry_after(response))
            return []
        # Another server's 400 is no verdict on the events; a proxy's 413 is one.
        if status == 413 or (status in (400, 422) and isinstance((problem or {}).get("code"), str)):
            if len(items) > 1:
                # One of them is at fault, or all together are too large: the halves tell which.
                middle = len(items) // 2
                return await self.settle(items[:middle]) + await self.settle(items[middle:])
            return [_refusal(items[0], problem or {"code": f"http_{status}"})]
        if status in (401, 403):
            raise UserError(f"the token is not accepted: {_said(response, problem)}")
        raise UserError(f"{self._url} is not Ocelot's bulk endpoint: {_said(response, problem)}")


def _results(response: httpx.Response, sent: int) -> list[dict[str, Any] | None] | None:
    """The answer for each item sent, None for one that is not answered; None where the answer is not about items."""
    if response.status_code not in (200, 202, 422, 503):
        return None
    body = _json(response)
    listed = body.get("items") if isinstance(body, dict) else None
    if not isinstance(listed, list) or (not listed and response.status_code >= 400):
        return None
    results: list[dict[str, Any] | None] = [None] * sent
    for one in listed:
        index = one.get("index") if isinstance(one, dict) else None
        if isinstance(index, int) and 0 <= index < sent:
            results[index] = one
    return results


def _sorted_out(items: Sequence[Item], results: Sequence[dict[str, Any] | None]) -> tuple[list[Item], list[Refusal]]:
    """What must go again (`retry`, or not answered at all), and what was refused."""
    again: list[Item] = []
    refused: list[Refusal] = []
    for item, result in zip(items, results, strict=True):
        status = result.get("status") if result else None
        if result is not None and status == "refused":
            error = result.get("error")
            refused.append(_refusal(item, error if isinstance(error, dict) else {}))
        elif status != "accepted":
            again.append(item)
    return again, refused


def _refusal(item: Item, error: dict[str, Any]) -> Refusal:
    listed = error.get("errors")
    errors = tuple(
        FieldError(tuple(one.get("loc") or ()), str(one.get("msg", "")), str(one.get("type", "")))
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict)
    )
    message = error.get("message") or error.get("detail") or error.get("title") or ""
    return Refusal(item.line, str(error.get("code") or "refused"), str(message), errors)


def _problem(response: httpx.Response) -> dict[str, Any] | None:
    body = _json(response)
    return body if isinstance(body, dict) else None


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _said(response: httpx.Response, problem: dict[str, Any] | None) -> str:
    detail = (problem or {}).get("detail") or (problem or {}).get("title") or response.reason_phrase
    return f"{response.status_code} {detail}".strip()


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, of either form that HTTP has."""
    written = response.headers.get("Retry-After", "")
    if written.isascii() and written.isdigit():
        return float(written[:9])
    try:
        moment = parsedate_to_datetime(written)
    except (ValueError, IndexError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
