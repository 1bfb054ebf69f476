"""Each dependency stopped, hung or refusing: what clients see meanwhile, and that everything arrives afterwards."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.access import Role
from core.tenant import Tenant
from core.tenant_settings import AccessAudit
from core.wiring import Backends
from infra.local.servers import free_port
from tests import census
from tests.faults import stack as stacks
from tests.faults.sender import Sender, keyed_events
from tests.faults.stack import Stack
from tests.service import Client, environment, service

# A dependency's deadlines, one after another, and a loaded machine's share.
LONGEST = 17.0

# Processes start and stop many times: on a loaded machine that takes its time.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=stacks.SERVERS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service that gives up on its index after two seconds."""
    with getattr(stacks, request.param)(tmp_path_factory.mktemp("outage"), OCELOT_INDEX_PATIENCE="2") as running:
        yield running


NAMED: tuple[dict[str, str], ...] = ({}, {"user_id": "ana"}, {"action": "bef*"}, {"severity": "INFO"})
FULL_TEXT: tuple[dict[str, str], ...] = ({"q": "words"}, {"metadata.a": "b"}, {"message": "words"})
BY_OTHER_ROUTES: tuple[Callable[[Client], httpx.Response], ...] = (
    lambda client: client.post("/logs/search", json={"query": {"or": [ANA, {"field": "user_id", "equals": "ben"}]}}),
    lambda client: client.get("/logs/trace/t/1"),
    lambda client: client.get(f"/searches/{saved(client)}/results"),
)
ANA: dict[str, Any] = {"field": "user_id", "equals": "ana"}
FULL_TEXT_TREES: tuple[dict[str, Any], ...] = (
    {"or": [ANA, {"text": "words"}]},
    {"and": [ANA, {"not": {"field": "metadata.a", "exists": True}}]},
)
CHANGES = {"by": "changed_paths"}
EARLIER = {"action": "earlier", "limit": "2"}


def saved(client: Client) -> str:
    """The id of a new search for what Ana did."""
    search_id: str = client.post("/searches", json={"name": "hers", "query": "user_id=ana"}).json()["id"]
    return search_id


@contextmanager
def gone(stack: Stack, name: str, how: str) -> Iterator[None]:
    """`name` killed and started again, or hung meanwhile."""
    if how == "hung":
        with stack.hung(name):
            yield
        return
    stack.kill(name)
    try:
        yield
    finally:
        stack.start(name)


def unavailable(response: httpx.Response, code: str = "dependency_unavailable") -> dict[str, Any]:
    """The problem of a 503 that says when to try again; within the longest time."""
    assert response.status_code == 503, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["Retry-After"]) >= 1
    assert response.elapsed.total_seconds() < LONGEST
    problem: dict[str, Any] = response.json()
    assert (problem["status"], problem["code"]) == (503, code)
    assert problem["request_id"] == response.headers["X-Request-Id"]
    assert "Traceback" not in response.text
    assert not [word for word in ("127.0.0.1", "localhost", "queue.db", "Error") if word in problem["detail"]]
    assert not [word for word in ("127.0.0.1", "localhost", "queue.db") if word in response.text]
    return problem


def state_of(client: Client, name: str, state: str, timeout: float = 30) -> httpx.Response:
    """The answer of /ready once it says `state` of `name`."""
    deadline = time.monotonic() + timeout
    while True:
        response = client.get("/ready")
        if response.json()["dependencies"][name] == state:
            return response
        assert time.monotonic() < deadline, response.text
        time.sleep(0.1)


@pytest.mark.parametrize("how", ["stopped", "hung"])
def test_with_the_store_down_events_are_taken_and_nothing_is_read(stack: Stack, how: str) -> None:
    client = stack.service.tenant("store")
    known = client.ingest({"action": "before"})
    client.found(1, action="before")
    with gone(stack, "store", how):
        ready = state_of(client, "store", "down")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert {k for k, v in ready.json()["dependencies"].items() if v == "down"} == {"store"}
        ids = [client.ingest({"action": "meanwhile", "request_id": str(n)}) for n in range(5)]
        bulk = client.post("/logs/bulk", json=[{"action": "meanwhile"}] * 5)
        assert (bulk.status_code, bulk.json()["accepted"]) == (202, 5)
        with ThreadPoolExecutor() as pool:
            paths = ["/logs", "/logs?q=before", "/logs?action=before", f"/logs/{known}", f"/logs/{known}?wait=1"]
            for response in pool.map(client.get, paths):
                unavailable(response)
        assert client.get("/health").status_code == 200
    state_of(client, "store", "up")
    census.settle(stack.service, [client])
    held = census.take(stack.service, client)
    assert {known, *ids} < set(held.stored)
    assert len(held.stored) == len(held.indexed) == 11


