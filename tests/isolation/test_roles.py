"""Every route of the description, asked by each role and without a token: answered or refused as it is documented.

A route that is added to the API needs a row here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest

from core.access import Role
from tests.figures import tally
from tests.flow.exports import done_export
from tests.service import Client, Service

NOBODY: Final = "nobody"
"""A caller without a token."""
CALLERS: Final = (NOBODY, *(role.value for role in Role))


@dataclass(frozen=True)
class Row:
    """Who may (`roles`, words; "anyone" for a route without a token), with what request, and what it then answers."""

    roles: str
    status: int = 200
    request: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the HTTP client."""
    made: Callable[[Client], dict[str, str]] = lambda admin: {}
    """Makes with an admin's client what the path names, and returns the path's parameters."""

    @property
    def allowed(self) -> set[str]:
        return set(CALLERS) if self.roles == "anyone" else set(self.roles.split())


def an_event(admin: Client) -> dict[str, str]:
    return {"event_id": admin.ingest({"action": "asked"})}


def the_tenant(admin: Client) -> dict[str, str]:
    assert admin.tenant is not None
    return {"tenant_id": admin.tenant.id}


def an_export(admin: Client) -> dict[str, str]:
    """A done one, and the link to its file."""
    made = done_export(admin, format="ndjson")
    return {"export_id": made["id"], "link": made["download"]["url"].rsplit("/", 1)[1]}


def no_job(admin: Client) -> dict[str, str]:
    return {"job_id": "0" * 8}


def a_search(admin: Client) -> dict[str, str]:
    return {"search_id": admin.post("/searches", json=SEARCH["json"]).json()["id"]}


def a_key(admin: Client) -> dict[str, str]:
    return {"key_id": admin.post("/keys", json=KEY["json"]).json()["client_id"]}


def a_set(admin: Client) -> dict[str, str]:
    assert admin.put("/permission-sets/asked", json=SET["json"]).status_code == 200
    return {"name": "asked"}


KEY: Final = {"json": {"name": "asked", "roles": ["writer"]}}
SET: Final = {"json": {"permissions": ["logs:view"]}}
SEARCH: Final = {"json": {"name": "asked", "query": "action=asked"}}


def something_to_hold(admin: Client) -> dict[str, str]:
    admin.ingest({"action": "asked"})
    deadline = time.monotonic() + 30
    while not admin.get("/logs", params={"action": "asked"}).json()["data"]:
        assert time.monotonic() < deadline, "it is not found"
        time.sleep(0.2)
    return {}


def a_hold(admin: Client) -> dict[str, str]:
    something_to_hold(admin)
    return {"hold_id": admin.post("/holds", json=HOLD["json"]).json()["id"]}


HOLD: Final = {"json": {"search": {"query": {"field": "action", "equals": "asked"}}, "reason": "asked"}}


def no_version(admin: Client) -> dict[str, str]:
    return {"version": "999"}


