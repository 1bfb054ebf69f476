"""Tenants over HTTP and by the command: what is set for one, how it changes, and how soon that holds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from core.access import Role
from core.audit import PLATFORM_TENANT
from core.tenant import Tenant
from core.tenant_settings import Quotas
from tests.service import Client, Service

WITHIN = 5.0
"""Seconds within which a setting is effective in every process."""
DEFAULTS: dict[str, Any] = {
    "status": "active",
    "retention_days": 90,
    "quotas": dict.fromkeys(Quotas.__dataclass_fields__),
    "masking": [],
    "index_period": "month",
    "access_audit": "strict",
    "quarantine": False,
}


@pytest.fixture(scope="module")
def platform(running: Service) -> Iterator[Client]:
    with running.client(None, Role.PLATFORM) as client:
        yield client


@pytest.fixture(scope="module")
def acme(running: Service) -> Client:
    """One tenant for what leaves it as it was."""
    return running.tenant()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    return body


def test_what_is_set_for_a_tenant_is_made_read_replaced_and_patched(platform: Client) -> None:
    rule = {"by": "key", "match": "iban", "action": "hash"}
    made = platform.post("/tenants", json={"name": "Acme", "retention_days": 7, "masking": [rule]})
    assert made.status_code == 201
    assert made.json()["key"]["roles"] == ["admin"]
    tenant = {name: value for name, value in made.json().items() if name != "key"}
    path = f"/tenants/{tenant['tenant_id']}"
    assert tenant == tenant | DEFAULTS | {"name": "Acme", "retention_days": 7, "masking": [rule], "revision": 0}
    read = platform.get(path)
    assert (read.json(), read.headers["ETag"]) == (tenant, '"0"')

    settings = {
        "name": "Acme 2", "status": "active", "quotas": {"events_per_second": 5, "bytes_per_day": 1 << 40},
        "quarantine": True, "access_audit": "best_effort",
    }  # fmt: skip
    put = platform.put(path, json=settings, headers={"If-Match": read.headers["ETag"]})
    quotas = DEFAULTS["quotas"] | settings["quotas"]
    expected = {**tenant, **DEFAULTS, **settings, "quotas": quotas, "revision": 1}
    assert (put.status_code, put.json(), put.headers["ETag"]) == (200, expected, '"1"')
    problem(platform.put(path, json=settings, headers={"If-Match": '"0"'}), 412, "precondition_failed")

    patched = platform.patch(path, json={"quotas": {"bytes_per_day": None}, "masking": [rule], "retention_days": None})
    assert patched.json() == {**expected, "masking": [rule], "revision": 2, "quotas": quotas | {"bytes_per_day": None}}
    assert platform.patch(path, json={"masking": [rule]}).json() == patched.json(), "nothing changed, and no revision"
    assert platform.patch(path, json={"quotas": None}).json()["quotas"] == DEFAULTS["quotas"]

    daily = platform.patch(path, json={"index_period": "day"}).json()
    assert daily["index_period"] == "day"
    assert [each["period"] for each in daily["placements"]] == ["month", "day"]
    assert daily["placements"][1]["since"].endswith("T00:00:00.000000Z")
    back = platform.patch(path, json={"index_period": "month"}).json()
    assert back["placements"] == tenant["placements"], "what holds from tomorrow on can be taken back"
    assert platform.get(path).json() == back


@pytest.mark.parametrize(
    ("method", "body", "at"),
    [
        ("PUT", {"name": "x"}, "status"), ("PUT", {"status": "active"}, "name"), ("PATCH", {"name": None}, "name"),
        ("PATCH", {"status": None}, "status"), ("PATCH", {"status": "deleting"}, "status"),
        ("PATCH", {"name": ""}, "name"), ("PATCH", {"name": "x" * 201}, "name"),
        ("PATCH", {"retention_days": 0}, "retention_days"), ("PATCH", {"retention_days": 36_501}, "retention_days"),
        ("PATCH", {"retention_days": "7"}, "retention_days"), ("PATCH", {"retention_days": True}, "retention_days"),
        ("PATCH", {"quotas": {"events_per_second": 0}}, "quotas"), ("PATCH", {"quotas": {"events": 1}}, "quotas"),
        ("PATCH", {"quotas": [1]}, "quotas"), ("PATCH", {"masking": [{"by": "key"}]}, "masking"),
        ("PATCH", {"masking": [{"by": "x", "match": "y", "action": "hash"}]}, "masking"),
        ("PATCH", {"index_period": "week"}, "index_period"), ("PATCH", {"access_audit": "off"}, "access_audit"),
        ("PATCH", {"quarantine": 1}, "quarantine"), ("PATCH", {"secret": "x"}, "secret"),
        ("PATCH", {"tenant_id": "x"}, "tenant_id"), ("PATCH", {"placements": []}, "placements"), ("PATCH", [], None),
    ],
)  # fmt: skip
def test_what_no_tenant_can_be_set_to_is_named(
    platform: Client, acme: Client, method: str, body: Any, at: str | None
) -> None:
    assert acme.tenant is not None
    path = f"/tenants/{acme.tenant.id}"
    before = platform.get(path).json()
    faults = problem(platform.request(method, path, json=body), 422, "invalid_request")["errors"]
    assert at is None or all(fault["loc"][:2] == ["body", at] for fault in faults)
    assert platform.get(path).json() == before


def test_a_tenant_that_is_not_there(platform: Client) -> None:
    for path in (f"/tenants/{'a' * 16}", "/tenants/UPPER000", "/tenants/x", "/tenants/" + "x" * 3000, "/tenants/%00"):
        for method, body in (("GET", None), ("PUT", {"name": "x", "status": "active"}), ("PATCH", {})):
            problem(platform.request(method, path, json=body), 404, "not_found")


def test_the_list_goes_by_pages(platform: Client, acme: Client) -> None:
    assert acme.tenant is not None
    listed: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = platform.get("/tenants", params={"limit": 5} | ({"cursor": cursor} if cursor else {})).json()
        assert len(page["data"]) <= 5
        listed += page["data"]
        if (cursor := page["next_cursor"]) is None:
            break
    ids = [each["tenant_id"] for each in listed]
    assert ids == sorted(set(ids))
    assert acme.tenant.id in ids
    assert page["total"] == len(ids)
    problem(platform.get("/tenants", params={"cursor": "?"}), 400, "bad_cursor")
    problem(platform.get("/tenants", params={"status": "x"}), 400, "invalid_query")


def test_a_suspended_tenant_reaches_nothing_until_it_is_active(
    running: Service, platform: Client, tenant: Client
) -> None:
    """By the command: the service learns of it from the record alone."""
    assert tenant.tenant is not None
    tenant_id = tenant.tenant.id
    sent = tenant.ingest({"action": "before"})

    def ocelot(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["tenant", *arguments], env=running.environment)
        assert done.exit_code == 0, done.output
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    def status_within(expected: int) -> httpx.Response:
        deadline = time.monotonic() + WITHIN
        while (answer := tenant.get("/logs")).status_code != expected:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        return answer

    assert ocelot("suspend", tenant_id)["status"] == "suspended"
    problem(status_within(403), 403, "tenant_suspended")
    problem(tenant.post("/logs", json={"action": "x"}), 403, "tenant_suspended")
    assert platform.patch(f"/tenants/{tenant_id}", json={"status": "active"}).json()["status"] == "active"
    assert tenant.get("/logs").status_code == 200, "the process that took the change goes by it at once"
    assert tenant.get(f"/logs/{sent}", params={"wait": "20"}).status_code == 200
    shown = ocelot(
        "update", tenant_id, "--name", "Renamed", "--retention-days", "30", "--quota", "events_per_second=9",
        "--quota", "bytes_per_day=7", "--index-period", "year", "--access-audit", "best_effort", "--quarantine",
    )  # fmt: skip
    read = platform.get(f"/tenants/{tenant_id}").json()
    assert {name: read[name] for name in shown} == shown
    assert (shown["name"], shown["retention_days"], shown["index_period"]) == ("Renamed", 30, "year")
    assert (shown["access_audit"], shown["quarantine"]) == ("best_effort", True)
    assert (shown["quotas"]["events_per_second"], shown["quotas"]["bytes_per_day"]) == (9, 7)


def test_what_a_command_makes_and_deletes_is_in_the_platforms_log(running: Service) -> None:
    def ocelot(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["tenant", *arguments], env=running.environment)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    made = json.loads(ocelot("create", "By an operator", "--json"))
    ocelot("delete", made["tenant_id"])
    ocelot("delete", made["tenant_id"], "--no-dry-run", "--no-wait")
    with running.client(Tenant(PLATFORM_TENANT, "", b"", 0), Role.READER) as reader:
        for action in ("create", "delete"):
            [event] = reader.found(1, action=f"ocelot.tenant.{action}", resource_id=made["tenant_id"])["data"]
            assert event["user_id"].startswith("operator:")
            assert event["metadata"]["call"] == f"ocelot tenant {action}"
