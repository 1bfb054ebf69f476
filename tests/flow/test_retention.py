"""Old events over HTTP and by the command: told, archived, removed, listed, and brought back byte for byte."""

from __future__ import annotations

import time
from typing import Any

import httpx
from typer.testing import CliRunner

from cli.main import app
from core import instant
from core.tenant import for_system
from tests import census
from tests.flow.aged import aged, put
from tests.service import Client, Service

HOUR = 3_600_000_000
BEFORE = "2026-05-10T00:00:00Z"
CUT = instant.parse(BEFORE)[0]
MARCH = instant.parse("2026-03-01T00:00:00Z")[0]


def ended(client: Client, job: dict[str, Any], timeout: float = 120) -> dict[str, Any]:
    """The job's result once it is done."""
    deadline = time.monotonic() + timeout
    while (found := client.get(f"/jobs/{job['id']}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert found["state"] == "done", found
    result: dict[str, Any] = found["result"]
    return result


def clean_up(client: Client, **asked: str) -> httpx.Response:
    return client.request("DELETE", "/logs/cleanup", params={"before": BEFORE, **asked})


def command(running: Service, client: Client, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["retention", *arguments, "--url", running.url, "--token", client.token or ""])
    assert result.exit_code == 0, result.output
    return result.output


def test_old_events_go_into_the_archive_and_come_back(running: Service, tenant: Client) -> None:
    assert tenant.tenant is not None
    # A hundred each seventh day, the last of them young.
    rows = [
        aged(tenant.tenant, MARCH + (n // 100 * 7 * 24 + n % 24) * HOUR + n, n, user_id="ana" if n % 40 == 9 else "ben")
        for n in range(1100)
        if n >= 500 or n % 40 != 9  # nothing of March is held
    ]
    put(running, tenant, rows)
    bodies = {row.id: row.body for row in rows}
    past = {row.id for row in rows if row.received_at < CUT}
    held = {row.id for row in rows if row.named["user_id"] == "ana"} & past
    assert held
    assert held < past < bodies.keys()

    hold = {"search": {"query": {"field": "user_id", "equals": "ana"}}, "reason": "a court's file"}
    held_by = tenant.post("/holds", json=hold).json()
    told = clean_up(tenant)
    assert told.status_code == 200
    assert told.json() == {
        "dry_run": True, "before": "2026-05-10T00:00:00.000000Z", "events": len(past), "events_relation": "exact",
        "holds": [{"id": held_by["id"], "reason": hold["reason"], "events": len(held), "events_relation": "exact"}],
    }  # fmt: skip
    assert f"{len(past)} events were received before" in command(running, tenant, "cleanup", "--before", BEFORE)
    assert census.take(running, tenant).bodies == bodies  # what was not confirmed was not done

    answer = clean_up(tenant, dry_run="false")
    assert answer.status_code == 202
    again = clean_up(tenant, dry_run="false")
    assert (again.status_code, again.json()["code"]) == (429, "overloaded")
    result = ended(tenant, answer.json()["job"])
    assert (result["archived"], result["held"]) == (len(past - held), len(held))
    assert result["dropped_indices"] == ["202603"]
    after = census.take(running, tenant)
    assert sorted(after.stored) == sorted(after.indexed) == sorted(bodies.keys() - past | held)
    [gone, *_] = sorted(past - held)
    assert tenant.get(f"/logs/{gone}").status_code == 404

    listed = tenant.get("/archive", params={"limit": 7}).json()
    files = listed["data"]
    while listed["next_cursor"]:
        listed = tenant.get("/archive", params={"limit": 7, "cursor": listed["next_cursor"]}).json()
        files += listed["data"]
    assert sum(each["events"] for each in files) == len(past - held)
    assert {each["state"] for each in files} == {"removed"}
    assert [each["received_from"] for each in files] == sorted(each["received_from"] for each in files)
    assert len(command(running, tenant, "archive").splitlines()) == len(files)

    told = command(running, tenant, "restore", "--from", "2026-03-01T00:00:00Z", "--to", BEFORE)
    assert f"{len(past - held)} events are back" in told
    back = census.take(running, tenant)
    assert back.bodies == bodies
    assert back.altered == []
    assert sorted(back.indexed) == sorted(bodies)
    tenant.found(1, **{"metadata.n": "0.0"})
    # Their time has not come, so that another clean-up leaves them.
    told = command(running, tenant, "cleanup", "--before", BEFORE, "--remove")
    assert f"0 events archived in 0 files and removed; {len(past)} are held" in told
    assert census.take(running, tenant).bodies == bodies


def test_what_is_not_well_asked_does_nothing(running: Service, tenant: Client) -> None:
    assert tenant.tenant is not None
    put(running, tenant, [aged(tenant.tenant, MARCH, 1)])
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"dry_run": "no"}, ["query", "dry_run"]),
        ({"dry_run": "False"}, ["query", "dry_run"]),
        ({"dry_run": "false", "before": "tomorrow"}, ["query", "before"]),
        ({"dry_run": "false", "before": "2999-01-01T00:00:00Z"}, ["query", "before"]),
        ({"dry_run": "false", "tenant_id": "x"}, ["query", "tenant_id"]),
    ]
    for asked, place in cases:
        answer = clean_up(tenant, **asked)
        assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (400, place), answer.text
    for query in ("", "?dry_run=false", f"?before={BEFORE}&before={BEFORE}&dry_run=false",
                  f"?before={BEFORE}&dry_run=true&dry_run=false"):  # fmt: skip
        assert tenant.request("DELETE", f"/logs/cleanup{query}").status_code == 400
    good = {"received_from": "2026-03-01T00:00:00Z", "received_to": BEFORE}
    refused: list[tuple[dict[str, Any], int, str]] = [
        (good, 404, "nothing_archived"),
        (good | {"keep_days": 0}, 422, "invalid_request"),
        (good | {"keep_days": 367}, 422, "invalid_request"),
        (good | {"received_to": good["received_from"]}, 422, "invalid_request"),
        (good | {"received_from": "then"}, 422, "invalid_request"),
        ({"received_from": "-9d"}, 422, "invalid_request"),
        (good | {"user_id": "ana"}, 422, "invalid_request"),
    ]
    for body, status, code in refused:
        answer = tenant.post("/logs/restore", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    unknown = tenant.get("/archive", params={"cursor": "00000000-0000-4000-8000-000000000000"})
    assert (unknown.status_code, unknown.json()["code"]) == (400, "bad_cursor")
    assert len(census.take(running, tenant).stored) == 1
    scope = for_system(tenant.tenant.id, "test")
    listing = running.with_backends(lambda backends: backends.jobs.listing(scope, "retention", before=None, limit=9))
    assert listing == []
