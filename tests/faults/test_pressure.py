"""Too much at once, and processes that come and go: who is let in stays served, who is answered 2xx is stored."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from tests import census, figures
from tests.faults import stack as stacks
from tests.faults.stack import Stack
from tests.service import Client, Process

pytestmark = pytest.mark.timeout(300)
SECONDS = float(os.environ.get("OCELOT_OVERLOAD_SECONDS", "6"))
RATE = 2_000_000
GREEDY = 32
# What a container has between SIGTERM and SIGKILL.
STOP_TIMEOUT = 30


@pytest.fixture(scope="module", params=stacks.SERVERS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with getattr(stacks, request.param)(tmp_path_factory.mktemp("pressure"), proxied=False) as running:
        yield running


def noise(size: int) -> str:
    """Text that does not pack."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


class Greedy(threading.Thread):
    """Sends bulks one after another, whatever it is told, until `over`."""

    def __init__(self, url: str, client: Client, over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.token, self.over = url, client.token, over
        self.ids: set[str] = set()
        self.took: dict[int, list[float]] = {}
        self.wrong: list[str] = []

    def run(self) -> None:
        body = json.dumps([{"action": "greedy", "message": noise(10_000)} for _ in range(20)]).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        with httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=60) as http:
            while not self.over.is_set():
                began = time.monotonic()
                answer = http.post("/logs/bulk", content=body)
                self.took.setdefault(answer.status_code, []).append(time.monotonic() - began)
                if answer.status_code == 202:
                    self.ids |= {item["id"] for item in answer.json()["items"] if item["status"] == "accepted"}
                elif answer.status_code == 429 and answer.json()["code"] == "overloaded":
                    assert int(answer.headers["Retry-After"]) >= 1
                    time.sleep(0.2)  # impatient
                else:
                    self.wrong.append(answer.text[:300])


def test_overload_is_refused_early_and_a_quiet_tenant_is_served(stack: Stack, request: pytest.FixtureRequest) -> None:
    """The queue takes 2 MB a second, and one tenant has three times that on its way: another is served."""
    greedy, quiet = stack.service.tenant("greedy"), stack.service.tenant("quiet")
    over = threading.Event()
    with stack.another_api(rate=RATE) as api:
        url = f"http://127.0.0.1:{api.port}"
        whole = limit(url)
        senders = [Greedy(url, greedy, over) for _ in range(GREEDY)]
        for sender in senders:
            sender.start()
        took, statuses = calm(url, quiet, SECONDS)
        over.set()
        for sender in senders:
            sender.join(60)
        assert [wrong for sender in senders for wrong in sender.wrong] == []
        began = time.monotonic()
        while limit(url) < whole:
            assert time.monotonic() < began + 60, limit(url)
            time.sleep(0.1)
        recovered = time.monotonic() - began
        peak = stack.peak_mib(api)
    accepted = {id_ for sender in senders for id_ in sender.ids}
    answers = {s: [t for sender in senders for t in sender.took.get(s, ())] for s in (202, 429)}
    assert set(statuses) == {202}
    assert answers[202]
    assert answers[429]
    census.settle(stack.service, [greedy, quiet])
    assert set(census.take(stack.service, greedy).stored) == accepted
    assert len(census.take(stack.service, quiet).stored) == len(statuses)
    figures.record(
        request, "Overload", test=request.node.name, let_in=len(answers[202]), refused=len(answers[429]),
        let_in_p50=f"{middle(answers[202]):.2f} s", refused_p50=f"{middle(answers[429]):.3f} s",
        quiet=f"{len(statuses)} of {len(statuses)}", quiet_p50=f"{middle(took):.2f} s", quiet_max=f"{max(took):.2f} s",
        limit_whole_after=f"{recovered:.1f} s", peak=f"{peak} MiB",
    )  # fmt: skip


def calm(url: str, client: Client, seconds: float) -> tuple[list[float], list[int]]:
    """How long each single event of a quiet tenant took, and what was answered."""
    took: list[float] = []
    statuses: list[int] = []
    until = time.monotonic() + seconds
    with httpx.Client(headers={"Authorization": f"Bearer {client.token}"}, timeout=60) as http:
        while time.monotonic() < until:
            began = time.monotonic()
            statuses.append(http.post(f"{url}/api/v1/logs", json={"action": "quiet"}).status_code)
            took.append(time.monotonic() - began)
            time.sleep(0.1)
    return took, statuses


