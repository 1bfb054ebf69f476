"""A tenant that is closed while its streams, pages and links are in use: each ends, and nothing more comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from core.access import Role
from tests.figures import tally
from tests.flow.exports import done_export, link_of
from tests.service import Client, Service
from tests.streams import Follower, Socket

CLOSINGS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "suspended": ("PATCH", {"json": {"status": "suspended"}}, (403,)),
    "deleted": ("DELETE", {"params": {"dry_run": "false"}}, (401,)),
}


@pytest.mark.parametrize("how", CLOSINGS)
def test_all_that_is_open_ends_with_its_tenant(request: pytest.FixtureRequest, running: Service, how: str) -> None:
    client = running.tenant(how)
    assert client.tenant is not None
    key = client.post("/keys", json={"name": "k", "roles": ["reader", "writer"]}).json()
    grant = {"grant_type": "client_credentials", "client_id": key["client_id"], "client_secret": key["client_secret"]}
    made = client.post("/viewer-links", json={"filter": {"field": "action", "equals": "open"}}).json()
    ids = [client.ingest({"action": "open"}) for _ in range(4)]
    client.found(4, action="open")
    cursor = client.get("/logs", params={"action": "open", "limit": 2}).json()["next_cursor"]
    link = running.url + link_of(done_export(client, format="ndjson"))
    assert httpx.get(link).status_code == 200
    viewer, other = Client(running.url, made["token"], client.tenant), running.tenant("beside")
    asked: dict[str, Callable[[], httpx.Response]] = {
        "the next page": lambda: client.get("/logs", params={"action": "open", "limit": 2, "cursor": cursor}),
        "one event": lambda: client.get(f"/logs/{ids[0]}"),
        "an event": lambda: client.post("/logs", json={"action": "late"}),
        "a viewer's page": lambda: viewer.get("/logs"),
        "a key's token": lambda: client.post("/token", data=grant),
        "an export": lambda: client.get("/logs/export"),
    }
    method, arguments, statuses = CLOSINGS[how]
    reader = running.client(client.tenant, Role.READER)
    with Follower(client) as by_sse, Socket(reader) as by_socket, Follower(other) as beside:
        for follower in (by_sse, by_socket, beside):
            follower.started()
        with running.client(None, Role.PLATFORM) as platform:
            closed = platform.request(method, f"/tenants/{client.tenant.id}", **arguments)
        assert closed.status_code in (200, 202), closed.text
        for follower in (by_sse, by_socket):
            assert follower.end()["reason"] in ("tenant_suspended", "tenant_gone")
        for what, ask in asked.items():
            assert _refused(ask) in statuses, what
        assert _refused(lambda: httpx.get(link)) in (401, 403, 404)
        sent = other.ingest({"action": "goes on"})
        assert beside.events(1) == [sent]
    tally(request, "isolation", f"ways in that end with a tenant {how}", tried=len(asked) + 3, crossed=0)


def _refused(ask: Callable[[], httpx.Response]) -> int:
    """The status once it is no good one: every process knows within seconds."""
    deadline = time.monotonic() + 30
    while (status := ask().status_code) < 400:
        assert time.monotonic() < deadline, "it is still let in"
        time.sleep(0.2)
    return status