@pytest.mark.parametrize("how", ["stopped", pytest.param("hung", marks=pytest.mark.slow)])
def test_with_the_index_down_the_store_answers_what_it_can(stack: Stack, how: str) -> None:
    client = stack.service.tenant("index")
    earlier = [client.ingest({"action": "earlier"}) for _ in range(5)]
    known = client.ingest({"action": "before", "user_id": "ana", "trace_id": "t/1"})
    client.found(1, action="before")
    client.found(5, action="earlier")
    cursor = client.get("/logs", params=EARLIER).json()["next_cursor"]
    with gone(stack, "index", how):
        ready = state_of(client, "index", "down")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        ids = [client.ingest({"action": "meanwhile", "user_id": "ben", "message": "words"}) for _ in range(6)]
        for event_id in ids:  # stored, though the index is down
            assert client.get(f"/logs/{event_id}", params={"wait": 30}).status_code == 200
        with ThreadPoolExecutor() as pool:  # at once: each waits for a hung index until its deadline
            named = pool.map(lambda query: client.get("/logs", params=query), NAMED)
            for answer in named:
                _answered_by_store(answer, known)
            for answer in pool.map(lambda query: client.get("/logs", params=query), FULL_TEXT):
                assert "index" in unavailable(answer)["detail"]
            for answer in pool.map(lambda query: client.get("/logs/stats", params=query), NAMED):
                _counted_by_store(answer)
            for answer in pool.map(lambda query: client.get("/logs/stats", params=query), [*FULL_TEXT, CHANGES]):
                assert "index" in unavailable(answer)["detail"]
            for answer in pool.map(lambda ask: ask(client), BY_OTHER_ROUTES):
                _answered_by_store(answer, known)
            for answer in pool.map(lambda tree: client.post("/logs/search", json={"query": tree}), FULL_TEXT_TREES):
                assert "index" in unavailable(answer)["detail"]
        if how == "hung":  # nobody waits for it any more
            assert client.get("/ready").json()["breakers"]["index"] in ("open", "probing")
        _pages_go_on(client, cursor, earlier)
        _await_outbox(stack, client, 6)
        mark = client.get("/logs").json()["watermark"]["complete_through"]
    state_of(client, "index", "up")
    assert client.get("/ready").json()["breakers"]["index"] == "closed"
    if how == "stopped" and "index" in stack.servers:
        # osmem lost its memory: what came meanwhile arrives from the outbox, the rest by a rebuild.
        stack.service.consumer.stop()
        stack.service.consumer.environment["OCELOT_REBUILD_ON_START"] = "true"
        stack.service.consumer.start()
        del stack.service.consumer.environment["OCELOT_REBUILD_ON_START"]
    census.settle(stack.service, [client])
    found = client.found(6, q="words")
    assert found["answered_by"] == "index"
    assert {event["id"] for event in found["data"]} == set(ids)
    _await_mark_after(client, mark)


def test_with_the_queue_down_clients_are_told_to_try_again(stack: Stack, tmp_path: Path) -> None:
    """SQS at a dead port, SQS that accepts and never answers, a file that cannot be made, a file that is no queue."""
    (tmp_path / "folder" / "queue.db").mkdir(parents=True)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "queue.db").write_bytes(b"something else\n" * 500)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor() as pool:
        cases = [
            pool.submit(_refuses_events, stack, tmp_path / "dead", _sqs(free_port())),
            pool.submit(_refuses_events, stack, tmp_path / "hung", _sqs(silent.getsockname()[1])),
            pool.submit(_refuses_events, stack, tmp_path / "folder", {}),
            pool.submit(_refuses_events, stack, tmp_path / "strange", {}),
        ]
        for case in cases:
            case.result()


def _sqs(port: int) -> dict[str, str]:
    endpoint = f"http://127.0.0.1:{port}"
    return {"OCELOT_QUEUE": "sqs", "SQS_QUEUE_URL": f"{endpoint}/1/q", "SQS_ENDPOINT_URL": endpoint}


def _refuses_events(stack: Stack, home: Path, changes: dict[str, str]) -> None:
    """A second API on the same stores whose queue is out of reach."""
    base = stack.service.environment
    settings = environment(home, base["MONGODB_URL"], base["OPENSEARCH_URL"], **changes)
    settings["MONGODB_DATABASE"] = base["MONGODB_DATABASE"]
    settings["OCELOT_SEND_DEADLINE"] = "6"
    other = service(settings)
    tenant = other.tenant("queue").tenant
    assert tenant is not None
    other.api.start()
    try:
        client = other.client(tenant, Role.ADMIN)
        with ThreadPoolExecutor() as pool:
            single = pool.submit(client.post, "/logs", json={"action": "x"})
            bulk = pool.submit(client.post, "/logs/bulk", json=[{"action": "x"}] * 3)
            ready = pool.submit(state_of, client, "queue", "down")
            unavailable(single.result())
            problem = unavailable(bulk.result())
            assert (problem["retry"], problem["accepted"]) == (3, 0)
            assert {item["status"] for item in problem["items"]} == {"retry"}
            assert (ready.result().status_code, ready.result().json()["status"]) == (503, "unavailable")
        unavailable(client.get("/logs"))  # a reading that cannot be recorded, in a strict tenant
        stack.service.with_backends(lambda backends: _leniently(backends, tenant))
        deadline = time.monotonic() + 20
        while (answer := client.get("/logs")).status_code != 200:
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.5)
    finally:
        assert other.api.stop() == 0


