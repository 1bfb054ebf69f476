"""A tenant's event catalogue over HTTP: kept in versions, shown, and checked at ingest by every API process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from core.access import Role
from infra.local.servers import free_port
from tests.service import Client, Process, Service

ACTIONS: dict[str, Any] = {
    "order.refunded": {
        "description": "Money went back.",
        "schema": {
            "required": ["user_id"],
            "properties": {"metadata": {"required": ["cents"], "properties": {"cents": {"type": "integer"}}}},
        },
    },
    "user.*": {"description": ""},
}
GOOD = {"action": "order.refunded", "user_id": "ana", "metadata": {"cents": 5, "token": "tk_live_0123456789abcdef"}}
BAD = {"action": "order.refunded", "metadata": {"cents": "five"}}


def put(client: Client, mode: str, actions: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
    body = {"mode": mode, "actions": ACTIONS if actions is None else actions}
    response = client.put("/catalogue", json=body, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_catalogue_is_kept_in_versions(tenant: Client) -> None:
    none = tenant.get("/catalogue")
    assert none.json() == {"version": 0, "mode": "off", "changed_at": None, "changed_by": None, "actions": {}}
    assert none.headers["ETag"] == '"0"'
    first = put(tenant, "warn", **{"If-Match": '"0"'})
    assert (first["version"], first["mode"], first["actions"], first["changed_by"]) == (1, "warn", ACTIONS, "test")
    assert tenant.get("/catalogue").json() == first
    assert put(tenant, "warn") == first  # the same again makes no version
    second = put(tenant, "enforce", {"only": {"description": "x"}})
    assert second["version"] == 2
    stale = tenant.put("/catalogue", json={"mode": "off", "actions": {}}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.json()["code"]) == (412, "precondition_failed")
    listed = tenant.get("/catalogue/versions").json()
    assert [(each["version"], each["mode"]) for each in listed["data"]] == [(2, "enforce"), (1, "warn")]
    assert listed["next_before"] is None
    assert [each["version"] for each in tenant.get("/catalogue/versions?before=2").json()["data"]] == [1]
    assert tenant.get("/catalogue/versions/1").json() == first
    for version in ("3", "0", "x", "-1", "9" * 40):
        assert tenant.get(f"/catalogue/versions/{version}").status_code == 404
    for before in ("x", "", "9" * 40):
        answer = tenant.get("/catalogue/versions", params={"before": before})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


def test_an_enforced_catalogue_refuses_what_breaks_it(tenant: Client) -> None:
    put(tenant, "enforce")
    kept = tenant.ingest(GOOD)
    refused = tenant.post("/logs", json=BAD)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_event")
    told = {(tuple(error["loc"]), error["type"]) for error in refused.json()["errors"]}
    assert told == {(("user_id",), "schema_required"), (("metadata", "cents"), "schema_type")}
    assert "five" not in refused.text
    unknown = tenant.post("/logs", json={"action": "order.lost"})
    assert (unknown.status_code, unknown.json()["errors"][0]["type"]) == (422, "unknown_action")
    answer = tenant.post("/logs/bulk", json=[GOOD, BAD, {"action": "user.login"}, {"action": 5}, {"action": "none"}])
    assert answer.status_code == 202
    items = answer.json()["items"]
    assert [item["status"] for item in items] == ["accepted", "refused", "accepted", "refused", "refused"]
    assert items[1]["error"]["errors"][0]["loc"]
    assert [item["error"]["errors"][0]["type"] for item in items if "error" in item][1:] == ["type", "unknown_action"]
    lines = '{"action":"user.x"}\n{"action":"y"}\nnonsense\n'
    answer = tenant.post("/logs/bulk", content=lines, headers={"Content-Type": "application/x-ndjson"})
    codes = [item.get("error", {}).get("code") for item in answer.json()["items"]]
    assert codes == [None, "invalid_event", "malformed_json"]
    stored = tenant.get(f"/logs/{kept}", params={"wait": "20"}).json()
    assert stored["metadata"] == {"cents": 5, "token": "[masked]"}
    tenant.found(4)


def test_a_catalogue_that_warns_takes_everything(tenant: Client) -> None:
    put(tenant, "warn")
    answer = tenant.post("/logs", json=BAD)
    assert answer.status_code == 202
    assert answer.json()["warning"]["code"] == "invalid_event"
    assert "warning" not in tenant.post("/logs", json=GOOD).json()
    items = tenant.post("/logs/bulk", json=[GOOD, BAD]).json()["items"]
    assert [("warning" in item, item["status"]) for item in items] == [(False, "accepted"), (True, "accepted")]
    assert items[1]["warning"]["errors"]
    tenant.found(4)
    put(tenant, "off")
    assert "warning" not in tenant.post("/logs", json=BAD).json()


def test_a_catalogue_is_a_tenants_own(tenant: Client, running: Service) -> None:
    put(tenant, "enforce")
    other = running.tenant()
    assert other.get("/catalogue").json()["version"] == 0
    assert other.get("/catalogue/versions/1").status_code == 404
    other.ingest({"action": "anything"})


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"mode": "loud", "actions": {}}, 422, "invalid_request"),
        ({"actions": {}}, 422, "invalid_request"),
        ({"mode": "off", "actions": {"a": {"shema": {}}}}, 422, "invalid_request"),
        ({"mode": "off", "actions": {"a": {"schema": []}}}, 422, "invalid_request"),
        ({"mode": "off", "actions": {"a": {"schema": {"$ref": "http://127.0.0.1:9/"}}}}, 422, "bad_catalogue"),
        ({"mode": "off", "actions": {"a b": {}}}, 422, "bad_catalogue"),
        ({"mode": "off", "actions": {"a": {"description": "x" * 1_100_000}}}, 413, "body_too_large"),
    ],
)
def test_a_bad_catalogue_is_refused(tenant: Client, body: dict[str, Any], status: int, code: str) -> None:
    answer = tenant.put("/catalogue", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert tenant.get("/catalogue").json()["version"] == 0


def test_deep_json_is_refused(tenant: Client) -> None:
    deep = b'{"mode":"off","actions":{"a":{"schema":' + b'{"not":' * 5000 + b"{}" + b"}" * 5003
    answer = tenant.put("/catalogue", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


def test_the_catalogue_is_described_for_developers(tenant: Client, running: Service) -> None:
    put(tenant, "enforce")
    writer = running.client(tenant.tenant, Role.WRITER)
    document = writer.get("/catalogue/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert set(document["components"]["schemas"]) == {"Event", "order.refunded", "user._"}
    assert document["info"]["version"] == "1"


@pytest.fixture(scope="module")
def second(running: Service) -> Iterator[str]:
    """Another API process of the same service: its URL."""
    port = free_port()
    process = Process("api.main", running.environment | {"PORT": str(port)}, port, "/api/v1/health")
    process.start()
    yield f"http://127.0.0.1:{port}"
    process.stop()


def test_every_process_checks_by_the_newest_version(tenant: Client, second: str) -> None:
    with httpx.Client(base_url=f"{second}/api/v1", headers={"Authorization": f"Bearer {tenant.token}"}) as other:
        for mode, status in (("enforce", 422), ("off", 202)):
            put(tenant, mode)
            assert tenant.post("/logs", json=BAD).status_code == status  # the process that was told, at once
            deadline = time.monotonic() + 20
            while other.post("/logs", json=BAD).status_code != status:
                assert time.monotonic() < deadline
                time.sleep(0.1)
