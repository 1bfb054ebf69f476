"""Routes, parameters and cursors that are none: refused by name."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.flow.refusals import problem
from tests.service import Client, Service


@pytest.fixture(scope="module")
def client(running: Service) -> Client:
    """One tenant for all: what is refused leaves nothing behind."""
    return running.tenant()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/logs", 405), ("DELETE", "/logs", 405), ("PATCH", "/logs/bulk", 405), ("GET", "/logs/bulk", 404),
        ("DELETE", "/logs/01a1fdf2-d2cc-7e1f-94f5-0939230d076e", 405), ("GET", "/token", 405),
        ("DELETE", "/tenants", 405),
        ("GET", "/nothing", 404), ("POST", "/logs/", 404), ("GET", "/logs/a/b", 404), ("POST", "/docs", 405),
        ("GET", "/docs/assets/../../main.py", 404), ("GET", "/docs/assets/%2e%2e/%2e%2e/main.py", 404),
        ("GET", "/docs/assets/%00", 404), ("GET", "/docs/assets/" + "x" * 5000, 404), ("GET", "/docs/assets/", 404),
    ],
)  # fmt: skip
def test_a_route_that_is_not_there_is_a_problem(client: Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    problem(response, status, {404: "not_found", 405: "method_not_allowed"}[status])
    if status == 405:
        assert response.headers["Allow"]


PARAMETERS: list[tuple[str, str]] = [
    ("q=", "q"), ("q=%20", "q"), ("q=" + "x" * 1025, "q"), ("q=a&q=b", "q"), ("limit=0", "limit"),
    ("limit=1001", "limit"), ("limit=-1", "limit"), ("limit=x", "limit"), ("limit=1.5", "limit"), ("limit=", "limit"),
    ("limit=%D9%A1", "limit"), ("limit=" + "9" * 5000, "limit"), ("limit=1&limit=2", "limit"), ("sort=id", "sort"),
    ("sort=", "sort"), ("sort=--timestamp", "sort"), ("sort=timestamp,id", "sort"), ("from=x", "from"),
    ("from=", "from"), ("from=2026-01-01", "from"), ("from=2026-01-01T00:00:00", "from"), ("from=-1y", "from"),
    ("from=1h", "from"), ("from=-1h&from=-2h", "from"), ("to=-99999999999h", "to"), ("to=2026-13-01T00:00:00Z", "to"),
    ("received_from=yesterday", "received_from"), ("received_to=0", "received_to"), ("colour=red", "colour"),
    ("tenant_id=x", "tenant_id"), ("timestamp=x", "timestamp"), ("salt=x", "salt"), ("metadata=x", "metadata"),
    ("metadata.=x", "metadata."), ("metadata..a=x", "metadata..a"), ("metadata.a.=x", "metadata.a."), ("user_id=",
    "user_id"), ("user_id=!", "user_id"), ("metadata.a=", "metadata.a"),
    ("ip_address=x", "ip_address"), ("ip_address=10.0.0.0/33", "ip_address"), ("ip_address=10.*", "ip_address"),
    ("ip_address=fe80::1%25eth0", "ip_address"), ("id=0*", "id"), ("message=a*", "message"),
    ("cursor=", "cursor"), ("cursor=x", "cursor"), ("cursor=" + "A" * 5000, "cursor"), ("cursor=%00", "cursor"),
    ("cursor=%C3%A9", "cursor"), ("cursor=a&cursor=b", "cursor"), ("!user_id=x", "!user_id"), ("_id=x", "_id"),
    ("$where=1", "$where"),
]  # fmt: skip


@pytest.mark.parametrize(("query", "named"), PARAMETERS, ids=[p[0][:40] for p in PARAMETERS])
def test_a_bad_parameter_is_refused_by_name(client: Client, query: str, named: str) -> None:
    response = client.get(f"/logs?{query}")
    code = "bad_cursor" if named == "cursor" and query.count("cursor") == 1 else "invalid_query"
    assert problem(response, 400, code)["errors"][0]["loc"] == ["query", named]


def test_too_many_conditions_and_values_are_refused(client: Client) -> None:
    problem(client.get("/logs?" + "&".join(f"metadata.a{n}=x" for n in range(65))), 400, "invalid_query")
    problem(client.get("/logs?" + "&".join(f"user_id={n}" for n in range(257))), 400, "invalid_query")
    problem(client.get("/logs", params={"q": " ".join(f"w{n}" for n in range(500))[:1024]}), 400, "invalid_query")


@pytest.mark.parametrize("wait", ["x", "-1", "31", "nan", "inf", "", "1e400"])
def test_a_bad_wait_is_refused_by_name(client: Client, wait: str) -> None:
    response = client.get("/logs/01a1fdf2-d2cc-7e1f-94f5-0939230d076e", params={"wait": wait})
    assert problem(response, 400, "invalid_query")["errors"][0]["loc"] == ["query", "wait"]


def test_a_cursor_is_good_for_its_tenant_and_query_alone(running: Service, client: Client, tenant: Client) -> None:
    for _ in range(3):
        tenant.ingest({"action": "paged", "user_id": "x"})
    cursor = tenant.found(3, action="paged", limit=1)["next_cursor"]

    def ask(who: Client, text: str, **query: Any) -> httpx.Response:
        return who.get("/logs", params={"action": "paged", "limit": 1, "cursor": text} | query)

    assert ask(tenant, cursor).status_code == 200
    assert ask(tenant, cursor, limit=2).status_code == 200
    problem(ask(client, cursor), 400, "bad_cursor")
    for query in ({"user_id": "x"}, {"action": "other"}, {"sort": "timestamp"}, {"from": "-1h"}):
        body = problem(ask(tenant, cursor, **query), 400, "cursor_of_another_query")
        assert body["errors"][0]["loc"] == ["query", "cursor"]
    for bad in (cursor[:-1], cursor[1:], cursor + "A", cursor + "=", cursor.swapcase(), cursor * 2, cursor[:-1] + "_"):
        problem(ask(tenant, bad), 400, "bad_cursor")
