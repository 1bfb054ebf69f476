"""The first version's store under a running API and consumer, brought to today's layout by `ocelot migrate`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from click.testing import Result
from pymongo import MongoClient
from typer.testing import CliRunner

from cli.main import app
from core import instant
from core.migration import LAYOUT
from core.tenant import Tenant
from core.wiring import Backends
from tests.first_layout import FirstLayout
from tests.flow.jobs import ended
from tests.service import Client, Service

FIRST = FirstLayout()


def migrate(running: Service, *arguments: str) -> Result:
    """The command's end; in this process, for each of its own would take seconds of a processor."""
    return CliRunner().invoke(app, ["migrate", *arguments], env=running.environment)


def states(running: Service, expected: int) -> dict[str, str]:
    """Each step's state; `expected` is what --check ends with."""
    done = migrate(running, "status", "--json", "--check")
    assert done.exit_code == expected, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["step"].partition("-")[0] if line["step"][0] == "0" else line["step"]: line["state"] for line in lines}


def lay_back(running: Service) -> None:
    """Put the first version's documents and indexes beside what the service has, as if nothing were migrated."""
    with MongoClient(running.environment["MONGODB_URL"]) as client:
        database = client[running.environment["MONGODB_DATABASE"]]
        database["migrations"].delete_many({"alive_at": {"$exists": False}})
        for name, indexes in FIRST.indexes.items():
            for keys in indexes:
                database[name].create_index(keys)
            database[name].insert_many(FIRST.documents[name])


@contextmanager
def sending(client: Client) -> Iterator[list[int]]:
    """Events are sent all the while; the answers' statuses."""
    answers: list[int] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            answers.append(client.post("/logs", json={"action": "while.migrating"}).status_code)
            stop.wait(0.05)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def test_the_first_versions_store_is_upgraded_while_all_runs(running: Service, tenant: Client) -> None:
    lay_back(running)
    try:
        with sending(tenant) as answers:
            _expand_and_contract(running)
        assert set(answers) == {202}
        tenant.found(len(answers))
        clients = [_client(running, known) for known in FIRST.tenants]
        jobs = [client.post("/logs/index/bulk", json={"received_from": "1970-01-01T00:00:00Z"}) for client in clients]
        for known, client, job in zip(FIRST.tenants, clients, jobs, strict=True):
            assert job.status_code == 202, job.text
            assert ended(client, job.json()["job"]["id"])["state"] == "done"
            _serves(client, known)
    finally:
        _drop_template(running)


def _expand_and_contract(running: Service) -> None:
    missing = states(running, 1)
    assert {missing[step] for step in ("0001", "0002", "0003", "0004", "0005")} == {"missing"}
    done = migrate(running)
    assert done.exit_code == 0, done.stderr
    assert f"layout {LAYOUT}:" in done.stdout
    now = instant.now_us()
    with MongoClient(running.environment["MONGODB_URL"]) as client:
        producers = client[running.environment["MONGODB_DATABASE"]]["producers"]
        old: dict[str, Any] = {"_id": "of-the-first", "at": now, "sealed": 0, "frontier": 0, "frontier_at": now}
        producers.insert_one(old)
        try:
            refused = migrate(running, "--contract")
        finally:
            producers.update_one({"_id": "of-the-first"}, {"$set": {"ended": True}})
    assert refused.exit_code == 1
    assert "an older process is at work" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    done = migrate(running, "--contract")
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (0, [f"layout {LAYOUT}: 1 steps made"]), done.stderr
    assert set(states(running, 0).values()) == {"made"}


def _client(running: Service, known: dict[str, Any]) -> Client:
    """A client with a token that the tenant's old key has given."""

    async def tenant_of(backends: Backends) -> Tenant:
        found = await backends.control.tenant(known["tenant_id"])
        assert found is not None
        return found

    tenant = running.with_backends(tenant_of)
    running.tenants.append(tenant)
    basic = (known["client_id"], known["client_secret"])
    answer = Client(running.url, None).post("/token", data={"grant_type": "client_credentials"}, auth=basic)
    assert answer.status_code == 200, answer.text
    return Client(running.url, answer.json()["access_token"], tenant)


def _serves(client: Client, known: dict[str, Any]) -> None:
    """The old events are there byte for byte, and a retry of one is that event."""
    total = known["total"] + ("outboxed" in known)
    client.found(total)
    hashes = {each["_id"]: bytes(each["hash"]).hex() for each in FIRST.documents["events"]}
    for event_id in [*known["ids"], known["keyed"]]:
        found = client.get(f"/logs/{event_id}")
        assert found.status_code == 200
        assert found.content.decode() == _body(event_id)
        assert hashes[event_id] in found.headers["etag"]
    assert client.ingest(known["keyed_event"], **{"Idempotency-Key": "order-1"}) == known["keyed"]
    client.ingest({"action": "after.the.upgrade"})
    client.found(total + 1)


def _body(event_id: str) -> str:
    return next(str(each["body"]) for each in FIRST.documents["events"] if each["_id"] == event_id)


def _drop_template(running: Service) -> None:
    """The real cluster is others' as well."""

    httpx.delete(f"{running.environment['OPENSEARCH_URL']}/_index_template/ocelot-logs")
