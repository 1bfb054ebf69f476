"""Quotas over HTTP and over two API processes, and the usage that is billed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from core.access import Role
from core.tenant_settings import Quotas
from infra.local.servers import free_port
from tests.service import Client, Process, Service

EVENT = {"action": "counted"}
NONE = dict.fromkeys(Quotas.__dataclass_fields__)


@pytest.fixture(scope="module")
def platform(running: Service) -> Iterator[Client]:
    with running.client(None, Role.PLATFORM) as client:
        yield client


@pytest.fixture(scope="module")
def second(running: Service) -> Iterator[Process]:
    """A second API process of the same service."""
    port = free_port()
    process = Process("api.main", running.environment | {"PORT": str(port)}, port, "/api/v1/health")
    process.start()
    yield process
    process.stop()


def limited(running: Service, platform: Client, **quotas: int) -> Client:
    """A new tenant with these quotas, which hold in the service's first process already."""
    client = running.tenant()
    assert client.tenant is not None
    answer = platform.patch(f"/tenants/{client.tenant.id}", json={"quotas": quotas})
    assert answer.status_code == 200, answer.text
    return client


def eventually(work: Callable[[], Any], expected: Any) -> None:
    """`work` returns this within seconds."""
    deadline = time.monotonic() + 20
    while (found := work()) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def refused(answer: httpx.Response, policy: str) -> int:
    """The seconds to wait, of an answer that this quota refuses."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, "application/problem+json"), answer.text
    problem = answer.json()
    assert problem["code"] == "quota_exceeded"
    assert policy in problem["violated-policies"]
    assert policy in answer.headers["RateLimit-Policy"]
    return int(answer.headers["Retry-After"])


def test_a_tenant_without_quotas_is_told_of_none(running: Service) -> None:
    client = running.tenant()
    for answer in (client.get("/logs"), client.post("/logs", json=EVENT), client.get("/usage")):
        assert answer.is_success
        assert not [name for name in answer.headers if name.startswith("ratelimit")]


def test_the_quota_of_a_day_refuses_what_does_not_fit_and_counts_what_was_accepted(
    running: Service, platform: Client
) -> None:
    client = limited(running, platform, events_per_day=10, requests_per_day=50)
    answer = client.post("/logs/bulk", json=[EVENT, {"action": 1}, EVENT, {}])
    assert (answer.json()["accepted"], answer.json()["refused"]) == (2, 2)
    policies = '"tenant-requests-day";q=50;w=86400, "tenant-events-day";q=10;w=86400;qu="events"'
    assert answer.headers["RateLimit-Policy"] == policies
    assert answer.headers["RateLimit"].startswith('"tenant-events-day";r=8;t=')
    assert client.post("/logs/bulk", json=[{}, {}]).status_code == 422
    assert client.post("/logs", json={}).status_code == 422
    assert client.post("/logs", content=b"\xff", headers={"Content-Type": "application/json"}).status_code == 400
    wait = refused(client.post("/logs/bulk", json=[EVENT] * 9), "tenant-events-day")
    assert 0 < wait <= 86_400
    assert client.post("/logs/bulk", json=[EVENT] * 7).json()["accepted"] == 7
    assert client.post("/logs", json=EVENT).status_code == 202
    refused(client.post("/logs", json=EVENT), "tenant-events-day")
    refused(client.post("/logs/bulk", content=b"[", headers={"Content-Type": "application/json"}), "tenant-events-day")
    assert client.get("/logs").status_code == 200
    # 6 were let in so far, and so is each of these.
    while (answer := client.get("/logs", params={"limit": 1})).is_success:
        assert int(answer.headers["RateLimit"].split(";r=")[1].split(";")[0]) == 0
    refused(answer, "tenant-requests-day")
    # Whoever manages the tenant is let in, and sees what was accepted and nothing else.
    eventually(lambda: used(client), {"requests": 50, "events": 10, "reads": 44})


def used(client: Client, path: str = "/usage") -> dict[str, int]:
    """All but the bytes of the tenant's usage."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json()["total"].items() if name != "bytes"}