FILTER: Final = {"json": {"filter": {"field": "user_id", "equals": "a"}}}
EVENT: Final = {"json": {"action": "x"}}
ROWS: Final[dict[tuple[str, str], Row]] = {
    ("post", "/api/v1/logs"): Row("admin writer", 202, EVENT),
    ("post", "/api/v1/logs/bulk"): Row("admin writer", 202, EVENT),
    ("get", "/api/v1/logs"): Row("admin reader viewer"),
    ("post", "/api/v1/logs/search"): Row("admin reader viewer", 200, {"json": {}}),
    ("get", "/api/v1/logs/trace/{trace_id}"): Row("admin reader viewer", made=lambda admin: {"trace_id": "t-1"}),
    ("get", "/api/v1/logs/request/{request_id}"): Row("admin reader viewer", made=lambda admin: {"request_id": "r-1"}),
    ("get", "/api/v1/logs/export"): Row("admin reader viewer"),
    ("get", "/api/v1/logs/stream"): Row("admin reader"),
    ("get", "/api/v1/logs/stats"): Row("admin reader viewer"),
    ("get", "/api/v1/logs/completeness"): Row("admin reader"),
    ("get", "/api/v1/logs/{event_id}"): Row("admin reader viewer", 200, {"params": {"wait": "20"}}, an_event),
    ("get", "/api/v1/facets"): Row("admin reader"),
    ("put", "/api/v1/facets"): Row("admin", 200, {"json": {"facets": []}}),
    ("get", "/api/v1/masking"): Row("admin"),
    ("put", "/api/v1/masking"): Row("admin", 200, {"json": {"rules": []}}),
    ("post", "/api/v1/masking/preview"): Row("admin", 200, {"json": {"event": {"action": "x"}}}),
    ("post", "/api/v1/exports"): Row(
        "admin reader", 202, {"json": {"search": {"received_to": "1971-01-01T00:00:00Z"}}}
    ),
    ("get", "/api/v1/exports"): Row("admin reader"),
    ("get", "/api/v1/exports/{export_id}"): Row("admin reader", made=an_export),
    ("delete", "/api/v1/exports/{export_id}"): Row("admin reader", 404, made=lambda admin: {"export_id": "0" * 8}),
    ("get", "/api/v1/downloads/{link}"): Row("anyone", made=an_export),
    ("get", "/api/v1/jobs/{job_id}"): Row("admin reader", 404, made=no_job),
    ("post", "/api/v1/jobs/{job_id}/retry"): Row("admin reader", 404, made=no_job),
    ("get", "/api/v1/logs/{event_id}/changes"): Row("admin reader viewer", 200, {"params": {"wait": "20"}}, an_event),
    ("get", "/api/v1/searches"): Row("admin reader"),
    ("post", "/api/v1/searches"): Row("admin reader", 201, SEARCH),
    ("get", "/api/v1/searches/{search_id}"): Row("admin reader", made=a_search),
    ("put", "/api/v1/searches/{search_id}"): Row("admin reader", 200, SEARCH, a_search),
    ("get", "/api/v1/searches/{search_id}/results"): Row("admin reader", made=a_search),
    ("delete", "/api/v1/searches/{search_id}"): Row("admin reader", 204, made=a_search),
    ("get", "/api/v1/catalogue"): Row("admin writer reader"),
    ("put", "/api/v1/catalogue"): Row("admin", 200, {"json": {"mode": "off", "actions": {"made": {}}}}),
    ("get", "/api/v1/catalogue/versions"): Row("admin writer reader"),
    ("get", "/api/v1/catalogue/versions/{version}"): Row("admin writer reader", 404, made=no_version),
    ("get", "/api/v1/catalogue/openapi.json"): Row("admin writer reader"),
    ("post", "/api/v1/logs/index/bulk"): Row("admin", 200, {"json": {"ids": ["0" * 8]}}),
    # A range in which there is nothing, and is no job of this tenant's yet.
    ("post", "/api/v1/logs/index/reconcile"): Row("admin", 202, {"json": {"received_to": "1971-01-01T00:00:00Z"}}),
    ("get", "/api/v1/quarantine"): Row("admin reader"),
    ("get", "/api/v1/quarantine/{item_id}"): Row("admin reader", 404, made=lambda admin: {"item_id": "0" * 8}),
    ("post", "/api/v1/quarantine/fix"): Row("admin", 200, {"json": {"ids": ["0" * 8], "mapping": []}}),
    ("post", "/api/v1/quarantine/replay"): Row("admin", 200, {"json": {"ids": ["0" * 8]}}),
    ("post", "/api/v1/quarantine/discard"): Row("admin", 200, {"json": {"ids": ["0" * 8]}}),
    ("post", "/api/v1/viewer-links"): Row(
        "admin reader", 201, {"json": {"filter": {"field": "user_id", "equals": "a"}}}
    ),
    ("get", "/api/v1/viewer-links"): Row("admin reader"),
    ("delete", "/api/v1/viewer-links/{link_id}"): Row("admin reader", 404, made=lambda admin: {"link_id": "0" * 32}),
    ("delete", "/api/v1/logs/cleanup"): Row("admin", 200, {"params": {"before": "-90d"}}),
    ("post", "/api/v1/logs/restore"): Row(
        "admin", 404, {"json": {"received_from": "1971-01-01T00:00:00Z", "received_to": "1972-01-01T00:00:00Z"}}
    ),
    ("get", "/api/v1/archive"): Row("admin reader"),
    ("post", "/api/v1/holds"): Row("admin", 201, HOLD, something_to_hold),
    ("get", "/api/v1/holds"): Row("admin"),
    ("get", "/api/v1/holds/{hold_id}"): Row("admin", made=a_hold),
    ("post", "/api/v1/holds/{hold_id}/release"): Row("admin", 200, {"json": {"reason": "asked"}}, a_hold),
    # Its credentials are a key; whatever token comes along does not matter.
    ("post", "/api/v1/token"): Row("anyone", 400, {"json": {"grant_type": "x"}}),
    ("post", "/api/v1/keys"): Row("admin", 201, KEY),
    ("get", "/api/v1/keys"): Row("admin"),
    ("get", "/api/v1/keys/{key_id}"): Row("admin", made=a_key),
    ("patch", "/api/v1/keys/{key_id}"): Row("admin", 200, {"json": {"name": "other"}}, a_key),
    ("post", "/api/v1/keys/{key_id}/rotate"): Row("admin", 200, {"json": {}}, a_key),
    ("delete", "/api/v1/keys/{key_id}"): Row("admin", 204, made=a_key),
    ("get", "/api/v1/permission-sets"): Row("admin"),
    ("put", "/api/v1/permission-sets/{name}"): Row("admin", 200, SET, a_set),
    ("delete", "/api/v1/permission-sets/{name}"): Row("admin", 204, made=a_set),
    ("get", "/api/v1/tenants"): Row("platform"),
    ("post", "/api/v1/tenants"): Row("platform", 201, {"json": {"name": "made"}}),
    ("get", "/api/v1/tenants/{tenant_id}"): Row("platform", made=the_tenant),
    ("put", "/api/v1/tenants/{tenant_id}"): Row(
        "platform", 200, {"json": {"name": "roles", "status": "active"}}, the_tenant
    ),
    ("post", "/api/v1/erasures"): Row("admin", 200, {"json": {"user_id": "a"}}),
    ("delete", "/api/v1/tenants/{tenant_id}"): Row("platform", made=the_tenant),
    ("get", "/api/v1/tenants/{tenant_id}/deletion"): Row("platform", 404, made=the_tenant),
    ("patch", "/api/v1/tenants/{tenant_id}"): Row("platform", 200, {"json": {"name": "roles"}}, the_tenant),
    ("post", "/api/v1/tenants/{tenant_id}/tokens"): Row(
        "admin platform", 201, {"json": {"roles": ["reader"]}}, the_tenant
    ),
    ("get", "/api/v1/usage"): Row("admin"),
    ("get", "/api/v1/keys/{key_id}/quotas"): Row("admin", made=a_key),
    ("put", "/api/v1/keys/{key_id}/quotas"): Row("admin", 200, {"json": {"events_per_day": 5}}, a_key),
    ("get", "/api/v1/tenants/{tenant_id}/usage"): Row("admin platform", made=the_tenant),
    ("get", "/api/v1/health"): Row("anyone"),
    ("get", "/api/v1/ready"): Row("anyone"),
    ("get", "/metrics"): Row("anyone"),
}


