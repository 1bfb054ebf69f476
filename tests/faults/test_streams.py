"""Cutting a stream's client and killing its server at random: every event comes, and comes once."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import WebSocketException

from tests.faults import stack as stacks
from tests.service import Client
from tests.streams import Follower, Listener, Socket

SEED = int(os.environ.get("OCELOT_TEST_SEED", "20261121"))
SERVERS = ["embedded", pytest.param("live", marks=pytest.mark.live)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("servers", SERVERS)
def test_nothing_is_lost_or_repeated(servers: str, tmp_path: Path) -> None:
    storm(servers, tmp_path, events=2_000, kills=2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("servers", SERVERS)
def test_nothing_of_50_000_is_lost_or_repeated(servers: str, tmp_path: Path) -> None:
    storm(servers, tmp_path, events=50_000, kills=15)


def storm(servers: str, home: Path, *, events: int, kills: int) -> None:
    """One tenant sends while the API is killed or stopped `kills` times and its follower's connections are cut."""
    with getattr(stacks, servers)(home) as stack:
        client, other = stack.service.tenant("followed"), stack.service.tenant("other")
        follower = Reconnecting(client)
        follower.start()
        follower.begun.wait(60)
        sender = Sender(client, other, events)
        sender.start()
        chance = random.Random(SEED)
        for n in range(kills):
            time.sleep(chance.uniform(1, 5))
            stack.service.api.kill() if n % 2 else stack.service.api.stop()
            stack.start("api")
        sender.join(1800)
        assert sender.failed is None, sender.failed
        deadline = time.monotonic() + 60 + events / 50
        while len(follower.told) < events and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(2)  # what would come twice would come now
        follower.enough.set()
        follower.join(60)
        assert follower.failed is None, follower.failed
        told = Counter(follower.told)
        assert (len(sender.sent), sender.sent - told.keys()) == (events, set())
        assert {event_id: count for event_id, count in told.items() if count > 1} == {}
        assert told.keys() - sender.sent == set()
        assert follower.gaps == []
        assert follower.connections > kills


class Reconnecting(threading.Thread):
    """Follows by either way in turn, cuts its own connection at random and goes on with the last id."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.told: list[str] = []
        self.gaps: list[object] = []
        self.connections = 0
        self.begun, self.enough = threading.Event(), threading.Event()
        self.failed: BaseException | None = None
        self._last: str | None = None
        self._chance = random.Random(SEED + 1)

    def run(self) -> None:
        try:
            while not self.enough.is_set():
                self._follow()
        except BaseException as error:
            self.failed = error

    def _follow(self) -> None:
        try:
            listener: Listener
            listener = Follower(self.client, self._last) if self.connections % 2 else Socket(self.client, self._last)
        except (OSError, WebSocketException, TimeoutError):
            time.sleep(0.2)
            return
        with listener:
            until = time.monotonic() + self._chance.choice([0.05, 0.5, 2.0])
            while not listener.ended and time.monotonic() < until and not self.enough.is_set():
                time.sleep(0.01)
                if listener.messages:
                    self.begun.set()
        refused = isinstance(listener, Follower) and listener.status not in (0, 200)
        assert not refused or listener.status in (429, 503), listener.status
        if not listener.messages:
            time.sleep(0.1)
            return
        self.connections += 1
        self.told += listener.ids()
        self.gaps += listener.named("gap")
        self._last = listener.last_id


class Sender(threading.Thread):
    """Sends keyed events until each is accepted, to another tenant as well."""

    def __init__(self, client: Client, other: Client, count: int) -> None:
        super().__init__(daemon=True)
        self.client, self.other, self.count = client, other, count
        self.sent: set[str] = set()
        self.failed: BaseException | None = None

    def run(self) -> None:
        try:
            for start in range(0, self.count, 50):
                batch = [{"action": "a", "idempotency_key": f"k{n}"} for n in range(start, min(start + 50, self.count))]
                self.sent |= set(self._accepted(self.client, batch))
                self._accepted(self.other, batch[:10])
                time.sleep(0.02)
        except BaseException as error:
            self.failed = error

    def _accepted(self, client: Client, batch: list[dict[str, str]]) -> list[str]:
        while True:
            try:
                response = client.post("/logs/bulk", json=batch)
                if response.status_code == 202 and response.json()["accepted"] == len(batch):
                    return [item["id"] for item in response.json()["items"]]
                assert response.status_code in (202, 429, 503), response.text
            except httpx.TransportError:
                pass
            time.sleep(0.2)
