"""Servers that answer, but not with what they were asked for: refusals, partial failures, full disks, limits.

What clients are told meanwhile, that nothing is parked for it, that all of it arrives once, and how soon.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.ports import Parked
from core.wiring import Backends
from tests import census, figures
from tests.faults import stack as stacks
from tests.faults.stack import Stack
from tests.service import Client

EVENTS = 12
pytestmark = pytest.mark.timeout(300)


def error(kind: str, reason: str, status: int) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"type": kind, "reason": reason, "root_cause": []}, "status": status}


SHARD_LIMIT = (
    "Validation Failed: 1: this action would add [1] total shards, but this cluster currently has [1000]/[1000] maximum"
    " normal shards open;"
)
FLOOD = (
    "index [x] blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark, index has"
    " read-only-allow-delete block];"
)
REJECTED = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "rejected execution of coord"}}
UNASSIGNED = {"status": 503, "error": {"type": "unavailable_shards_exception", "reason": "primary shard is not active"}}
BLOCKED = {"status": 429, "error": {"type": "cluster_block_exception", "reason": FLOOD}}
WRITE_BLOCK = "blocked by: [FORBIDDEN/8/index write (api)];"
READ_ONLY = {"status": 403, "error": {"type": "cluster_block_exception", "reason": WRITE_BLOCK}}


def writes(reply: tuple[int, Any]) -> Callable[[Stack], None]:
    """The index answers every bulk so."""

    def begin(stack: Stack) -> None:
        stack.index.refuses = lambda method, path: reply if path.endswith("/_bulk") else None

    return begin


def everything(reply: tuple[int, Any]) -> Callable[[Stack], None]:
    def begin(stack: Stack) -> None:
        stack.index.refuses = lambda method, path: reply

    return begin


def items(*errors: dict[str, Any]) -> Callable[[Stack], None]:
    """Every second item of a bulk fails, with each of these in turn."""

    def begin(stack: Stack) -> None:
        stack.index.spoils = lambda n: errors[n // 2 % len(errors)] if n % 2 else None

    return begin


def creations(stack: Stack) -> None:
    """No index can be made."""
    reply = error("validation_exception", SHARD_LIMIT, 400)
    stack.index.refuses = lambda method, path: reply if method == "PUT" else None


def inserts(reply: Callable[[int], dict[str, Any]]) -> Callable[[Stack], None]:
    def begin(stack: Stack) -> None:
        stack.store.refuses = reply

    return begin


def each_fails(code: int, text: str) -> Callable[[int], dict[str, Any]]:
    return lambda count: {
        "ok": 1.0, "n": 0, "writeErrors": [{"index": n, "code": code, "errmsg": text} for n in range(count)],
    }  # fmt: skip


def unconfirmed(stack: Stack) -> None:
    """Written, but not by as many members as were asked for in time."""
    stack.store.concern = {"code": 64, "codeName": "WriteConcernTimeout", "errmsg": "waiting for replication timed out"}


NOT_PRIMARY = {"ok": 0.0, "code": 10107, "codeName": "NotWritablePrimary", "errmsg": "not primary"}
LOCKED = {"ok": 0.0, "code": 371, "codeName": "UserWritesBlocked", "errmsg": "User writes blocked"}

FAULTS: dict[str, Callable[[Stack], None]] = {
    "index answers 429": everything(error("circuit_breaking_exception", "[parent] Data too large", 429)),
    "index answers 503": everything((503, {"message": "no healthy upstream"})),
    "index refuses some of a bulk": items(REJECTED, UNASSIGNED),
    "index's disk is full": writes(error("cluster_block_exception", FLOOD, 429)),
    "some of a bulk meet a block": items(BLOCKED),
    "index is read-only": items(READ_ONLY),
    "index is at its shard limit": creations,
    "store's disk is full": inserts(each_fails(14031, "Cannot write, disk is full")),
    "store is read-only": inserts(lambda count: LOCKED),
    "store has no primary": inserts(lambda count: NOT_PRIMARY),
    "store fails while it shuts down": inserts(each_fails(91, "interrupted at shutdown")),
    "store's write is not confirmed": unconfirmed,
}


@pytest.fixture(scope="module", params=stacks.SERVERS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service that gives up on its index after two seconds."""
    home = tmp_path_factory.mktemp("refusals")
    with getattr(stacks, request.param)(home, refusing=True, OCELOT_INDEX_PATIENCE="2") as running:
        yield running


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_accepted_meanwhile_arrives_once_and_nothing_is_parked(
    stack: Stack, fault: str, request: pytest.FixtureRequest
) -> None:
    client = stack.service.tenant("refused")
    server = stack.index if "index" in fault or "bulk" in fault else stack.store
    hits = server.hits
    FAULTS[fault](stack)
    try:
        ids = send(client)
        deadline = time.monotonic() + 60
        while server.hits < hits + 2:
            assert time.monotonic() < deadline, "nobody met the fault"
            time.sleep(0.05)
        told = reads(client)
    finally:
        server.well()
    began = time.monotonic()
    census.settle(stack.service, [client])
    took = time.monotonic() - began
    held = census.take(stack.service, client)
    assert set(held.stored) == ids
    assert sorted(held.stored) == sorted(held.indexed)
    assert (len(held.stored), held.altered, parked(stack, client)) == (EVENTS, [], [])
    figures.record(
        request, "Faults of dependencies", fault=fault, servers="embedded" if stack.servers else "live",
        sending="202", reading=" ".join(map(str, sorted(told))), accepted=len(ids), stored=len(held.stored),
        indexed=len(held.indexed), parked=0, whole_after=f"{took:.1f} s",
        peak=f"{stack.peak_mib(stack.service.api)}+{stack.peak_mib(stack.service.consumer)} MiB",
    )  # fmt: skip


def send(client: Client) -> set[str]:
    answer = client.post("/logs/bulk", json=[{"action": "sent", "request_id": str(n)} for n in range(EVENTS)])
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == EVENTS
    return {item["id"] for item in answer.json()["items"]}


def reads(client: Client) -> set[int]:
    """What a reader is answered: 200, or a 503 that says when to come again."""
    told = set()
    for query in ({}, {"action": "sent"}, {"q": "sent"}):
        answer = client.get("/logs", params=query)
        assert answer.status_code in (200, 503), answer.text
        assert answer.status_code == 200 or int(answer.headers["Retry-After"]) >= 1
        told.add(answer.status_code)
    return told


def parked(stack: Stack, client: Client) -> list[Parked]:
    assert client.tenant is not None
    tenant_id = client.tenant.id

    async def listing(backends: Backends) -> list[Parked]:
        return await backends.parking.listing(tenant_id)

    found: list[Parked] = stack.service.with_backends(listing)
    return found
