"""Deleting a tenant, and erasing a person, on the running service: reports are checked by looking into every place.

Both take half a minute, in which they wait for others: they run at the same time, and are looked at in the end.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from cli.main import app
from core import deletion, instant
from core.access import Role
from core.audit import PLATFORM_TENANT
from core.envelope import Header, Record, pack
from core.ids import uuid7s
from core.ports import Heartbeat, Message
from core.wiring import Backends
from tests import census
from tests.flow.exports import done_export, link_of
from tests.flow.jobs import ended
from tests.service import Client, Service

EVENTS = 40


@dataclass
class Both:
    """Two tenants that hold the same; `gone` is deleted, `stays` is not."""

    gone: Client
    stays: Client
    link: str
    """To the export of the one that goes."""
    bodies: dict[str, bytes]
    """The events of the one that stays."""
    asked_at: float = 0.0

    @property
    def gone_id(self) -> str:
        assert self.gone.tenant is not None
        return self.gone.tenant.id

    @property
    def path(self) -> str:
        return f"/tenants/{self.gone_id}"


@pytest.fixture(scope="module")
def platform(running: Service) -> Iterator[Client]:
    with running.client(None, Role.PLATFORM) as client:
        yield client


@pytest.fixture(scope="module")
def both(running: Service) -> Both:
    clients = [running.tenant("deleted"), running.tenant("kept")]
    links = []
    for client in clients:
        sent = [{"action": "seen", "user_id": f"u{n % 3}", "idempotency_key": f"k{n}"} for n in range(EVENTS)]
        assert client.post("/logs/bulk", json=sent).json()["accepted"] == EVENTS
        client.ingest({"action": "another"}, **{"Idempotency-Key": "k1"})  # a conflict, which is set aside
        assert client.put("/catalogue", json={"mode": "off", "actions": {"seen": {}}}).status_code == 200
        facet = {"facets": [{"name": "n", "path": "metadata.n", "type": "number"}]}
        assert client.put("/facets", json=facet).status_code == 200
        assert client.post("/searches", json={"name": "mine", "query": "action=seen"}).status_code == 201
        body = {"filter": {"field": "user_id", "equals": "u1"}}
        assert client.post("/viewer-links", json=body).status_code == 201
        client.found(EVENTS)
        links.append(link_of(done_export(client, format="ndjson")))
    gone, stays = clients
    return Both(gone, stays, links[0], census.take(running, stays).bodies)


PERSON = "person~to~forget"


@dataclass
class Erasing:
    """A tenant of which a person is erased, the job for that, and the ids of what stays."""

    client: Client
    kept: list[str]
    job: str = ""


@pytest.fixture(scope="module")
def erasing(running: Service) -> Erasing:
    client = running.tenant("erasing")
    kept = client.post("/logs/bulk", json=[{"action": "seen", "user_id": f"{PERSON[:-1]}"}, {"action": "seen"}]).json()
    sent = [{"action": "seen", "user_id": PERSON, "idempotency_key": f"k{n}"} for n in range(EVENTS)]
    assert client.post("/logs/bulk", json=sent).json()["accepted"] == EVENTS
    client.ingest({"action": "another", "user_id": PERSON}, **{"Idempotency-Key": "k1"})  # a conflict, set aside
    client.found(EVENTS + 2)
    done_export(client, format="ndjson")
    return Erasing(client, [item["id"] for item in kept["items"]])


def test_a_person_is_erased_when_it_is_confirmed_and_nothing_is_held(erasing: Erasing) -> None:
    client, body = erasing.client, {"user_id": PERSON}
    for query in ("", "?dry_run=true"):
        shown = client.post(f"/erasures{query}", json=body)
        assert shown.status_code == 200
        assert shown.json() == {
            "dry_run": True, "events": EVENTS, "events_exact": True, "archived_segments_to_read": 0,
            "exports_to_remove": 1, "held_by": None,
        }  # fmt: skip
    for query in ("?dry_run=0", "?dry_run=", "?dry_run=false&dry_run=true", "?user_id=x"):
        answer = client.post(f"/erasures{query}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query"), query
    for wrong in ({}, {"user_id": ""}, {"user_id": 7}, {"user_id": "x" * 8193}, {"user_id": "x", "before": 1}, []):
        answer = client.post("/erasures?dry_run=false", json=wrong)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), wrong
    held = {"query": {"field": "user_id", "equals": PERSON}}
    hold = client.post("/holds", json={"search": held, "reason": "court"}).json()["id"]
    assert client.post("/erasures", json=body).json()["held_by"] == hold
    refused = client.post("/erasures?dry_run=false", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "on_hold")
    assert client.post("/erasures", json={"user_id": f"{PERSON[:-1]}"}).json()["held_by"] is None
    assert client.post(f"/holds/{hold}/release", json={"reason": "settled"}).status_code == 200
    client.found(EVENTS + 2)
    begun = client.post("/erasures?dry_run=false", json=body)
    assert (begun.status_code, begun.json()["kind"], PERSON in begun.text) == (202, "erasure", False)
    erasing.job = begun.json()["id"]
    assert client.post("/erasures?dry_run=false", json=body).status_code == 429
    erasing.kept.append(client.ingest({"action": "came back", "user_id": PERSON}))


def test_nothing_goes_without_its_confirmation_nor_while_a_hold_stands(both: Both, platform: Client) -> None:
    hold = both.gone.post("/holds", json={"search": {}, "reason": "court"}).json()["id"]
    for query in ("", "?dry_run=true"):
        answer = platform.delete(both.path + query)
        assert answer.status_code == 200
        shown = answer.json()
        assert (shown["dry_run"], shown["tenant_id"], shown["holds"]) == (True, both.gone_id, 1)
        assert shown["events"] >= EVENTS  # and the service's own, of which looking makes more
        assert shown["archive_files"] >= 1
        assert {"searches", "viewers", "catalogues", "catalogue_heads", "jobs", "quarantine"} <= shown["records"].keys()
    for query in ("?dry_run=no", "?dry_run=", "?dry_run=False", "?dry_run=false&dry_run=false", "?force=true"):
        answer = platform.delete(both.path + query)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query"), query
    refused = platform.delete(both.path, params={"dry_run": "false"})
    assert (refused.status_code, refused.json()["code"]) == (409, "on_hold")
    assert hold in refused.json()["detail"]
    both.gone.found(EVENTS)
    assert platform.get(f"{both.path}/deletion").status_code == 404
    assert platform.delete("/tenants/" + "a" * 16, params={"dry_run": "false"}).status_code == 404
    assert both.gone.post(f"/holds/{hold}/release", json={"reason": "settled"}).status_code == 200


def test_from_the_answer_on_the_tenant_reaches_nothing(both: Both, platform: Client) -> None:
    begun = platform.delete(both.path, params={"dry_run": "false"})
    both.asked_at = time.monotonic()
    assert (begun.status_code, begun.json()["state"], begun.json()["report"]) == (202, "running", None)
    for answer in (both.gone.get("/logs"), both.gone.post("/logs", json={"action": "x"}), both.gone.get("/searches")):
        assert (answer.status_code, answer.json()["code"]) == (401, "tenant_gone")
    again = platform.delete(both.path, params={"dry_run": "false"})
    assert (again.status_code, again.json()["asked_at"]) == (202, begun.json()["asked_at"])
    for answer in (platform.delete(both.path), platform.patch(both.path, json={"status": "active"})):
        assert (answer.status_code, answer.json()["code"]) == (409, "tenant_deleting")
    assert platform.get(both.path).json()["status"] == "deleting"


def test_a_deleted_tenant_is_in_no_place_and_the_report_is_true(running: Service, both: Both, platform: Client) -> None:
    while (found := platform.get(f"{both.path}/deletion").json())["report"] is None:
        assert found["error"] is None
        assert time.monotonic() - both.asked_at < 200, found
        time.sleep(0.5)
    report = found["report"]
    assert (found["state"], report["left"], report["removed"]["events"] >= EVENTS) == ("done", {}, True)
    assert report["closed_at"] <= report["queue_drained_through"]
    assert report["tombstone_since"] < report["checked_at"]
    assert (report["removed"]["indices"], report["removed"]["archive_files"]) == (1, 1)
    told = report["removed"]["records"]
    assert {"searches", "viewers", "catalogues", "catalogue_heads", "quarantine", "holds", "receipts"} <= told.keys()

    assert traces(running, both.gone_id) == {"jobs": 1, "tombstones": 1}
    assert both.gone_id not in index_names(running)
    assert running.with_backends(lambda backends: deletion.archived(backends.archive, both.gone_id)) == 0
    assert not [path for path in folder_of(running).rglob("*") if both.gone_id in str(path)]
    host = urlsplit(running.url).netloc
    assert httpx.get(f"http://{host}{both.link}").status_code in (401, 403, 404)
    assert platform.get(both.path).status_code == 404
    assert both.gone.get("/logs").json()["code"] == "tenant_gone"
    shown = CliRunner().invoke(app, ["tenant", "deletion", both.gone_id], env=running.environment)
    assert (shown.exit_code, report["checked_at"] in shown.stdout) == (0, True)

    census_now = census.take(running, both.stays)
    assert (census_now.bodies, sorted(census_now.indexed)) == (both.bodies, sorted(both.bodies))
    assert both.stays.get("/searches").json()["total"] == 1


def test_what_comes_out_of_the_queue_afterwards_is_dropped(running: Service, both: Both) -> None:
    """As after a lease that lapsed in a consumer that hung, or a queue that delivers twice."""
    assert both.stays.tenant is not None
    now = instant.now_us()
    records = [late(tenant_id, now) for tenant_id in (both.gone_id, both.stays.tenant.id, both.gone_id)]
    header = Header(
        id="late", producer=f"late-{both.gone_id}", sequence=1, made_at=now,
        events={both.gone_id: 2, both.stays.tenant.id: 1},
    )  # fmt: skip
    before = erased(running)

    async def send(backends: Backends) -> None:
        assert await backends.queue.send([Message(pack(header, records))]) == [None]
        # Or every watermark would wait a minute for what else it may send.
        await backends.ledger.beat(Heartbeat(header.producer, 1, instant.now_us(), ended=True))

    running.with_backends(send)
    both.stays.found(1, action="late")
    assert erased(running) == before + 2
    assert set(traces(running, both.gone_id)) <= {"jobs", "tombstones", "producers", "receipts", "accounts"}
    assert both.gone_id not in index_names(running)


def test_an_erased_person_is_in_no_place_but_for_what_came_afterwards(running: Service, erasing: Erasing) -> None:
    client = erasing.client
    job = ended(client, erasing.job)
    assert (job["state"], job["error"], PERSON in str(job)) == ("done", None, False)
    report = job["result"]
    assert report["removed"] == report["removed"] | {"events": EVENTS, "quarantined": 1, "archived_events": 0}
    assert (report["left"], report["removed"]["exports"] >= 1) == (0, True)
    assert report["before"] <= report["queue_drained_through"]
    assert client.found(3)["data"][0]["action"] == "came back"
    now = census.take(running, client)
    assert sorted(now.stored) == sorted(now.indexed) == sorted(erasing.kept)
    client.found(1, user_id=PERSON)
    known = set(traces(running, PERSON))
    assert known <= {"events", "holds"}, known  # who asked for the person stays on record
    assert client.tenant is not None
    left = [path for path in (folder_of(running) / "archive").rglob("*") if path.is_file()]
    assert not [path for path in left if client.tenant.id in str(path) and PERSON.encode() in path.read_bytes()]


def late(tenant_id: str, now: int) -> Record:
    text = instant.to_text(now)
    body = (
        f'{{"id":"{uuid7s(now, 1)[0]}","tenant_id":"{tenant_id}","timestamp":"{text}","received_at":"{text}",'
        '"salt":"s","action":"late","severity":"INFO"}'
    )
    return Record(tenant_id, text[:4] + text[5:7], body.encode())


def erased(running: Service) -> float:
    metrics = httpx.get(f"http://127.0.0.1:{running.consumer.port}/metrics").text
    found = re.search(r'^ocelot_consumed_total\{outcome="erased"\} (\S+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def documents(running: Service, collection: str) -> list[str]:
    with MongoClient(running.environment["MONGODB_URL"]) as client:
        return [repr(each) for each in client[running.environment["MONGODB_DATABASE"]][collection].find()]


def traces(running: Service, tenant_id: str) -> dict[str, int]:
    """How many documents of each collection, whatever it is for, name the tenant anywhere in them."""
    with MongoClient(running.environment["MONGODB_URL"]) as client:
        names = client[running.environment["MONGODB_DATABASE"]].list_collection_names()
    # Who asked for the deletion stays on record, in the platform's own log.
    texts = {name: [each for each in documents(running, name) if PLATFORM_TENANT not in each] for name in names}
    counts = {name: sum(tenant_id in text for text in found) for name, found in texts.items()}
    return {name: count for name, count in counts.items() if count}


def index_names(running: Service) -> str:
    """Every index and alias there is, as the cluster lists them."""
    url = running.environment["OPENSEARCH_URL"]
    return httpx.get(f"{url}/_alias", params={"expand_wildcards": "all"}, timeout=30).text


def folder_of(running: Service) -> Path:
    """The service's home, the archive's folder in it where that is one."""
    return Path(running.environment["OCELOT_HOME"])
