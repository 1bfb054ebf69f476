"""An index that lost its memory: filled again from the store, saying so, and answered by the store meanwhile."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from core.tenant import for_system
from core.wiring import Backends
from tests import census, figures
from tests.faults import stack as stacks
from tests.faults.stack import Stack
from tests.service import Client


@pytest.mark.timeout(300)
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_an_index_that_forgot_is_filled_again(servers: str, tmp_path: Path) -> None:
    with getattr(stacks, servers)(tmp_path, OCELOT_REBUILD_ON_START="true") as stack:
        client = stack.service.tenant("rebuilt")
        for start in range(0, 2_000, 500):
            items = [{"action": "kept", "user_id": f"u{n % 7}", "message": "kept"} for n in range(start, start + 500)]
            assert client.post("/logs/bulk", json=items).json()["accepted"] == 500
        client.found(2_000, q="kept")
        stack.service.consumer.stop()
        stack.forget(client)
        stack.service.consumer.start()
        _answers_while_it_rebuilds(client)
        census.settle(stack.service, [client])
        held = census.take(stack.service, client)
        assert len(held.stored) == 2_000
        assert sorted(held.indexed) == sorted(held.stored)
        _await_rebuilding(client, False)
        assert client.found(2_000, user_id="*")["answered_by"] == "index"
        _a_mark_left_behind_goes(stack, client)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("servers", stacks.SERVERS)
def test_an_index_that_was_deleted_is_rebuilt(servers: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """While the service runs: the store answers, whole, until the index is, whatever comes meanwhile."""
    with getattr(stacks, servers)(tmp_path, OCELOT_INDEX_WATCH_EVERY="0.5") as stack:
        client = stack.service.tenant("deleted")
        for start in range(0, 1_000, 500):
            items = [{"action": "kept", "user_id": f"u{n % 7}", "message": "kept"} for n in range(start, start + 500)]
            assert client.post("/logs/bulk", json=items).json()["accepted"] == 500
        client.found(1_000, q="kept")
        time.sleep(2)  # looked at
        _drop(stack, client)
        began = time.monotonic()
        client.ingest({"action": "kept", "message": "kept"})  # makes it anew, with itself alone
        _await_rebuilding(client, True, timeout=60)
        assert _search(client, action="kept")["answered_by"] == "store"
        assert client.found(1_001, action="kept")["total"] == 1_001
        assert client.found(1_001, q="kept", timeout=120)["answered_by"] == "index"
        took = time.monotonic() - began
        _await_rebuilding(client, False, timeout=120)
        census.settle(stack.service, [client])
        held = census.take(stack.service, client)
        assert len(held.stored) == 1_001
        assert sorted(held.indexed) == sorted(held.stored)
        figures.record(
            request, "An index deleted by hand", servers=servers, stored=len(held.stored), indexed=len(held.indexed),
            whole_after=f"{took:.1f} s",
        )  # fmt: skip


def _drop(stack: Stack, client: Client) -> None:
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")

    async def drop(backends: Backends) -> None:
        await backends.index.drop(scope)

    stack.service.with_backends(drop)


def _answers_while_it_rebuilds(client: Client) -> None:
    """Named filters have every event at every moment; the index alone would not."""
    seen = 0
    deadline = time.monotonic() + 60
    while True:
        answer = _search(client, action="kept")
        if answer["watermark"]["rebuilding"]:
            seen += 1
            assert (answer["answered_by"], answer["total"]) == ("store", 2_000)
            assert _search(client, q="kept")["total"] <= 2_000
        elif seen:
            return
        assert time.monotonic() < deadline, f"seen rebuilding {seen} times"


def _search(client: Client, **query: str) -> dict[str, Any]:
    """The answer; a store that is too busy for its deadline says 503 with Retry-After, which a client obeys."""
    for _ in range(5):
        response = client.get("/logs", params={**query, "limit": 1})
        if response.status_code != 503:
            break
        time.sleep(int(response.headers["Retry-After"]))
    assert response.status_code == 200, (query, response.text, response.elapsed)
    answer: dict[str, Any] = response.json()
    return answer


def _a_mark_left_behind_goes(stack: Stack, client: Client) -> None:
    """The mark of a rebuild does not outlive a consumer that was killed before it took the mark away."""
    _mark(stack, client)
    _await_rebuilding(client, True)
    stack.kill("consumer")
    stack.start("consumer")
    _await_rebuilding(client, False)


def _mark(stack: Stack, client: Client) -> None:
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")

    async def mark(backends: Backends) -> None:
        await backends.ledger.set_rebuilding(scope.tenant_id, True)

    stack.service.with_backends(mark)


def _await_rebuilding(client: Client, expected: bool, timeout: float = 30) -> None:
    """The API reads the mark once a second."""
    deadline = time.monotonic() + timeout
    while client.get("/logs", params={"limit": 1}).json()["watermark"]["rebuilding"] is not expected:
        assert time.monotonic() < deadline
        time.sleep(0.1)