def test_a_second_holds_requests_events_and_bytes(running: Service, platform: Client) -> None:
    client = limited(running, platform, requests_per_second=1000, events_per_second=5, bytes_per_second=3000)
    assert client.post("/logs/bulk", json=[EVENT] * 15).json()["accepted"] == 15
    # A bulk larger than the bucket is owed.
    assert refused(client.post("/logs", json=EVENT), "tenant-events-second") in (2, 3)
    eventually(lambda: client.post("/logs", json=EVENT).status_code, 202)
    big = {"action": "big", "message": "x" * 9000}
    eventually(lambda: client.post("/logs", json=big).status_code, 202)
    assert refused(client.post("/logs", json=EVENT), "tenant-bytes-second") in (2, 3)


def test_changed_quotas_hold_within_seconds(running: Service, platform: Client) -> None:
    client = limited(running, platform, requests_per_day=1)
    assert client.tenant is not None
    assert client.get("/logs").status_code == 200
    refused(client.get("/logs"), "tenant-requests-day")
    platform.patch(f"/tenants/{client.tenant.id}", json={"quotas": None})
    eventually(lambda: client.get("/logs").status_code, 200)


def test_a_keys_quotas_hold_for_all_its_tokens_and_for_no_other(running: Service, platform: Client) -> None:
    admin = limited(running, platform, requests_per_day=100)
    made = admin.post("/keys", json={"name": "limited", "roles": ["writer"]}).json()
    path = f"/keys/{made['client_id']}/quotas"
    assert admin.get(path).json() == NONE
    put = admin.put(path, json={"events_per_day": 3})
    assert put.json() == admin.get(path).json() == NONE | {"events_per_day": 3}
    tokens = [token_of(running, made) for _ in range(2)]
    with Client(running.url, tokens[0]) as one, Client(running.url, tokens[1]) as two:
        answers = [client.post("/logs", json=EVENT) for client in (one, two, one)]
        assert [answer.status_code for answer in answers] == [202] * 3
        assert answers[2].headers["RateLimit"].startswith('"key-events-day";r=0;t=')
        refused(two.post("/logs", json=EVENT), "key-events-day")
        assert admin.post("/logs", json=EVENT).status_code == 202
        assert admin.put(path, json={}).json() == NONE
        assert two.post("/logs", json=EVENT).status_code == 202
    for bad in ({"events_per_day": 0}, {"events_per_day": -1}, {"events": 1}, {"bytes_per_day": 1.5}, []):
        assert admin.put(path, json=bad).status_code == 422


def token_of(running: Service, key: dict[str, str]) -> str:
    form = {"grant_type": "client_credentials"}
    answer = httpx.post(f"{running.url}/api/v1/token", data=form, auth=(key["client_id"], key["client_secret"]))
    token: str = answer.json()["access_token"]
    return token


def test_streams_count_once_and_are_refused_as_all_else(running: Service, platform: Client) -> None:
    client = limited(running, platform, requests_per_day=1)
    with client.stream("GET", "/logs/stream") as stream:
        assert stream.status_code == 200
        assert stream.headers["RateLimit"].startswith('"tenant-requests-day";r=0;t=')
        refused(client.get("/logs/stream"), "tenant-requests-day")
        eventually(lambda: used(client), {"requests": 1, "events": 0, "reads": 1})
        assert b"heartbeat" in next(part for part in stream.iter_bytes() if b"heartbeat" in part)