async def _leniently(backends: Backends, tenant: Tenant) -> None:
    """Past the service, which would not change it without a record."""
    assert await backends.control.replace_tenant(tenant, replace(tenant, access_audit=AccessAudit.BEST_EFFORT))


def test_sigterm_under_load_loses_nothing(stack: Stack) -> None:
    client = stack.service.tenant("terminated")
    sender = Sender(client, keyed_events(None, 1_000), 20)
    sender.start()
    for name in ("api", "consumer", "api", "consumer"):
        time.sleep(0.7)
        process = getattr(stack.service, name)
        began = time.monotonic()
        assert process.stop(grace=30) == 0, name
        assert time.monotonic() - began < 30
        process.start()
    sender.enough.set()
    sender.join(60)
    assert sender.failed is None
    assert sender.told.wrong == []
    census.settle(stack.service, [client])
    held = census.take(stack.service, client)
    assert sender.told.accepted <= set(held.stored)
    assert len(sender.told.keyed) == 1_000
    assert sorted(held.indexed) == sorted(held.stored)
    # Whoever drains answers what it took: nothing is stored that was not answered.
    assert set(held.stored) == sender.told.accepted


def test_sigterm_while_the_index_hangs_loses_nothing(stack: Stack) -> None:
    """Each tenant has an index of its own, and each call to it would take its whole deadline."""
    clients = [stack.service.tenant(f"hangs{n}") for n in range(6)]
    with stack.hung("index"):
        for client in clients:
            client.ingest({"action": "meanwhile"})
        time.sleep(1)  # the consumer is in the middle of them
        assert stack.service.consumer.stop(grace=25) == 0
        stack.service.consumer.start()
    census.settle(stack.service, clients)
    for client in clients:
        held = census.take(stack.service, client)
        assert len(held.stored) == len(held.indexed) == 1


def test_a_token_of_a_tenant_made_this_moment_is_good(stack: Stack) -> None:
    """Whoever made the tenant may be another process, and the last look at the tenants a moment ago."""
    for _ in range(5):
        client = stack.service.tenant("new")
        stack.service.client(client.tenant, Role.ADMIN).ingest({"action": "first"})
        stack.service.tenant("newer").ingest({"action": "first"})


def _pages_go_on(client: Client, cursor: str | None, earlier: list[str]) -> None:
    """A cursor that the index gave goes on in the store, which gives one for the page after."""
    pages = []
    while cursor:
        answer = client.get("/logs", params={**EARLIER, "cursor": cursor})
        assert answer.status_code == 200, answer.text
        assert answer.json()["answered_by"] == "store"
        pages.append([event["id"] for event in answer.json()["data"]])
        cursor = answer.json()["next_cursor"]
    assert pages == [earlier[2:0:-1], earlier[:1]]


def _counted_by_store(answer: httpx.Response) -> None:
    assert answer.status_code == 200, answer.text
    figures = answer.json()
    assert figures["answered_by"] == "store"
    assert figures["total"]["count"] == sum(bucket["count"] for bucket in figures["timeline"]["buckets"]) > 0


def _answered_by_store(answer: httpx.Response, known: str) -> None:
    assert answer.status_code == 200, answer.text
    assert answer.elapsed.total_seconds() < LONGEST
    assert answer.json()["answered_by"] == "store"
    assert known in {event["id"] for event in answer.json()["data"]}


def _await_outbox(stack: Stack, client: Client, count: int, timeout: float = 60) -> None:
    """Wait until all `count` events wait in the outbox: the index is given up, and the messages are done."""
    deadline = time.monotonic() + timeout

    async def size(backends: Backends) -> int:
        return await backends.outbox.size()

    while (waiting := stack.service.with_backends(size)) < count:
        assert time.monotonic() < deadline, waiting
        time.sleep(0.2)


def _await_mark_after(client: Client, before: str, timeout: float = 30) -> None:
    """The watermark moves on once everything is indexed."""
    deadline = time.monotonic() + timeout
    while (mark := client.get("/logs").json()["watermark"]["complete_through"]) <= before:
        assert time.monotonic() < deadline, mark
        time.sleep(0.2)
