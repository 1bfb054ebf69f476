"""A viewer link reaches the events of its filter: by every route, and by nothing else of the service."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from core import credentials
from core.access import Role
from infra.local.servers import free_port
from tests.isolation.test_roles import ROWS
from tests.service import Client, Process, Service

FILTERS: dict[str, Any] = {
    "a named field": {"field": "user_id", "equals": "ana"},
    "free-form data": {"field": "metadata.customer", "equals": "client-1"},
    "a tree": {"or": [{"and": [{"field": "action", "prefix": "file."}, {"field": "user_id", "equals": "ana"}]},
                      {"field": "source", "equals": "only-ana"}]},
    "not another's": {"and": [{"not": {"field": "metadata.customer", "equals": "client-2"}},
                              {"field": "metadata.customer", "exists": True}]},
    "full text": {"text": "Ana"},
}  # fmt: skip


def event(customer: int, user: str, n: int) -> dict[str, Any]:
    return {
        "action": "file.read", "user_id": user, "message": f"{user.title()} read {n}", "trace_id": "t",
        "request_id": "r",
        "timestamp": f"2026-11-01T10:00:{n:02}Z", "metadata": {"customer": f"client-{customer}", "n": n},
        "before_state": {"n": 0}, "after_state": {"n": n + 1},
    }  # fmt: skip


@dataclass
class Log:
    """A tenant's log: `mine` are the ids that every filter of `FILTERS` finds."""

    admin: Client
    mine: list[str]
    others: list[str]

    def silent(self, response: httpx.Response) -> httpx.Response:
        """The response, which shows nothing of the events beyond the filter."""
        shown = response.text + str(response.headers)
        assert not [hidden for hidden in ("client-2", "Ben ", '"ben"', *self.others) if hidden in shown]
        return response


@pytest.fixture(scope="module")
def log(running: Service) -> Log:
    admin = running.tenant("viewed")
    ids: list[list[str]] = []
    for customer, user in ((1, "ana"), (2, "ben")):
        answer = admin.post("/logs/bulk", json=[event(customer, user, n) for n in range(10)])
        ids.append([item["id"] for item in answer.json()["items"]])
    admin.found(20)
    admin.found(10, q="Ana")
    return Log(admin, *ids)


def link(client: Client, **body: Any) -> dict[str, Any]:
    response = client.post("/viewer-links", json={"filter": FILTERS["a named field"], **body})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


def client_of(running: Service, made: dict[str, Any]) -> Client:
    return Client(running.url, made["token"])


@pytest.fixture(scope="module", params=FILTERS)
def viewer(running: Service, log: Log, request: pytest.FixtureRequest) -> Iterator[Client]:
    client = client_of(running, link(log.admin, filter=FILTERS[request.param]))
    yield client
    client.close()


def test_a_search_finds_what_the_filter_does(log: Log, viewer: Client) -> None:
    for asked in ({}, {"q": "read"}, {"metadata.customer": "*"}, {"user_id": "*"}, {"user_id": "!nobody"},
                  {"sort": "received_at"}, {"from": "1970-01-01T00:00:00Z"}, {"id": [*log.mine, *log.others]},
                  {"source": "!x"}, {"message": "read"}, {"changed_paths": "/n"}):  # fmt: skip
        answer = log.silent(viewer.get("/logs", params={"limit": 1000, **asked})).json()
        assert ({found["id"] for found in answer["data"]}, answer["total"]) == (set(log.mine), 10), asked
    for asked in (
        {"user_id": "ben"},
        {"metadata.customer": "client-2"},
        {"q": "Ben"},
        {"id": log.others},
        {"user_id": "!ana"},
    ):
        answer = viewer.get("/logs", params=asked).json()
        assert (answer["total"], answer["data"], answer["next_cursor"]) == (0, [], None), asked


def test_a_tree_finds_what_the_filter_does(log: Log, viewer: Client) -> None:
    everything = {"or": [{"field": "action", "exists": True}, {"field": "action", "exists": False}]}
    for query in (
        everything,
        {"not": {"not": everything}},
        {"not": {"field": "user_id", "equals": "nobody"}},
        {"text": "read"},
    ):
        answer = log.silent(viewer.post("/logs/search", json={"query": query, "limit": 1000})).json()
        assert ({found["id"] for found in answer["data"]}, answer["total"]) == (set(log.mine), 10), query


@pytest.mark.parametrize("asked", [{}, {"q": "read"}, {"user_id": "!nobody"}, {"metadata.customer": "*"}], ids=str)
def test_an_export_holds_what_the_filter_finds(log: Log, viewer: Client, asked: dict[str, str]) -> None:
    answer = log.silent(viewer.get("/logs/export", params={"format": "ndjson", **asked}))
    assert answer.status_code == 200, answer.text
    assert {json.loads(line)["id"] for line in answer.text.splitlines()} == set(log.mine)