@pytest.fixture(scope="module")
def admin(running: Service) -> Client:
    return running.tenant("roles")


@pytest.fixture(scope="module")
def callers(running: Service, admin: Client) -> Iterator[dict[str, Client]]:
    """A client for each of `CALLERS`, those with a role in a tenant all in the same one."""
    clients = {NOBODY: Client(running.url, None)}
    for role in Role:
        clients[role.value] = running.client(None if role is Role.PLATFORM else admin.tenant, role)
    yield clients
    for client in clients.values():
        client.close()


@pytest.fixture(scope="module")
def described(running: Service) -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation of the description."""
    paths = httpx.get(f"{running.url}/api/v1/openapi.json", timeout=30).json()["paths"]
    return {(method, path): operation for path, methods in paths.items() for method, operation in methods.items()}


def test_every_route_has_a_row(described: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert set(described) == set(ROWS)


@pytest.mark.parametrize("route", ROWS, ids=" ".join)
def test_the_description_names_the_roles(
    described: dict[tuple[str, str], dict[str, Any]], route: tuple[str, str]
) -> None:
    operation, row = described[route], ROWS[route]
    if row.roles == "anyone":
        assert (operation["x-permission"], operation["security"]) == ("none", [])
        return
    assert set(operation["x-roles"]) == row.allowed
    assert f"`{operation['x-permission']}`" in operation["description"]
    assert "security" not in operation
    assert {"401", "403"} <= set(operation["responses"])
    assert str(row.status) in operation["responses"]


@pytest.mark.parametrize("route", ROWS, ids=" ".join)
def test_each_role_is_answered_or_refused(
    request: pytest.FixtureRequest, running: Service, admin: Client, callers: dict[str, Client], route: tuple[str, str]
) -> None:
    row = ROWS[route]
    # Made for each, since one who may delete it leaves nothing for the next.
    urls = {name: running.url + route[1].format(**row.made(admin)) for name in callers}
    got = {name: asked(client, route[0], urls[name], row.request) for name, client in callers.items()}
    expected = {name: row.status if name in row.allowed else 401 if name == NOBODY else 403 for name in CALLERS}
    assert got == expected
    refused = sum(status in (401, 403) for status in got.values())
    tally(request, "roles", "callers of every route", tried=len(got), answered=len(got) - refused, refused=refused)


def asked(client: Client, method: str, url: str, request: Mapping[str, Any]) -> int:
    """The answer's status; a stream without an end is closed once it has begun."""
    with client.stream(method, url, **request) as response:
        if response.status_code in (401, 403):
            problem = response.read() and response.json()
            expected = "unauthenticated" if response.status_code == 401 else "forbidden"
            assert (response.headers["Content-Type"], problem["code"]) == ("application/problem+json", expected)
        return response.status_code
