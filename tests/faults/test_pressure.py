"""Too much at once: who is let in stays served, the rest is told early, and nobody waits for another's backlog."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from tests import census, figures
from tests.answers import LOOKED_AT
from tests.faults import stack as stacks
from tests.faults.stack import Stack
from tests.service import Client

pytestmark = pytest.mark.timeout(300)
SECONDS = float(os.environ.get("OCELOT_OVERLOAD_SECONDS", "6"))
RATE = 2_000_000
GREEDY = 32


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
        with httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=60, event_hooks=LOOKED_AT) as http:
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
    with httpx.Client(headers={"Authorization": f"Bearer {client.token}"}, timeout=60, event_hooks=LOOKED_AT) as http:
        while time.monotonic() < until or len(took) < 3:
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


def test_a_full_disk_under_the_queue_is_told_and_over_at_once(stack: Stack, request: pytest.FixtureRequest) -> None:
    """No file of the API's may grow any more."""
    if stack.service.environment["OCELOT_QUEUE"] != "file":
        pytest.skip("not this machine's disk")
    client = stack.service.tenant("full")
    first = client.ingest({"action": "before"})
    popen = stack.service.api.popen
    assert popen is not None
    _, hard = resource.prlimit(popen.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(popen.pid, resource.RLIMIT_FSIZE, (4096, hard))
    try:
        answer = client.post("/logs", json={"action": "meanwhile"})
        bulk = client.post("/logs/bulk", json=[{"action": "meanwhile"}] * 2)
    finally:
        resource.prlimit(popen.pid, resource.RLIMIT_FSIZE, (hard, hard))
    for told in (answer, bulk):
        assert (told.status_code, told.json()["code"]) == (503, "dependency_unavailable")
        assert int(told.headers["Retry-After"]) >= 1
        assert "queue.db" not in told.text
    began = time.monotonic()
    after = client.ingest({"action": "after"})
    took = time.monotonic() - began
    census.settle(stack.service, [client])
    assert set(census.take(stack.service, client).stored) == {first, after}
    figures.record(
        request, "Faults of dependencies", fault="queue's disk is full", servers="embedded", sending="503",
        reading="200", accepted=2, stored=2, indexed=2, parked=0, whole_after=f"{took:.1f} s",
    )  # fmt: skip
