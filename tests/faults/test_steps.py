"""Two consumers on one queue, one of them killed at each step of its way again and again, with one delivery in ten
made twice and one in ten overtaken: every event answered 202 is stored once and indexed once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from itertools import cycle
from pathlib import Path

import pytest

from infra.local.servers import free_port
from tests.conftest import DATA
from tests.faults import stack as stacks
from tests.faults.judging import judge_all
from tests.faults.sender import Sender, keyed_events
from tests.faults.stack import Stack
from tests.service import ROOT

SEED = int(os.environ.get("OCELOT_TEST_SEED", "20261121"))
STEPS = ("receive", "store", "index", "ack")
# The embedded store takes some hundred events a second while it is being killed, its index 17 KB an event in memory.
BRIEF = {"embedded": (1_500, 10), "live": (100_000, 1_000)}
"""Events, and how many of them a bulk holds."""
LONG = {"embedded": 100_000, "live": 1_000_000}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_killed_at_each_step(servers: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    events, bulk = BRIEF[servers]
    storm(request, servers, tmp_path, events=events, rounds=1, bulk=bulk)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_a_million_killed_at_each_step(servers: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    events = int(os.environ.get("OCELOT_STORM_EVENTS", LONG[servers]))
    storm(request, servers, tmp_path, events=events, rounds=10, bulk=1_000)


def storm(request: pytest.FixtureRequest, servers: str, home: Path, *, events: int, rounds: int, bulk: int) -> None:
    """Two tenants send `events`, a third of them without keys. The kills go on until all are taken, and for `rounds`
    at each step at least."""
    with getattr(stacks, servers)(home) as stack:
        clients = [stack.service.tenant("one"), stack.service.tenant("two")]
        log = DATA / "cloudtrail.ndjson.gz" if DATA.is_dir() else None
        senders = [Sender(client, keyed_events(log, events // 3), bulk) for client in clients]
        over = threading.Event()
        for sender in senders:
            sender.start()
        killer = ApiKiller(stack, over)
        killer.start()
        kills = 0
        for n, step in enumerate(cycle(STEPS)):
            if n >= rounds * len(STEPS) and all(sender.taken.is_set() or sender.failed for sender in senders):
                break
            die(stack, step=step, times=random.randint(1, 3), again=0.1, late=0.1)
            kills += 1
        over.set()
        killer.join(120)
        assert killer.failed is None, killer.failed
        judge_all(request, stack, clients, senders, kills=kills + killer.kills)


def die(stack: Stack, **plan: object) -> None:
    """Run another consumer by `plan` until it has killed itself."""
    settings = {**stack.service.environment, "OCELOT_BREAK": json.dumps(plan), "OCELOT_CONSUMER_PORT": str(free_port())}
    log = stack.home / "breaking.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.breaking"], cwd=ROOT, env=settings, stdout=out, stderr=out
        )
    try:
        assert process.wait(300) == -9, log.read_text()[-3000:]
    finally:
        process.kill()


class ApiKiller(threading.Thread):
    """SIGKILLs the API at random moments and starts it again, until `over`."""

    def __init__(self, stack: Stack, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.stack = stack
        self.over = over
        self.kills = 0
        self.failed: BaseException | None = None
        self._chance = random.Random(SEED)

    def run(self) -> None:
        try:
            while not self.over.wait(self._chance.uniform(2.0, 8.0)):
                self.stack.kill("api")
                time.sleep(self._chance.uniform(0, 0.5))
                self.stack.start("api")
                self.kills += 1
        except BaseException as error:
            self.failed = error