def test_the_figures_are_those_of_what_the_filter_finds(log: Log, viewer: Client) -> None:
    counted = {"by": ["user_id", "action"], "distinct": "user_id", "interval": "1s"}
    for asked in ({}, {"q": "read"}, {"user_id": "!nobody"}, {"id": [*log.mine, *log.others]}, {"interval": "none"}):
        answer = log.silent(viewer.get("/logs/stats", params={**counted, **asked})).json()
        assert answer["total"]["count"] == 10, asked
        assert answer["groups"][0]["values"] == [{"value": "ana", "count": 10}]
        assert (answer["groups"][0]["other"], answer["groups"][0]["missing"], answer["distinct"][0]["count"]) == (
            0,
            0,
            1,
        )
        if answer["timeline"] is not None:
            assert [bucket["count"] for bucket in answer["timeline"]["buckets"]] == [1] * 10
    answer = viewer.get("/logs/stats", params={"user_id": "ben", "by": "user_id"}).json()
    assert (answer["total"]["count"], answer["groups"][0]["values"]) == (0, [])


@pytest.mark.parametrize("path", ["/logs/trace/t", "/logs/request/r"])
def test_a_story_tells_what_the_filter_finds(log: Log, viewer: Client, path: str) -> None:
    answer = log.silent(viewer.get(path)).json()
    assert ([found["id"] for found in answer["data"]], answer["total"]) == (log.mine, 10)


@pytest.mark.parametrize("path", ["/logs/{}", "/logs/{}/changes", "/logs/{}?wait=0.2", "/logs/{}?fields=metadata"])
def test_an_event_beyond_the_filter_is_not_there(log: Log, viewer: Client, path: str) -> None:
    request = {"X-Request-Id": "same"}
    assert viewer.get(path.format(log.mine[0])).status_code == 200
    answer = log.silent(viewer.get(path.format(log.others[0]), headers=request))
    unknown = viewer.get(path.format("0" * 8 + "-0000-0000-0000-" + "0" * 12), headers=request)
    assert (answer.status_code, answer.content) == (404, unknown.content)
    etag = log.admin.get(path.format(log.others[0])).headers["ETag"]
    assert viewer.get(path.format(log.others[0]), headers={"If-None-Match": etag}).status_code == 404


def test_pages_go_through_the_filter_and_cursors_belong_to_it(log: Log, viewer: Client) -> None:
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 3}
    while True:
        answer = log.silent(viewer.get("/logs", params=asked)).json()
        seen += [found["id"] for found in answer["data"]]
        if answer["next_cursor"] is None:
            break
        asked["cursor"] = answer["next_cursor"]
    assert seen == log.mine[::-1]
    foreign = log.admin.get("/logs", params={"limit": 3}).json()["next_cursor"]
    answer = log.silent(viewer.get("/logs", params={"limit": 3, "cursor": foreign}))
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_of_another_query")
    assert log.admin.get("/logs", params={"limit": 3, "cursor": asked["cursor"]}).status_code == 400


OPEN = {
    ("get", "/api/v1/logs"), ("post", "/api/v1/logs/search"), ("get", "/api/v1/logs/{event_id}"),
    ("get", "/api/v1/logs/{event_id}/changes"), ("get", "/api/v1/logs/trace/{trace_id}"),
    ("get", "/api/v1/logs/request/{request_id}"), ("get", "/api/v1/logs/export"), ("get", "/api/v1/logs/stats"),
}  # fmt: skip
"""What a viewer reaches; each has a test here that it keeps to the filter."""


def test_every_route_beyond_these_refuses_a_viewer(running: Service, log: Log, viewer: Client) -> None:
    """A route that is added is refused, or gets a test here."""
    assert {route for route, row in ROWS.items() if "viewer" in row.allowed and row.roles != "anyone"} == OPEN
    for (method, path), row in ROWS.items():
        if (method, path) in OPEN or row.roles == "anyone":
            continue
        answer = viewer.request(method, running.url + path.format(**row.made(log.admin)), **row.request)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path


def test_who_made_a_link_is_recorded_and_its_token_is_not(running: Service, log: Log) -> None:
    reader = running.client(log.admin.tenant, Role.READER)
    made = link(reader, label="portal", expires_in=60)
    assert (made["label"], made["made_by"], made["filter"]) == ("portal", "test", FILTERS["a named field"])
    listed = log.admin.get("/viewer-links").json()["data"]
    assert [each["id"] for each in listed] == sorted((each["id"] for each in listed), reverse=True)
    record = next(each for each in listed if each["id"] == made["id"])
    assert record == {name: value for name, value in made.items() if name != "token"}
    assert log.admin.get("/viewer-links", params={"before": made["id"]}).json()["data"][:1] != [record]
    assert log.admin.get("/viewer-links", params={"before": "x"}).status_code == 400


