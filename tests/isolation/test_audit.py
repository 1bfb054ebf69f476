"""Reading the log writes the log: each route's call is an event of its tenant, with who, what was asked and how many.

A route that is added to the API needs a row in `api.audited` and in `test_roles`, and is tested here by that.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import pytest

from api.audited import PREFIX, PUBLIC, RULES, When
from core.access import Role
from core.audit import PLATFORM_TENANT
from core.tenant import Tenant
from tests.isolation.test_roles import ROWS
from tests.service import Client, Service

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
        by_request.setdefault(event["request_id"], []).append(event)
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