def test_two_processes_hold_a_limit_together_within_the_bound(
    running: Service, platform: Client, second: Process
) -> None:
    """What is admitted over a run, by the clock of whoever asks, and not how long anything takes."""
    rate, seconds = 20, 9.0
    client = limited(running, platform, requests_per_second=rate)
    urls = (running.url, f"http://127.0.0.1:{second.port}")
    eventually(lambda: ask(urls[1], client, "/catalogue").headers.get("RateLimit", "")[:8], '"tenant-')
    time.sleep(2)  # whatever that took has been told, and refilled
    begun = time.monotonic()
    admitted = [0, 0]

    def offer(n: int) -> None:
        with Client(urls[n], client.token) as own:
            while time.monotonic() - begun < seconds:
                answer = own.get("/catalogue")
                admitted[n] += answer.status_code == 200
                assert answer.status_code in (200, 429), answer.text

    threads = [threading.Thread(target=offer, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lasted = time.monotonic() - begun
    bound = rate * lasted + 2 * 1.05 * rate + rate * 6
    assert min(admitted) > 0
    assert rate * 2 < sum(admitted) <= bound
    # Each by itself would have let in more: the bound says something.
    assert bound < 2 * (rate * lasted + rate)


def ask(url: str, client: Client, path: str) -> httpx.Response:
    with Client(url, client.token) as own:
        return own.get(path)


def test_what_was_counted_survives_a_graceful_stop(running: Service, platform: Client) -> None:
    client = running.tenant()
    port = free_port()
    process = Process("api.main", running.environment | {"PORT": str(port)}, port, "/api/v1/health")
    process.start()
    body = json.dumps([EVENT] * 3)
    with Client(f"http://127.0.0.1:{port}", client.token) as own:
        for _ in range(5):
            answer = own.post("/logs/bulk", content=body, headers={"Content-Type": "application/json"})
            assert answer.json()["accepted"] == 3
        assert own.get("/logs").status_code == 200
    assert process.stop() == 0
    assert client.tenant is not None
    found = client.get("/usage").json()
    day = datetime.now(UTC).date().isoformat()
    assert found["total"] == {"requests": 6, "events": 15, "bytes": 5 * len(body), "reads": 1}
    assert found["data"] == [{"day": day, **found["total"]}]
    assert (found["quotas"], found["tenant_id"]) == (NONE, client.tenant.id)
    assert platform.get(f"/tenants/{client.tenant.id}/usage").json() == found
    elsewhere = client.get("/usage", params={"from": "2020-02-01", "to": "2020-03-01"}).json()
    assert (elsewhere["data"], elsewhere["from"], elsewhere["to"]) == ([], "2020-02-01", "2020-03-01")
    command(running, client, found)


def command(running: Service, client: Client, found: dict[str, Any]) -> None:
    assert client.tenant is not None
    runner = CliRunner(env=running.environment)
    days = runner.invoke(app, ["usage", client.tenant.id, "--json"])
    assert [json.loads(line) for line in days.stdout.splitlines()] == found["data"], days.output
    every = runner.invoke(app, ["usage"])
    assert every.exit_code == 0, every.output
    [row] = [line for line in every.stdout.splitlines() if line.startswith(client.tenant.id)]
    assert row.split() == [client.tenant.id, "6", "15", str(found["total"]["bytes"]), "1"]
    assert every.stdout.splitlines()[-1].startswith("total ")
    for wrong in (["nobody00"], ["--from", "2026-13-01"], ["--from", "2020-01-01", "--to", "2026-01-01"]):
        answer = runner.invoke(app, ["usage", *wrong])
        assert (answer.exit_code, answer.stderr[:8]) == (1, "ocelot: "), wrong


BAD = {
    "no day": {"from": "yesterday"}, "a moment": {"from": "2026-11-01T00:00:00Z"}, "no such day": {"to": "2026-11-31"},
    "backwards": {"from": "2026-11-02", "to": "2026-11-01"}, "empty": {"from": "2026-11-01", "to": "2026-11-01"},
    "too long": {"from": "2024-01-01", "to": "2026-01-01"}, "twice": {"from": ["2026-11-01", "2026-11-02"]},
    "unknown": {"day": "2026-11-01"}, "the end of time": {"from": "9999-12-31"}, "compact": {"from": "20261101"},
    "its beginning": {"to": "0001-01-01"}, "none": {"to": ""},
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_range_is_refused(running: Service, kind: str, tenant_of_all: Client) -> None:
    answer = tenant_of_all.get("/usage", params=BAD[kind])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query"), answer.text


@pytest.fixture(scope="module")
def tenant_of_all(running: Service) -> Client:
    return running.tenant()
