"""Completeness over HTTP: it agrees with what was sent, names what is taken away by hand, and reconciling closes it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest
from pymongo import MongoClient

from core import instant
from core.placement import place
from core.tenant import for_system
from core.wiring import Backends
from tests import census
from tests.flow.jobs import ended
from tests.service import ROOT, Client, Service


def report(client: Client, **asked: str) -> dict[str, Any]:
    answer = client.get("/logs/completeness", params={"from": "-5m", "interval": "1s", **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def totals(found: dict[str, Any]) -> dict[str, int]:
    names = ("accepted", "duplicates", "parked", "quarantined", "due", "stored", "indexed")
    return {name: sum(each[name] for each in found["intervals"]) for name in names}


def settled(client: Client, to: str, state: str, timeout: float = 180) -> dict[str, Any]:
    """The report up to a moment, once it is all closed and has this state: each report is an event itself."""
    deadline = time.monotonic() + timeout
    while True:
        found = report(client, to=to)
        is_open = any(each["state"] == "open" for each in found["intervals"])
        if found["state"] == state and not is_open:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def test_what_was_sent_is_counted_and_what_is_taken_away_is_named(running: Service, tenant: Client) -> None:
    assert tenant.tenant is not None
    scope = for_system(tenant.tenant.id, "test")
    keyed = [{"action": "sent", "user_id": f"u{n}", "idempotency_key": f"k{n}"} for n in range(40)]
    ids = [item["id"] for item in tenant.post("/logs/bulk", json=keyed).json()["items"]]
    tenant.post("/logs/bulk", json=[*keyed[:5], {"action": "other", "idempotency_key": "k9"}])
    sent = instant.to_text(instant.now_us())
    found = settled(tenant, sent, "agrees")
    figures = totals(found)
    # Whatever of the access audit is among them was stored as well.
    of_audit = figures["accepted"] - 46
    assert figures == {
        "accepted": 46 + of_audit, "duplicates": 5, "parked": 0, "quarantined": 1,
        **dict.fromkeys(("due", "stored", "indexed"), 40 + of_audit),
    }  # fmt: skip
    assert (found["gaps"], found["next_from"]) == ([], None)

    lost, left = ids[3:5], ids[20:22]
    with MongoClient[Any](running.environment["MONGODB_URL"]) as client:
        client[running.environment["MONGODB_DATABASE"]]["events"].delete_many({"_id": {"$in": left}})

    async def unindex(backends: Backends) -> int:
        assert tenant.tenant is not None
        removed = await backends.index.remove(scope, place(tenant.tenant.placements, instant.now_us()), lost)
        await backends.index.refresh(scope)
        return removed

    assert running.with_backends(unindex) == 2
    [gap] = settled(tenant, sent, "differs")["gaps"]
    assert (sorted(gap["not_indexed"]), sorted(gap["not_stored"])) == (sorted(lost), sorted(left))
    assert [each["due"] - each["stored"] for each in gap["envelopes"]] == [2]
    assert not gap["cut"]

    job = ended(tenant, tenant.post("/logs/index/reconcile", json={}).json()["job"]["id"])
    assert (job["state"], job["result"]["left"], job["result"]["indexed"], job["result"]["removed"]) == (
        "done",
        4,
        0,
        0,
    )
    assert reconcile(tenant, "--dry-run") == (3, 4)
    told = reconcile(tenant)
    assert told == (0, 4)
    assert reconcile(tenant, "--from", "-1h") == (0, 0)
    held = census.take(running, tenant)
    assert {*held.stored} & {*ids} == {*held.indexed} & {*ids} == {*ids} - {*left}
    [gap] = settled(tenant, sent, "differs")["gaps"]  # what the store has lost is lost
    assert (gap["not_indexed"], gap["not_stored"], len(gap["envelopes"])) == ([], [], 1)


def reconcile(client: Client, *options: str) -> tuple[int, int]:
    """The command's exit code, and how many ids it names."""
    command = [sys.executable, "-c", "from cli.main import app; app()", "reconcile", *options]
    environment = {"OCELOT_URL": str(client.base_url).removesuffix("/api/v1/"), "OCELOT_TOKEN": str(client.token)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    return done.returncode, sum(line.startswith("  not ") for line in done.stdout.splitlines())


def test_a_bad_request_is_refused(tenant: Client) -> None:
    for asked, code in (
        ({"from": "x"}, "invalid_query"),
        ({"from": "now", "to": "-1h"}, "invalid_query"),
        ({"interval": "7m"}, "invalid_query"),
        ({"from": "-30d", "interval": "1s"}, "too_many_buckets"),
        ({"action": "x"}, "invalid_query"),
    ):
        answer = tenant.get("/logs/completeness", params=asked)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    for body in (
        {"dry_run": "perhaps"},
        {"received_from": "x"},
        {"ids": ["a"]},
        {"received_from": "now", "received_to": "-1h"},
    ):
        answer = tenant.post("/logs/index/reconcile", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


EVENTS = int(os.environ.get("OCELOT_TEST_EVENTS", "1_000_000"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_long_run_agrees_and_its_gap_is_named_and_closed(running: Service, tenant: Client) -> None:
    """A million events, or `OCELOT_TEST_EVENTS`; the figures go to standard output."""
    assert tenant.tenant is not None
    scope = for_system(tenant.tenant.id, "test")
    began = time.monotonic()
    sample: list[str] = []
    for first in range(0, EVENTS, 5_000):
        some = [{"action": "run", "user_id": f"u{n % 97}"} for n in range(first, min(EVENTS, first + 5_000))]
        while (answer := tenant.post("/logs/bulk", json=some)).status_code in (429, 503):
            time.sleep(float(answer.headers["Retry-After"]))
        assert answer.json()["accepted"] == len(some)
        sample += [answer.json()["items"][7]["id"]]
    sent, to = time.monotonic(), instant.to_text(instant.now_us())
    tenant.complete(timeout=1200)
    consumed = time.monotonic()

    def counted(interval: str = "1m", start: str | None = "-2h", end: str = to) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while start is not None:
            page = report(tenant, interval=interval, to=end, **{"from": start})
            found.append(page)
            start = page["next_from"]
        return found

    def figures(pages: list[dict[str, Any]]) -> dict[str, int]:
        return {name: sum(totals(page)[name] for page in pages) for name in ("accepted", "due", "stored", "indexed")}

    pages = counted()
    told = time.monotonic()
    # What the access audit has of the last minute is among them; that minute is open until it has ended.
    found = figures(pages)
    assert EVENTS <= found["stored"] == found["accepted"] <= EVENTS + 1000
    states = {each["state"] for page in pages for each in page["intervals"] if each["accepted"]}
    assert states <= {"agrees", "open"}
    lost, gone = sample[1:4], sample[5:7]
    with MongoClient[Any](running.environment["MONGODB_URL"]) as client:
        client[running.environment["MONGODB_DATABASE"]]["events"].delete_many({"_id": {"$in": gone}})

    async def unindex(backends: Backends) -> None:
        assert tenant.tenant is not None
        await backends.index.remove(scope, place(tenant.tenant.placements, instant.now_us()), lost)
        await backends.index.refresh(scope)

    running.with_backends(unindex)
    time.sleep(61)
    tenant.complete()
    naming = time.monotonic()
    gaps = [gap for page in counted() for gap in page["gaps"]]
    # What took too long to name is asked for again: second by second, and then one second alone.
    for _ in range(5):
        cut = [gap for gap in gaps if gap["cut"]]
        gaps = [gap for gap in gaps if not gap["cut"]]
        for gap in cut:
            gaps += [each for page in counted("1s", gap["start"], gap["end"]) for each in page["gaps"]]
    assert not any(gap["cut"] for gap in gaps)
    named = time.monotonic()
    assert sorted(id_ for gap in gaps for id_ in gap["not_indexed"]) == sorted(lost)
    assert sorted(id_ for gap in gaps for id_ in gap["not_stored"]) == sorted(gone)
    assert sum(each["due"] - each["stored"] for gap in gaps for each in gap["envelopes"]) == len(gone)
    job = ended(tenant, tenant.post("/logs/index/reconcile", json={"dry_run": False}).json()["job"]["id"], timeout=1200)
    closed = time.monotonic()
    result = job["result"]
    assert (result["indexed"], result["removed"], result["left"]) == (3, 2, 0)
    assert EVENTS - 2 <= result["compared"] <= EVENTS + 5000
    print(
        f"\n{EVENTS} events: sent in {sent - began:.1f} s, consumed {consumed - sent:.1f} s later, counted in "
        f"{told - consumed:.1f} s by {len(pages)} requests, named in {named - naming:.1f} s, "
        f"reconciled in {closed - named:.1f} s"
    )
