"""`POST /logs/search` and the stories over HTTP: the answers of a look through all events' bytes."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest

from core import instant
from core.query import parse_body
from tests import brute
from tests.flow.refusals import post, problem
from tests.flow.test_search import BASE, EVENTS, Logged, settled
from tests.service import Client, Service

LEAVES: list[dict[str, Any]] = [
    {"field": "action", "equals": ["user.login", "doc.read"]}, {"field": "action", "prefix": "doc."},
    {"field": "user_id", "exists": True}, {"field": "user_id", "exists": False}, {"field": "tags", "equals": "red"},
    {"field": "ip_address", "cidr": ["10.0.0.0/16", "2001:db8::/32"]}, {"field": "ip_address", "equals": "10.0.0.9"},
    {"field": "metadata.user.age", "equals": [7, 8]}, {"field": "metadata.flag", "equals": True},
    {"field": "after_state.role", "prefix": "ed"}, {"field": "changed_paths", "equals": "/role"},
    {"field": "message", "phrase": "lazy dog"}, {"text": "quick"}, {"text": "ana"}, {"text": '"was here"'},
    {"field": "timestamp", "from": BASE.format("03"), "to": BASE.format("07")},
    {"field": "timestamp", "to": BASE.format(10)},
    {"field": "received_at", "from": "-1h"}, {"field": "user_id", "equals": "!odd*"},
    {"field": "severity", "equals": "INFO"},
]  # fmt: skip


def a_tree(dice: random.Random, levels: int = 3) -> dict[str, Any]:
    operator = dice.choice(["and", "or", "or", "not", "leaf"]) if levels else "leaf"
    if operator == "leaf":
        return dice.choice(LEAVES)
    if operator == "not":
        return {"not": a_tree(dice, levels - 1)}
    return {operator: [a_tree(dice, levels - 1) for _ in range(dice.randint(1, 3))]}


def bodies_of_queries() -> list[dict[str, Any]]:
    dice = random.Random(7)
    sorts = ["-timestamp", "timestamp", "-received_at", "received_at"]
    return [{"query": leaf} for leaf in LEAVES] + [
        {"query": a_tree(dice), "sort": dice.choice(sorts)} for _ in range(60)
    ]


QUERIES = bodies_of_queries()


@pytest.fixture(scope="module")
def logged(running: Service) -> Logged:
    return Logged(running.tenant())


def search(client: Client, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post("/logs/search", json=body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_the_answer_is_that_of_a_look_through_all_events(logged: Logged) -> None:
    sizes = []
    for body in QUERIES:
        expected = brute.answer(parse_body(json.dumps(body).encode(), instant.now_us()).query, logged.bodies)
        answer = search(logged.client, body)
        assert [event["id"] for event in answer["data"]] == expected, body
        assert (answer["total"], answer["total_relation"], answer["next_cursor"]) == (len(expected), "exact", None)
        assert answer["answered_by"] == "index"
        sizes.append(len(expected))
    assert sum(0 < size < len(EVENTS) for size in sizes) > len(QUERIES) / 2


def test_it_is_the_answer_of_the_url(logged: Logged) -> None:
    tree = {"field": "user_id", "equals": ["ana", "ben"]}
    by_url = logged.client.get("/logs", params={"user_id": ["ana", "ben"], "limit": 2})
    by_tree = logged.client.post("/logs/search", json={"query": tree, "limit": 2})
    assert by_tree.json()["data"] == by_url.json()["data"]
    assert set(by_tree.json()) == set(by_url.json())
    everything = logged.client.post("/logs/search", json={"sort": "received_at"}).content
    assert b'{"data":[' + b",".join(logged.bodies) + b"]," in everything


def test_fields_alone_can_be_asked_for_and_nothing_else_in_the_url(logged: Logged) -> None:
    answer = logged.client.post("/logs/search?fields=action", json={"query": LEAVES[4]}).json()
    assert [set(event) for event in answer["data"]] == [{"action"}] * 2
    refused = problem(logged.client.post("/logs/search?user_id=ana", json={}), 400, "invalid_query")
    assert refused["errors"][0]["loc"] == ["query", "user_id"]


@pytest.mark.parametrize("limit", [1, 4])
def test_pages_join_to_the_whole(logged: Logged, limit: int) -> None:
    body: dict[str, Any] = {"query": {"or": LEAVES[:4]}, "limit": limit}
    seen: list[str] = []
    while True:
        answer = search(logged.client, body)
        seen += [event["id"] for event in answer["data"]]
        if answer["next_cursor"] is None:
            break
        body["cursor"] = answer["next_cursor"]
    expected = brute.answer(parse_body(json.dumps({"query": body["query"]}).encode(), 0).query, logged.bodies)
    assert seen == expected


def test_a_cursor_is_good_for_its_query_alone(logged: Logged) -> None:
    tree = {"or": [{"field": "user_id", "exists": True}, {"field": "tags", "exists": True}]}
    cursor = search(logged.client, {"query": tree, "limit": 1})["next_cursor"]
    assert search(logged.client, {"limit": 5, "cursor": cursor, "query": tree})["data"]
    for other in ({"query": {"not": tree}}, {"query": tree, "sort": "timestamp"}, {"query": tree, "from": "-1h"}, {}):
        refused = logged.client.post("/logs/search", json={**other, "cursor": cursor})
        problem(refused, 400, "cursor_of_another_query")
    problem(logged.client.get("/logs", params={"cursor": cursor}), 400, "cursor_of_another_query")
    bad = logged.client.post("/logs/search", json={"query": tree, "cursor": cursor[:-2]})
    assert problem(bad, 400, "bad_cursor")["errors"][0]["loc"] == ["cursor"]


def test_a_fault_is_named_by_its_place(logged: Logged) -> None:
    tree = {"and": [LEAVES[0], {"or": [{"field": "colour", "equals": "red"}]}]}
    body = problem(logged.client.post("/logs/search", json={"query": tree}), 400, "invalid_query")
    assert body["errors"][0]["loc"] == ["query", "and", 1, "or", 0, "field"]
    assert "query.and[1].or[0].field" in body["detail"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"), (b"\xff", "application/json", 400, "invalid_utf8"),
        (b"{}", "text/plain", 415, "unsupported_media_type"), (b"[" * 9000, "application/json", 400, "invalid_query"),
        (b'{"query":{"text":"\\ud800"}}', "application/json", 400, "lone_surrogate"),
        (b'{"cursor":"' + b"x" * 70_000 + b'"}', "application/json", 413, "body_too_large"),
        (b'{"tenant_id":"x"}', "application/json", 400, "invalid_query"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_query_is_refused(logged: Logged, body: bytes, kind: str, status: int, code: str) -> None:
    problem(post(logged.client, "/logs/search", body, kind), status, code)


def test_what_is_too_large_says_what_to_change(logged: Logged) -> None:
    deep: dict[str, Any] = LEAVES[0]
    words = [{"text": " ".join(f"{letter}{n}" for n in range(20))} for letter in "vw"]
    for _ in range(9):
        deep = {"not": deep}
    for tree, said in (
        (deep, "too deep"),
        ({"or": [LEAVES[0]] * 65}, "several queries"),
        ({"field": "user_id", "equals": ["x"] * 257}, "several queries"),
        ({"and": words}, "words"),
    ):  # fmt: skip
        refused = logged.client.post("/logs/search", json={"query": tree})
        assert said in problem(refused, 400, "invalid_query")["detail"]


# Stories -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "field"), [("trace", "trace_id"), ("request", "request_id")])
def test_a_story_is_told_in_order_across_sources(running: Service, kind: str, field: str) -> None:
    client = running.tenant()
    name = "4bf92f35/77b34da6 *!"
    for n in (4, 1, 3, 0, 2):
        client.ingest({"action": f"step.{n}", field: name, "source": f"s{n % 3}", "timestamp": BASE.format(f"{n:02}")})
    client.ingest({"action": "other", field: name + "x"})
    client.ingest({"action": "none"})
    settled(client, 7)
    path = f"/logs/{kind}/{httpx.URL('', params={'p': name}).query[2:].decode().replace('+', '%20')}"
    whole = client.get(path).json()
    assert [event["action"] for event in whole["data"]] == [f"step.{n}" for n in range(5)]
    assert (whole["total"], whole["next_cursor"]) == (5, None)
    told: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = client.get(path, params={"limit": 2, **cursor}).json()
        told += [event["action"] for event in answer["data"]]
        if answer["next_cursor"] is None:
            break
        cursor = {"cursor": answer["next_cursor"]}
    assert told == [f"step.{n}" for n in range(5)]
    part = client.get(path, params={"from": BASE.format("01"), "to": BASE.format("03")}).json()
    assert [event["action"] for event in part["data"]] == ["step.1", "step.2"]
    thin = client.get(path, params={"fields": "action", "limit": 1}).json()
    assert thin["data"] == [{"action": "step.0"}]
    assert client.get(f"/logs/{kind}/unknown").json()["data"] == []
    problem(client.get(f"/logs/{kind}/unknown", params=cursor), 400, "cursor_of_another_query")
    problem(client.get(path, params={"sort": "timestamp"}), 400, "invalid_query")
    problem(client.get(path, params={"user_id": "x"}), 400, "invalid_query")
    problem(client.get(path, params={"limit": 0}), 400, "invalid_query")
    problem(client.get(f"/logs/{kind}/"), 404, "not_found")