@pytest.fixture(scope="module")
def second(running: Service) -> Iterator[str]:
    port = free_port()
    process = Process("api.main", running.environment | {"PORT": str(port)}, port, "/api/v1/health")
    process.start()
    yield f"http://127.0.0.1:{port}"
    process.stop()


def ended(url: str, token: str, code: str) -> None:
    """The token ends with this code within seconds."""
    with Client(url, token) as client:
        deadline = time.monotonic() + 20
        while (answer := client.get("/logs")).status_code == 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert (answer.status_code, answer.json()["code"]) == (401, code)


def test_a_link_ends_when_it_is_revoked(running: Service, log: Log, second: str) -> None:
    made = link(log.admin)
    assert log.admin.delete(f"/viewer-links/{made['id']}").status_code == 204
    ended(running.url, made["token"], "token_revoked")
    ended(second, made["token"], "token_revoked")
    assert log.admin.delete(f"/viewer-links/{made['id']}").status_code == 204
    record = next(each for each in log.admin.get("/viewer-links").json()["data"] if each["id"] == made["id"])
    assert record["revoked_at"] is not None
    assert log.admin.delete(f"/viewer-links/{'0' * 32}").status_code == 404


def test_a_link_ends_with_the_key_that_made_it(running: Service, log: Log) -> None:
    async def key(backends: Any) -> Any:
        return await credentials.create_key(backends.keys, log.admin.tenant, "portal", (Role.READER,))

    made_key, secret = running.with_backends(key)
    token = httpx.post(
        f"{running.url}/api/v1/token", data={"grant_type": "client_credentials"}, auth=(made_key.id, secret)
    ).json()["access_token"]
    with Client(running.url, token) as maker:
        made = link(maker)
        assert made["made_by"] == f"key:{made_key.id}"
        assert [each["id"] for each in maker.get("/viewer-links").json()["data"]] == [made["id"]]
        foreign = link(log.admin)
        assert maker.delete(f"/viewer-links/{foreign['id']}").status_code == 404
    assert log.admin.delete(f"/keys/{made_key.id}").status_code == 204
    ended(running.url, made["token"], "token_revoked")


def test_a_link_expires(running: Service, log: Log) -> None:
    ended(running.url, link(log.admin, expires_in=2)["token"], "token_expired")


def test_a_link_of_another_tenant_is_not_there(running: Service, log: Log) -> None:
    other = running.tenant("other")
    made = link(log.admin)
    assert other.delete(f"/viewer-links/{made['id']}").status_code == 404
    assert other.get("/viewer-links").json()["data"] == []
    with client_of(running, made) as viewer:
        assert viewer.get("/logs").json()["total"] == 10
        assert viewer.post("/viewer-links", json={"filter": {"field": "user_id", "exists": True}}).status_code == 403


BAD: dict[str, dict[str, Any]] = {
    "no filter": {"filter": ...},
    "a filter that is none": {"filter": {}},
    "null": {"filter": None},
    "an unknown field": {"filter": {"field": "tenant_id", "equals": "x"}},
    "too many": {"filter": {"or": [{"field": "user_id", "equals": f"u{n}"} for n in range(20)]}},
    "too many values": {"filter": {"field": "user_id", "equals": [f"u{n}" for n in range(100)]}},
    "too long": {"filter": {"field": "metadata.x", "equals": "x" * 4000}},
    "too many words": {"filter": {"text": "a b c d e f g"}},
    "for ever": {"expires_in": 86401},
    "for no time": {"expires_in": 0},
    "for a word": {"expires_in": "long"},
    "true": {"expires_in": True},
    "for centuries": {"expires_in": "0000000019999999999"},
    "in words": {"expires_in": "900"},
    "a fraction": {"expires_in": 1.5},
    "a number as label": {"label": 5},
    "a long label": {"label": "x" * 201},
    "a label that is none": {"label": [1]},
    "another member": {"tenant": "x"},
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_link_is_refused(log: Log, kind: str) -> None:
    body = {"filter": FILTERS["a named field"], **BAD[kind]}
    answer = log.admin.post("/viewer-links", json={name: value for name, value in body.items() if value is not ...})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query"), answer.text


def test_a_fault_of_the_filter_is_named_by_its_place(log: Log) -> None:
    answer = log.admin.post("/viewer-links", json={"filter": {"not": {"field": "tenant_id", "equals": "x"}}}).json()
    assert answer["errors"][0]["loc"] == ["body", "filter", "not", "field"]
    assert answer["detail"].startswith("filter.not.field ")


def test_a_query_that_is_too_large_with_the_filter_is_refused(log: Log, viewer: Client) -> None:
    parameters = [("user_id", f"u{n}") for n in range(256)]
    answer = viewer.get("/logs", params=parameters)
    assert answer.status_code == 400 or answer.json()["total"] == 0
