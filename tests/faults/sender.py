"""A client that never gives up, and remembers what it was told."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cli.importing.items import Item, Keys, item_of
from cli.importing.lines import Lines
from core import instant
from tests.answers import LOOKED_AT
from tests.service import Client


def keyed_events(log: Path | None, count: int) -> Iterator[bytes]:
    """`count` events as `ocelot import` makes them of a CloudTrail log; made-up ones where there is none."""
    if log is None:
        for n in range(count):
            yield json.dumps({"action": "test.made", "metadata": {"n": n}, "idempotency_key": f"made:{n}"}).encode()
        return
    sent = 0
    while sent < count:
        keys = Keys("cloudtrail", f"round-{sent}")
        with Lines(str(log)) as lines:
            for line in lines:
                assert line.data is not None
                item = item_of("cloudtrail", line, keys.next(line.data), instant.now_us())
                assert isinstance(item, Item)
                yield item.data
                sent += 1
                if sent == count:
                    return


@dataclass
class Told:
    """What a client knows of its events."""

    keyed: dict[str, set[str]] = field(default_factory=dict)
    """Each key and the ids that it was answered with."""
    unkeyed: dict[str, str] = field(default_factory=dict)
    """Each attempt (its `request_id`) that was answered 202, and its id."""
    unanswered: set[str] = field(default_factory=set)
    """Attempts whose answer never came, or said to try again: they may be stored or not."""
    wrong: list[str] = field(default_factory=list)
    """Answers that no fault of a dependency explains."""

    @property
    def accepted(self) -> set[str]:
        return {id_ for ids in self.keyed.values() for id_ in ids} | set(self.unkeyed.values())


class Sender(threading.Thread):
    """Sends `events` (keyed, each again until it is accepted), `bulk` at a time, and half as many without keys.

    Goes on with events without keys until `enough` is set.
    """

    def __init__(self, client: Client, events: Iterator[bytes], bulk: int) -> None:
        super().__init__(daemon=True)
        self.told = Told()
        self.enough = threading.Event()
        self.taken = threading.Event()
        """All keyed events are accepted."""
        self.failed: BaseException | None = None
        self._url = client.base_url
        self._headers = {"Authorization": f"Bearer {client.token}", "Content-Type": "application/json"}
        self._events = events
        self._bulk_size = bulk
        self._attempts = 0

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self._url, headers=self._headers, timeout=30, event_hooks=LOOKED_AT) as http:
                self._send_all(http)
        except BaseException as error:
            self.failed = error

    def _send_all(self, http: httpx.Client) -> None:
        left: list[bytes] = []
        while True:
            while len(left) < self._bulk_size and (event := next(self._events, None)) is not None:
                left.append(event)
            if not left:
                self.taken.set()
                if self.enough.is_set():
                    return
            left = self._bulk(http, left, max(1, self._bulk_size // 2))
            # What goes on beyond the given events is there to be under way, not to be many.
            time.sleep(0.2 if self.taken.is_set() else 0.02)

    def _bulk(self, http: httpx.Client, keyed: list[bytes], more: int) -> list[bytes]:
        """Send `keyed` and `more` events without keys; the keyed ones that must be sent again."""
        attempts = [f"attempt-{self._attempts + n}" for n in range(more)]
        self._attempts += more
        unkeyed = [
            json.dumps({"action": "test.plain", "request_id": a, "metadata": {"of": a}}).encode() for a in attempts
        ]
        body = gzip.compress(b"[" + b",".join(keyed + unkeyed) + b"]", 1)
        try:
            response = http.post("logs/bulk", content=body, headers={"Content-Encoding": "gzip"})
        except httpx.ConnectError:  # nobody was there: nothing was sent
            time.sleep(0.1)
            return keyed
        except httpx.TransportError:
            self.told.unanswered.update(attempts)
            time.sleep(0.1)
            return keyed
        if response.status_code not in (202, 429, 503):
            self.told.wrong.append(f"{response.status_code} {response.text[:300]}")
        items: list[dict[str, Any]] = response.json().get("items") or [{"status": "retry"}] * (len(keyed) + more)
        again = []
        for n, item in enumerate(items):
            if item["status"] == "refused":
                self.told.wrong.append(str(item))
            elif n >= len(keyed):
                self._plain(item, attempts[n - len(keyed)])
            elif item["status"] == "retry":
                again.append(keyed[n])
            else:
                self.told.keyed.setdefault(json.loads(keyed[n])["idempotency_key"], set()).add(item["id"])
        return again

    def _plain(self, item: dict[str, Any], attempt: str) -> None:
        if item["status"] == "retry":
            self.told.unanswered.add(attempt)
        else:
            self.told.unkeyed[attempt] = item["id"]
