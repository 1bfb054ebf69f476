"""Saved searches over HTTP: kept as written, run as of now, changed by their owner and administrators alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.access import Role
from core.searches import MAX_QUERY_BYTES
from tests.flow.refusals import post, problem
from tests.flow.test_search import settled
from tests.service import Client, Service

TREE: dict[str, Any] = {"or": [{"field": "user_id", "equals": "ana"}, {"field": "metadata.n", "equals": 1.0}]}


def reader(running: Service, admin: Client, subject: str) -> Client:
    """A reader of the admin's tenant with a subject of its own."""
    assert admin.tenant is not None
    issued = running.issuer().issue(subject=subject, tenant_id=admin.tenant.id, roles=[Role.READER], lifetime=600)
    return Client(running.url, issued, admin.tenant)


def save(client: Client, query: Any, name: str = "kept") -> dict[str, Any]:
    response = client.post("/searches", json={"name": name, "query": query})
    assert response.status_code == 201, response.text
    search: dict[str, Any] = response.json()
    assert response.headers["Location"] == f"/api/v1/searches/{search['id']}"
    return search


def test_a_search_is_kept_as_it_was_written(tenant: Client) -> None:
    written = b'{"sort":"timestamp", "query": {"field": "metadata.n", "equals": [1.0, 1e5]}}'
    answer = post(tenant, "/searches", b'{"name": " Caf\\u00e9 ", "query": ' + written + b"}")
    assert answer.status_code == 201
    assert written in answer.content
    made = answer.json()
    assert (made["name"], made["owner"]) == ("Café", "test")
    assert tenant.get(f"/searches/{made['id']}").content == answer.content
    assert tenant.get("/searches").json() == {"data": [made], "next_cursor": None, "total": 1}
    changed = tenant.put(f"/searches/{made['id']}", json={"name": "Other", "query": "user_id=ana"})
    assert changed.status_code == 200
    assert changed.json() | {"updated_at": None} == made | {"name": "Other", "query": "user_id=ana", "updated_at": None}
    assert changed.json()["updated_at"] > made["updated_at"]
    assert tenant.get(f"/searches/{made['id']}").json() == changed.json()
    gone = tenant.delete(f"/searches/{made['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    for method in ("GET", "DELETE"):
        problem(tenant.request(method, f"/searches/{made['id']}"), 404, "not_found")
    problem(tenant.put(f"/searches/{made['id']}", json={"name": "x", "query": ""}), 404, "not_found")
    assert tenant.get("/searches").json()["total"] == 0


def test_both_forms_run_and_page(tenant: Client) -> None:
    for n in range(6):
        tenant.ingest({"action": f"a.{n}", "user_id": "ana" if n % 2 else "ben", "metadata": {"n": n}})
    tenant.ingest({"action": "old", "user_id": "ana", "timestamp": "2001-01-01T00:00:00Z"})
    settled(tenant, 7)
    for query, expected in (
        ("user_id=ana&from=-1h&sort=timestamp", ["a.1", "a.3", "a.5"]),
        ("?action=a.*&user_id!=ana", ["a.4", "a.2", "a.0"]),
        ({"query": TREE, "sort": "received_at", "to": "now"}, ["a.1", "a.3", "a.5", "old"]),
        ({}, ["a.5", "a.4", "a.3", "a.2", "a.1", "a.0", "old"]),
        ("", ["a.5", "a.4", "a.3", "a.2", "a.1", "a.0", "old"]),
    ):
        path = f"/searches/{save(tenant, query)['id']}/results"
        whole = tenant.get(path).json()
        assert [event["action"] for event in whole["data"]] == expected
        assert (whole["total"], whole["answered_by"]) == (len(expected), "index")
        seen: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            answer = tenant.get(path, params={"limit": 2, "fields": "action", **cursor}).json()
            seen += [event["action"] for event in answer["data"]]
            if answer["next_cursor"] is None:
                break
            cursor = {"cursor": answer["next_cursor"]}
        assert seen == expected


def test_a_cursor_ends_with_its_query(tenant: Client) -> None:
    for n in range(3):
        tenant.ingest({"action": f"a.{n}"})
    settled(tenant, 3)
    search = save(tenant, "action=a.*")
    path = f"/searches/{search['id']}"
    cursor = tenant.get(f"{path}/results", params={"limit": 1}).json()["next_cursor"]
    tenant.put(path, json={"name": "renamed", "query": "action=a.*"})
    assert tenant.get(f"{path}/results", params={"limit": 1, "cursor": cursor}).status_code == 200
    tenant.put(path, json={"name": "renamed", "query": "action=b.*"})
    refused = tenant.get(f"{path}/results", params={"limit": 1, "cursor": cursor})
    problem(refused, 400, "cursor_of_another_query")


def test_its_owner_and_administrators_change_it_and_other_readers_see_it(running: Service, tenant: Client) -> None:
    ana, ben = reader(running, tenant, "ana"), reader(running, tenant, "ben")
    made = save(ana, "user_id=ana")
    path, changed = f"/searches/{made['id']}", {"name": "changed", "query": "user_id=ben"}
    assert made["owner"] == "ana"
    assert ben.get(path).json() == made
    assert ben.get("/searches").json()["data"] == [made]
    assert ben.get(f"{path}/results").status_code == 200
    problem(ben.put(path, json=changed), 403, "forbidden")
    problem(ben.delete(path), 403, "forbidden")
    assert ben.get(path).json() == made
    assert ana.put(path, json=changed).json()["name"] == "changed"
    by_admin = tenant.put(path, json=changed | {"name": "by admin"}).json()
    assert (by_admin["name"], by_admin["owner"]) == ("by admin", "ana")
    assert ana.delete(path).status_code == 204
    assert tenant.delete(f"/searches/{save(ben, '')['id']}").status_code == 204


def test_the_list_pages_with_the_newest_first(tenant: Client) -> None:
    ids = [save(tenant, "", f"n{n}")["id"] for n in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = tenant.get("/searches", params={"limit": 2, **cursor}).json()
        assert page["total"] == 5
        seen += [search["id"] for search in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("body", "status", "code", "place"),
    [
        ([], 422, "invalid_request", []), ({}, 422, "invalid_request", ["name"]),
        ({"name": "x"}, 422, "invalid_request", ["query"]),
        ({"name": "", "query": ""}, 422, "invalid_request", ["name"]),
        ({"name": " ", "query": ""}, 422, "invalid_request", ["name"]),
        ({"name": "x" * 201, "query": ""}, 422, "invalid_request", ["name"]),
        ({"name": 5, "query": ""}, 422, "invalid_request", ["name"]),
        ({"name": "x", "query": 5}, 422, "invalid_request", ["query"]),
        ({"name": "x", "query": None}, 422, "invalid_request", ["query"]),
        ({"name": "x", "query": "", "owner": "me"}, 422, "invalid_request", ["owner"]),
        ({"name": "x", "query": "user_id=" + "x" * MAX_QUERY_BYTES}, 422, "invalid_request", ["query"]),
        ({"name": "x", "query": "colour=red"}, 400, "invalid_query", ["query", "colour"]),
        ({"name": "x", "query": "from=yesterday"}, 400, "invalid_query", ["query", "from"]),
        ({"name": "x", "query": "limit=5"}, 400, "invalid_query", ["query", "limit"]),
        ({"name": "x", "query": {"cursor": "x"}}, 400, "invalid_query", ["query", "cursor"]),
        ({"name": "x", "query": {"query": {"or": [{"field": "colour", "equals": "red"}]}}}, 400, "invalid_query",
         ["query", "query", "or", 0, "field"]),
    ],
)  # fmt: skip
def test_what_is_no_search_is_refused_by_its_place(
    running: Service, searched: Client, body: Any, status: int, code: str, place: list[Any]
) -> None:
    refused = problem(searched.post("/searches", json=body), status, code)
    assert refused["errors"][0]["loc"] == place
    there = searched.get("/searches").json()["data"][0]
    problem(searched.put(f"/searches/{there['id']}", json=body), status, code)
    assert searched.get("/searches").json()["data"] == [there]


@pytest.fixture(scope="module")
def searched(running: Service) -> Client:
    client = running.tenant()
    save(client, "user_id=ana")
    return client


def test_other_bad_requests(searched: Client) -> None:
    [there] = searched.get("/searches").json()["data"]
    problem(post(searched, "/searches", b'{"name":"x","name":"y","query":""}'), 400, "invalid_query")
    problem(post(searched, "/searches", b'{"name":"x\\ud800","query":""}'), 400, "lone_surrogate")
    problem(post(searched, "/searches", b"{"), 400, "malformed_json")
    problem(post(searched, "/searches", b"{}", "text/plain"), 415, "unsupported_media_type")
    problem(post(searched, "/searches", json.dumps({"name": "x" * 70_000}).encode()), 413, "body_too_large")
    for path in ("nothing", "01a1fdf2-d2cc-7e1f-94f5-0939230d076e", there["id"].upper(), there["id"] + "0"):
        problem(searched.get(f"/searches/{path}"), 404, "not_found")
        problem(searched.get(f"/searches/{path}/results"), 404, "not_found")
    for query in ("limit=0", "limit=x", "colour=red", "user_id=ana", "from=-1h"):
        problem(searched.get(f"/searches?{query}"), 400, "invalid_query")
        problem(searched.get(f"/searches/{there['id']}/results?{query}"), 400, "invalid_query")
    problem(searched.get("/searches?cursor=x"), 400, "bad_cursor")
    problem(searched.get(f"/searches/{there['id']}/results?cursor=x"), 400, "bad_cursor")
