"""Legal holds over HTTP: placed, listed, released, and refused for what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service import Client, Service

GOOD: dict[str, Any] = {"search": {"query": {"field": "user_id", "equals": "ana"}}, "reason": "a court's file"}


@pytest.fixture(scope="module")
def admin(running: Service) -> Client:
    client = running.tenant("held")
    client.post("/logs/bulk", json=[{"action": "x", "user_id": user, "metadata": {"n": 1}} for user in ("ana", "ben")])
    client.found(2)
    return client


def test_a_hold_is_placed_read_listed_and_released(admin: Client) -> None:
    made = admin.post("/holds", json=GOOD)
    assert (made.status_code, made.headers["Location"]) == (201, f"/api/v1/holds/{made.json()['id']}")
    hold = made.json()
    assert (hold["search"], hold["matched"], hold["matched_relation"]) == (GOOD["search"], 1, "exact")
    assert (hold["reason"], hold["made_by"], hold["released_at"]) == (GOOD["reason"], "test", None)
    assert admin.get(f"/holds/{hold['id']}").json() == hold
    everything = admin.post("/holds", json={"search": {}, "reason": "all"}).json()
    free = admin.post("/holds", json={"search": {"query": {"field": "metadata.n", "equals": 1}}, "reason": "r"}).json()
    assert (everything["matched"], free["matched"]) == (2, 2)
    first = admin.get("/holds", params={"limit": 2}).json()
    assert first == {"data": [free, everything], "next_cursor": everything["id"]}
    rest = admin.get("/holds", params={"cursor": first["next_cursor"]}).json()
    assert rest == {"data": [hold], "next_cursor": None}
    released = admin.post(f"/holds/{hold['id']}/release", json={"reason": "settled"}).json()
    assert released == hold | {k: released[k] for k in ("released_at", "released_by", "release_reason")}
    assert (released["released_by"], released["release_reason"]) == ("test", "settled")
    again = admin.post(f"/holds/{hold['id']}/release", json={"reason": "settled"})
    assert (again.status_code, again.json()["code"]) == (409, "hold_released")
    assert admin.get(f"/holds/{hold['id']}").json() == released


def test_a_hold_that_matches_nothing_is_refused(admin: Client) -> None:
    before = admin.get("/holds").json()
    for search in ({"query": {"field": "user_id", "equals": "nobody"}}, {"to": "1970-01-02T00:00:00Z"}):
        answer = admin.post("/holds", json={"search": search, "reason": "r"})
        assert (answer.status_code, answer.json()["code"]) == (422, "hold_matches_nothing"), answer.text
    assert admin.get("/holds").json() == before


BAD: dict[str, tuple[dict[str, Any], int, list[str]]] = {
    "no search": ({"reason": "r"}, 400, ["search"]),
    "a null search": ({"reason": "r", "search": None}, 400, ["search"]),
    "no reason": ({"search": {}}, 422, ["reason"]),
    "a blank reason": ({"search": {}, "reason": "  "}, 422, ["reason"]),
    "a number as reason": ({"search": {}, "reason": 7}, 422, ["reason"]),
    "a long reason": ({"search": {}, "reason": "x" * 1001}, 422, ["reason"]),
    "another member": ({"search": {}, "reason": "r", "tenant": "x"}, 422, ["tenant"]),
    "a page": ({"search": {"limit": 5}, "reason": "r"}, 400, ["search", "limit"]),
    "a field that is none": (
        {"search": {"query": {"not": {"field": "x", "equals": "1"}}}, "reason": "r"},
        400,
        ["search", "query", "not", "field"],
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_with_a_hold_is_named_by_its_place(admin: Client, kind: str) -> None:
    body, status, place = BAD[kind]
    answer = admin.post("/holds", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (status, place), answer.text


def test_other_bad_requests_are_refused(admin: Client) -> None:
    cases = [
        (admin.post("/holds", params={"user_id": "ana"}, json=GOOD), 400, "invalid_query"),
        (admin.post("/holds", content=b"[]", headers={"Content-Type": "application/json"}), 422, "invalid_request"),
        (admin.get("/holds", params={"limit": 0}), 400, "invalid_query"),
        (admin.get("/holds", params={"cursor": "x"}), 400, "bad_cursor"),
        (admin.get("/holds", params={"state": "x"}), 400, "invalid_query"),
        (admin.get("/holds/x"), 404, "not_found"),
        (admin.post(f"/holds/{'0' * 8}/release", json={"reason": "r"}), 404, "not_found"),
        (admin.post(f"/holds/{'0' * 8}/release", json={}), 422, "invalid_request"),
    ]
    assert [(answer.status_code, answer.json()["code"]) for answer, *_ in cases] == [(s, c) for _, s, c in cases]
