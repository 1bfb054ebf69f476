"""SIGKILL at random moments: what was answered 202 is stored once and indexed once, and nothing is stored twice."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import DATA
from tests.faults import stack as stacks
from tests.faults.judging import judge_all
from tests.faults.sender import Sender, keyed_events
from tests.faults.stack import Stack

SEED = int(os.environ.get("OCELOT_TEST_SEED", "20261121"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_no_accepted_event_is_lost_or_stored_twice(
    servers: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    storm(request, servers, tmp_path, events=2_000, rounds=2, bulk=10)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_no_accepted_event_of_100_000_is_lost_or_stored_twice(
    servers: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    storm(request, servers, tmp_path, events=67_000, rounds=15, bulk=100)


def storm(request: pytest.FixtureRequest, servers: str, home: Path, *, events: int, rounds: int, bulk: int) -> None:
    """Two tenants send `events` keyed events, and half as many without keys, while each process is killed `rounds`
    times; then everything is counted."""
    with getattr(stacks, servers)(home) as stack:
        clients = [stack.service.tenant("one"), stack.service.tenant("two")]
        log = DATA / "cloudtrail.ndjson.gz" if DATA.is_dir() else None
        senders = [Sender(client, keyed_events(log, events // 2), bulk) for client in clients]
        for sender in senders:
            sender.start()
        _kill_at_random(stack, rounds)
        judge_all(request, stack, clients, senders, kills=rounds * len(stack.names))


def _kill_at_random(stack: Stack, rounds: int) -> None:
    """Each process `rounds` times, each on its own clock, so that any of them may be gone at once."""

    def rounds_of(name: str) -> None:
        chance = random.Random(f"{SEED}-{name}")
        for _ in range(rounds):
            time.sleep(chance.uniform(0.2, 3.0))
            stack.kill(name)
            time.sleep(chance.uniform(0.0, 0.5))
            stack.start(name)

    with ThreadPoolExecutor() as pool:
        list(pool.map(rounds_of, stack.names))
