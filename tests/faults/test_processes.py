"""Processes that come and go, stand still, or have another clock: what was answered 2xx is stored, once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core import instant
from core.access import Role
from core.event import decode_stored
from core.placement import span_of
from core.ports import Generation
from core.tenant import for_system
from core.wiring import Backends
from infra.local.servers import free_port
from tests import census, figures
from tests.answers import LOOKED_AT
from tests.faults import stack as stacks
from tests.faults.stack import LEASE, Stack
from tests.service import Client, Process

pytestmark = pytest.mark.timeout(300)
# What a container has between SIGTERM and SIGKILL.
STOP_TIMEOUT = 30
SECOND = 1_000_000


@pytest.fixture(scope="module", params=stacks.SERVERS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with getattr(stacks, request.param)(tmp_path_factory.mktemp("processes"), proxied=False) as running:
        yield running


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
        with httpx.Client(headers=headers, timeout=60, event_hooks=LOOKED_AT) as http:
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


def through(process: Process, stack: Stack, client: Client, ahead: float) -> Client:
    """A client of the same tenant, of another API, with a token of that one's time."""
    right = time.time
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + ahead)
        token = stack.service.client(client.tenant, Role.ADMIN).token
    return Client(f"http://127.0.0.1:{process.port}", token, client.tenant)


def test_a_consumer_that_stands_still_loses_its_leases_and_no_event(
    stack: Stack, request: pytest.FixtureRequest
) -> None:
    """Two consumers on one queue: one stands still in the middle of its work, longer than its leases hold."""
    client = stack.service.tenant("still")
    settings = {**stack.service.environment, "OCELOT_CONSUMER_PORT": str(free_port())}
    second = Process("consumer.main", settings, int(settings["OCELOT_CONSUMER_PORT"]), "/health")
    first = stack.service.consumer.popen
    assert first is not None
    second.start()
    try:
        ids: set[str] = set()
        for n in range(12):
            bulk = [{"action": "held", "request_id": f"{n}-{m}", "message": "x" * 5_000} for m in range(20)]
            answer = client.post("/logs/bulk", json=bulk)
            ids |= {item["id"] for item in answer.json()["items"]}
            if n == 5:
                os.kill(first.pid, signal.SIGSTOP)
        began = time.monotonic()
        census.settle(stack.service, [client])  # what the first one holds comes to the second
        took = time.monotonic() - began
        os.kill(first.pid, signal.SIGCONT)
        client.ingest({"action": "after"})
        census.settle(stack.service, [client])
    finally:
        os.kill(first.pid, signal.SIGCONT)
        second.stop()
    held = census.take(stack.service, client)
    assert ids < set(held.stored)
    assert sorted(held.stored) == sorted(held.indexed)
    assert len(held.stored) == len(ids) + 1
    figures.record(
        request, "Two consumers", test=request.node.name, accepted=len(ids) + 1, stored=len(held.stored), lost=0,
        twice=0, lease=f"{LEASE} s", whole_after=f"{took:.1f} s",
    )  # fmt: skip


@pytest.mark.parametrize("ahead", [-90.0, 90.0])
def test_a_clock_that_is_wrong_loses_nothing_and_no_answer_claims_too_much(
    stack: Stack, ahead: float, tmp_path: Path
) -> None:
    """One of two APIs has another time: an answer has all events that its own watermark speaks of."""
    clock = tmp_path / "clock"
    clock.write_text(str(ahead))
    client = stack.service.tenant("skewed")
    accepted: dict[str, int] = {}
    answers: list[tuple[str, set[str], set[str]]] = []
    with stack.another_api(clock=str(clock)) as api:
        skewed = through(api, stack, client, ahead)
        for n in range(8):
            for sender in (client, skewed):
                accepted[sender.ingest({"action": "told", "request_id": str(n)})] = n
            known = set(accepted)
            reader = (client, skewed)[n % 2]
            answer = reader.get("/logs", params={"action": "told", "limit": 1000})
            assert answer.status_code in (200, 503), answer.text
            if answer.status_code == 200:
                found = {event["id"] for event in answer.json()["data"]}
                answers.append((answer.json()["watermark"]["complete_through"] or "", known, found))
            time.sleep(0.2)
        census.settle(stack.service, [client])
        again = skewed.post("/logs", json={"action": "keyed"}, headers={"Idempotency-Key": "k"})
        assert client.post("/logs", json={"action": "keyed"}, headers={"Idempotency-Key": "k"}).json() == again.json()
    census.settle(stack.service, [client])
    held = census.take(stack.service, client)
    assert set(held.stored) == {*accepted, again.json()["id"]}
    assert sorted(held.stored) == sorted(held.indexed)
    received = {id_: decode_stored(body).received_at for id_, body in held.bodies.items()}
    for mark, known, found in answers:
        assert {id_ for id_ in known if str(received[id_]) < mark} <= found, mark


def test_a_month_ends_between_two_events(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """An API for which the month ends in a moment: each event is in the month in which it was accepted."""
    clock = tmp_path / "clock"
    clock.write_text("0")
    client = stack.service.tenant("months")
    assert client.tenant is not None
    _, ends = span_of(time.strftime("%Y%m", time.gmtime()))
    ids: list[str] = []
    with stack.another_api(clock=str(clock)) as api:
        ahead = (ends - instant.now_us()) / SECOND - 3
        clock.write_text(str(ahead))
        sender = through(api, stack, client, ahead)
        passed = 0
        while passed < 5:
            ids.append(sender.ingest({"action": "month"}, **{"Idempotency-Key": f"k{len(ids)}"}))
            received_at = sender.get(f"/logs/{ids[-1]}", params={"wait": 30}).json()["received_at"]
            passed += received_at >= instant.to_text(ends)
            time.sleep(0.3)
        # Sent again in the new month, the first is the one that stays, where it is.
        assert sender.ingest({"action": "month"}, **{"Idempotency-Key": "k0"}) == ids[0]
        census.settle(stack.service, [client])
    held = census.take(stack.service, client)
    assert sorted(held.stored) == sorted(held.indexed) == sorted(ids)
    before = [id_ for id_, body in held.bodies.items() if decode_stored(body).received_at < instant.to_text(ends)]
    assert ids[0] in before
    assert 0 < len(before) < len(ids)
    scope = for_system(client.tenant.id, "test")

    async def listing(backends: Backends) -> list[Generation]:
        return await backends.index.generations(scope)

    placements = sorted(each.placement for each in stack.service.with_backends(listing))
    assert len(placements) == 2
    assert [span_of(placements[0])[1], span_of(placements[1])[0]] == [ends, ends]
    assert client.found(len(ids), action="month")["answered_by"] == "index"
    figures.record(
        request, "A month's end", test=request.node.name, accepted=len(ids), before_it=len(before),
        after_it=len(ids) - len(before), indices=" ".join(placements),
    )  # fmt: skip
