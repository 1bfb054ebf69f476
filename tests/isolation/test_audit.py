"""Reading the log writes the log: each route's call is an event of its tenant, with who, what was asked and how many.

A route that is added to the API needs a row in `api.audited` and in `test_roles`, and is tested here by that.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

import pytest

from api import PREFIX
from api.audited import PUBLIC, RULES, When
from core.access import Role
from core.audit import PLATFORM_TENANT
from core.tenant import Tenant
from tests.isolation.test_roles import ROWS
from tests.service import Client, Service
from tests.streams import Follower, Socket

Event = dict[str, Any]
AGENT: Final = "Auditors/1.0"


def own_events(client: Client, **filters: Any) -> list[Event]:
    """The events of the access audit that came so far, the oldest first."""
    client.complete()
    found = client.get("/logs", params={"action": "ocelot.*", "limit": 1000, "sort": "received_at", **filters}).json()
    assert found["next_cursor"] is None
    return list(found["data"])


def called(client: Client, method: str, url: str, request_id: str, request: Mapping[str, Any]) -> int:
    headers = {"X-Request-Id": request_id, "User-Agent": AGENT}
    with client.stream(method, url, headers=headers, **request) as response:
        if "event-stream" not in response.headers.get("Content-Type", ""):
            response.read()
        return response.status_code


def key_of(route: tuple[str, str]) -> tuple[str, str]:
    return route[0].upper(), route[1].removeprefix(PREFIX)


AUDITED: Final = [route for route in ROWS if key_of(route) not in PUBLIC]


@pytest.fixture(scope="module")
def admin(running: Service) -> Client:
    return running.tenant("audited")


@pytest.fixture(scope="module")
def platform_log(running: Service) -> Client:
    """A reader of the platform's own log."""
    return running.client(Tenant(PLATFORM_TENANT, "", b"", 0), Role.READER)


@pytest.fixture(scope="module")
def calls(running: Service, admin: Client, platform_log: Client) -> dict[tuple[str, str, str], tuple[int, list[Event]]]:
    """Each audited route, asked by one who may and one who may not: the status and the events of that request."""
    allowed = {"platform": running.client(None, Role.PLATFORM), "admin": admin}
    refused = {"platform": admin, "admin": running.client(admin.tenant, Role.VIEWER)}
    asked: dict[tuple[str, str, str], tuple[int, str]] = {}
    for route in AUDITED:
        row = ROWS[route]
        kind = "admin" if "admin" in row.allowed else "platform"
        for who, client in (("allowed", allowed[kind]), ("refused", refused[kind])):
            if who == "refused" and (row.roles == "anyone" or "viewer" in row.allowed):
                continue
            request_id = secrets.token_hex(8)
            url = running.url + route[1].format(**row.made(admin))
            asked[*route, who] = called(client, route[0], url, request_id, row.request), request_id
    by_request: dict[str, list[Event]] = {}
    for event in (*own_events(admin), *own_events(platform_log)):
        by_request.setdefault(event.get("request_id", ""), []).append(event)  # "": a job's end is nobody's request
    return {call: (status, by_request.get(request_id, [])) for call, (status, request_id) in asked.items()}


@pytest.mark.parametrize("route", AUDITED, ids=" ".join)
def test_a_call_is_on_record(
    calls: dict[tuple[str, str, str], tuple[int, list[Event]]], admin: Client, route: tuple[str, str]
) -> None:
    method, path = key_of(route)
    rule = RULES[method, path]
    status, events = calls[*route, "allowed"]
    if route == ("post", "/api/v1/token"):  # asked without a good key: nobody's
        assert events == []
        return
    if rule.when is When.REFUSED:
        assert events == []
        return
    # What is set for a tenant is on record by itself: test_access_audit.
    events = [event for event in events if event["action"] != "ocelot.tenant.change"]
    assert [event["action"] for event in events] == [rule.action] * (2 if rule.when is When.AROUND else 1)
    for event in events:
        assert event["user_agent"] == AGENT
        assert event["ip_address"] == "127.0.0.1"
        assert event["source"] == "ocelot"
        assert event["metadata"]["call"] == f"{method} {path}"
        assert event["user_id"] == ("test" if path != "/downloads/{link}" else event["user_id"])
        assert event["resource_type"] == rule.noun
    last = events[-1]
    assert last["metadata"]["status"] == status
    assert last["outcome"] == ("success" if status < 400 else "failure")
    if rule.when is When.AROUND:
        assert "outcome" not in events[0]
        assert [event["metadata"]["phase"] for event in events] == ["start", "end"]
        assert last["metadata"]["start"] == events[0]["id"]
    if status < 300 and status != 204:
        assert last["metadata"]["count"] >= 0


@pytest.mark.parametrize("route", AUDITED, ids=" ".join)
def test_a_refused_call_is_on_record(
    calls: dict[tuple[str, str, str], tuple[int, list[Event]]], route: tuple[str, str]
) -> None:
    if (*route, "refused") not in calls:
        return
    status, events = calls[*route, "refused"]
    assert status == 403
    [event] = events
    assert (event["action"], event["outcome"]) == (RULES[key_of(route)].action, "denied")
    assert (event["metadata"]["status"], event["metadata"]["error"]) == (403, "forbidden")
    assert event["severity"] == "WARNING"