def limit(url: str) -> float:
    found = re.search(r"^ocelot_admission_limit_bytes (\S+)$", httpx.get(f"{url}/metrics", timeout=60).text, re.M)
    assert found
    return float(found[1])


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def test_a_tenants_backlog_holds_back_itself_alone(stack: Stack, request: pytest.FixtureRequest) -> None:
    """Each big event is an envelope of its own; one of another tenant, sent after all of them, is done long before."""
    if stack.service.environment["OCELOT_QUEUE"] != "file":
        pytest.skip("ElasticMQ knows no fair queues")
    backlog, quiet = stack.service.tenant("backlog"), stack.service.tenant("quiet")
    assert backlog.tenant is not None
    assert quiet.tenant is not None
    stack.service.consumer.stop()
    for _ in range(6):
        events = [{"action": "backlog", "message": noise(50_000)} for _ in range(12)]
        assert backlog.post("/logs/bulk", json=events).json()["accepted"] == 12
    quiet.ingest({"action": "quiet"})
    stack.service.consumer.start()
    census.settle(stack.service, [backlog, quiet])
    with MongoClient[dict[str, Any]](stack.service.environment["MONGODB_URL"]) as client:
        database = client[stack.service.environment["MONGODB_DATABASE"]]
        receipts = sorted(database["receipts"].find(), key=lambda each: each["done_at"])
    of_both = [each for each in receipts if {backlog.tenant.id, quiet.tenant.id} & set(each["events"])]
    place = next(n for n, each in enumerate(of_both) if quiet.tenant.id in each["events"])
    assert len(of_both) > 50
    # In the first batches of ten that the two workers took.
    assert place < 30
    figures.record(
        request, "Fair share behind the API", test=request.node.name, envelopes_before_it=len(of_both) - 1,
        done_as_number=place + 1,
    )  # fmt: skip


class Rolling(threading.Thread):
    """Sends keyed bulks to one API and the other in turn, to the other when one is away, until `over`."""

    def __init__(self, client: Client, apis: list[Process], over: threading.Event) -> None:
        super().__init__(daemon=True)
        self.token, self.apis, self.over = client.token, apis, over
        self.accepted: set[str] = set()
        self.keys = 0
        self.cut_off = self.turned_away = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(headers=headers, timeout=60) as http:
            turn = 0
            while not self.over.is_set():
                batch = [{"action": "rolled", "idempotency_key": f"k{self.keys + n}"} for n in range(10)]
                turn += 1
                url = f"http://127.0.0.1:{self.apis[turn % 2].port}/api/v1/logs/bulk"
                try:
                    answer = http.post(url, json=batch)
                except httpx.ConnectError:
                    self.turned_away += 1
                    time.sleep(0.05)
                    continue
                except httpx.TransportError:
                    self.cut_off += 1
                    continue
                if answer.status_code == 202 and answer.json()["accepted"] == 10:
                    self.accepted |= {item["id"] for item in answer.json()["items"]}
                    self.keys += 10
                elif answer.status_code not in (202, 429, 503):
                    self.wrong.append(answer.text[:300])
                time.sleep(0.1)


def test_a_rolling_restart_drops_nothing_that_was_answered(stack: Stack, request: pytest.FixtureRequest) -> None:
    client = stack.service.tenant("rolling")
    over = threading.Event()
    stops = []
    with stack.another_api() as second:
        sender = Rolling(client, [stack.service.api, second], over)
        sender.start()
        for process in (stack.service.api, second, stack.service.consumer):
            before = sender.keys
            began = time.monotonic()
            assert process.stop(grace=STOP_TIMEOUT) == 0
            stops.append(time.monotonic() - began)
            process.start()
            while sender.keys < before + 30:  # it went on meanwhile, or does now
                assert sender.is_alive()
                time.sleep(0.05)
        over.set()
        sender.join(60)
        assert sender.wrong == []
    census.settle(stack.service, [client])
    held = census.take(stack.service, client)
    assert sender.accepted <= set(held.stored)
    assert sender.keys <= len(held.stored) == len(held.indexed) <= sender.keys + 10
    figures.record(
        request, "Rolling restart", test=request.node.name, accepted=len(sender.accepted),
        lost=len(sender.accepted - set(held.stored)), cut_off=sender.cut_off, turned_away=sender.turned_away,
        slowest_stop=f"{max(stops):.1f} s",
    )  # fmt: skip