def test_who_asked_what_and_found_how_many(running: Service) -> None:
    """Not shown unless asked for: neither in pages and counts, nor in exports, nor by a viewer's link."""
    admin = running.tenant("who")
    ids = [admin.ingest({"action": "made", "user_id": user}) for user in ("ana", "ana", "ben")]
    admin.found(2, user_id="ana")
    tree = {"query": {"field": "user_id", "equals": "ana"}, "limit": 1}
    saved = admin.post("/searches", json={"name": "hers", "query": {"query": tree["query"]}}).json()
    request = {"X-Request-Id": secrets.token_hex(8)}
    again = {"X-Request-Id": secrets.token_hex(8)}
    assert len(admin.get(f"/searches/{saved['id']}/results", headers=again).json()["data"]) == 2
    assert len(admin.post("/logs/search", json=tree, headers=request).json()["data"]) == 1
    assert len(admin.get("/logs/export", headers=request).text.splitlines()) == 3
    assert admin.get(f"/logs/{ids[0]}", headers=request).status_code == 200
    assert admin.get("/logs/stats", params={"by": "user_id"}, headers=request).json()["total"]["count"] == 3
    events = own_events(admin, request_id=request["X-Request-Id"])
    by_action = {event["metadata"].get("phase", "") + event["action"]: event for event in events}
    searched = by_action["ocelot.log.search"]["metadata"]
    assert (searched["body"], searched["count"], searched["total"]) == (tree, 1, 2)
    [ran] = own_events(admin, request_id=again["X-Request-Id"])
    assert (ran["resource_id"], ran["metadata"]["count"]) == (saved["id"], 2)
    assert ran["metadata"]["body"] == {"search": saved["query"]}, (
        "which may have changed by the time that somebody asks"
    )
    exported = by_action["endocelot.log.export"]["metadata"]
    assert (exported["count"], exported["cut_off"], exported["status"]) == (3, False, 200)
    assert by_action["ocelot.event.read"]["resource_id"] == ids[0]
    counted = by_action["ocelot.log.count"]["metadata"]
    assert (counted["query"], counted["total"], counted["total_exact"]) == ({"by": ["user_id"]}, 3, True)

    admin.found(3)
    assert admin.found(3, action="*")["answered_by"] == "index"
    admin.found(0, action="*", source="ocelot")
    with running.client(admin.tenant, Role.VIEWER) as viewer:
        assert viewer.get("/logs").json()["total"] == 3
        assert viewer.get("/logs", params={"action": "ocelot.*"}).json()["total"] == 0
        own = by_action["ocelot.log.search"]["id"]
        assert viewer.get(f"/logs/{own}").status_code == 404
    assert admin.get(f"/logs/{own}").json()["action"] == "ocelot.log.search"


def test_a_follower_of_the_audit_sees_others_and_starts_no_loop(running: Service) -> None:
    admin = running.tenant("followed")
    with Follower(admin, action="ocelot.*") as own, Follower(admin) as plain, Socket(admin) as socket:
        for follower in (own, plain, socket):
            follower.started()
        searched = secrets.token_hex(8)
        admin.get("/logs", headers={"X-Request-Id": searched})
        own.until(lambda: searched in "".join(own.raw))
        sent = admin.ingest({"action": "made"})
        assert plain.events(1) == socket.events(1) == [sent]
        time.sleep(1.5)
        assert len(own.ids()) <= 4, "two starts of the others, perhaps its own, and a search"
    deadline = time.monotonic() + 30
    while True:
        events = own_events(admin, action="ocelot.log.stream")
        ends = [event["metadata"] for event in events if event["metadata"]["phase"] == "end"]
        if len(ends) == 3 or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert len(events) == 6
    assert sorted(end["count"] for end in ends)[:2] == [1, 1]
    assert {end["reason"] for end in ends} == {"client_gone"}


def test_a_token_that_is_no_good_any_more_is_on_record(running: Service) -> None:
    admin = running.tenant("expired")
    with running.client(admin.tenant, Role.ADMIN, lifetime=-60) as expired:
        assert expired.get("/logs").json()["code"] == "token_expired"
    assert admin.get("/logs", headers={"Authorization": "Bearer x.y.z"}).status_code == 401
    [event] = own_events(admin, outcome="denied")
    assert (event["metadata"]["status"], event["metadata"]["error"]) == (401, "token_expired")


def test_a_switch_to_best_effort_is_on_record(running: Service) -> None:
    admin, platform = running.tenant("switched"), running.client(None, Role.PLATFORM)
    assert admin.tenant is not None
    changed = platform.patch(f"/tenants/{admin.tenant.id}", json={"access_audit": "best_effort"})
    assert changed.status_code == 200
    events = own_events(admin, resource_id=admin.tenant.id)
    assert [event["action"].rsplit(".", 1)[1] for event in events] == ["update", "change", "update"]
    before, after = events[1]["before_state"], events[1]["after_state"]
    assert (before["access_audit"], after["access_audit"]) == ("strict", "best_effort")
    assert "secret" not in str(events)
    for body in ({"access_audit": "best_effort"}, {"status": "suspended"}):
        refused = platform.patch(f"/tenants/{PLATFORM_TENANT}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "platform_tenant")
