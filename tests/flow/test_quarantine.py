"""The quarantine over HTTP: events at fault are kept where their tenant has chosen so, put right, and stored once."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.quarantine import quarantine
from core import instant
from core.access import Role
from core.snapshots import REFRESH_SECONDS
from tests.service import Client, Service

SECRET = "hunter2-Zq"


@pytest.fixture
def keeping(running: Service, tenant: Client) -> Client:
    """The admin of a tenant that has chosen the quarantine."""
    assert tenant.tenant is not None
    platform = running.client(None, Role.PLATFORM)
    assert platform.patch(f"/tenants/{tenant.tenant.id}", json={"quarantine": True}).status_code == 200
    deadline = time.monotonic() + 3 * REFRESH_SECONDS + 5
    while tenant.post("/logs", json={"action": "probe", "bad": 1}).status_code != 202:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    listed(tenant, 1)
    assert tenant.post("/quarantine/discard", json={"match": {}, "dry_run": False}).json()["left"] == 0
    return tenant


def listed(client: Client, count: int, **asked: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 120
    while True:
        answer = client.get("/quarantine", params=asked).json()
        data: list[dict[str, Any]] = answer["data"]
        # They are read and counted one after the other.
        if answer["total"] == count == len(data):
            return data
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)


def done(client: Client, what: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/quarantine/{what}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_events_at_fault_are_kept_put_right_and_stored_once(keeping: Client) -> None:
    bad = {"action": "user.login", "usr": "ana", "password": SECRET, "metadata": {"n": 1}}
    lone = keeping.post("/logs", json=bad, headers={"Idempotency-Key": "k1"})
    assert (lone.status_code, lone.json()["status"], lone.json()["error"]["code"]) == (
        202, "quarantined", "invalid_event",
    )  # fmt: skip
    again = keeping.post("/logs", json=bad, headers={"Idempotency-Key": "k1"})
    assert again.json()["id"] == lone.json()["id"]
    lines = [json.dumps({"action": "good"}), json.dumps(bad | {"usr": "ben"}), "{broken", '{"action":"ocelot.read"}']
    large = json.dumps({"action": "large", "message": "m" * 300_000})
    bulk = keeping.post(
        "/logs/bulk", content="\n".join([*lines, large]), headers={"Content-Type": "application/x-ndjson"}
    )
    assert bulk.status_code == 202
    assert [item["status"] for item in bulk.json()["items"]] == [
        "accepted", "quarantined", "quarantined", "refused", "quarantined",
    ]  # fmt: skip
    assert {name: bulk.json()[name] for name in ("accepted", "refused", "quarantined")} == {
        "accepted": 1, "refused": 1, "quarantined": 3,
    }  # fmt: skip
    only = keeping.post("/logs/bulk", json=[{"action": "x", "y": 1}])
    assert (only.status_code, only.json()["accepted"], only.json()["quarantined"]) == (202, 0, 1)

    items = {item["id"]: item for item in listed(keeping, 5)}
    assert {item["form"] for item in items.values()} == {"event", "head", "outline"}
    assert [item["id"] for item in listed(keeping, 2, code="invalid_event", field="usr")][-1] == lone.json()["id"]
    page = keeping.get("/quarantine", params={"limit": 2}).json()
    rest = keeping.get("/quarantine", params={"limit": 9, "cursor": page["next_cursor"]}).json()
    assert [item["id"] for item in (*page["data"], *rest["data"])] == list(items)
    shown = keeping.get(f"/quarantine/{lone.json()['id']}")
    assert SECRET not in shown.text
    assert shown.json()["body"] == {"action": "user.login", "usr": "ana", "password": "[masked]", "metadata": {"n": 1}}
    assert shown.json()["fault"]["errors"][0]["type"] == "unknown_field"

    match = {"code": "invalid_event", "field": "usr"}
    mapping = [{"op": "rename", "path": "/usr", "to": "user_id"}]
    preview = done(keeping, "fix", match=match, mapping=mapping, dry_run=True)["items"]
    assert [item["fixed"]["user_id"] for item in preview] == ["ben", "ana"]
    fixed = done(keeping, "fix", match=match, mapping=[*mapping, {"op": "drop", "path": "/password"}])
    assert [(item["status"], item.get("error")) for item in fixed["items"]] == [("fixed", None)] * 2
    replayed = done(keeping, "replay", match=match)
    assert ([item["status"] for item in replayed["items"]], replayed["left"]) == (["replayed"] * 2, 0)
    stuck = done(keeping, "replay", match={})["items"]
    assert sorted(item["error"]["code"] for item in stuck) == ["invalid_event", "not_whole", "not_whole"]
    assert {item["status"] for item in stuck} == {"refused"}
    # The sender corrects the event, and sends it with its key: it is there already.
    right = {"action": "user.login", "user_id": "ana", "metadata": {"n": 1}}
    event_id = keeping.ingest(right, **{"Idempotency-Key": "k1"})
    assert event_id == replayed["items"][-1]["event_id"]
    keeping.complete()
    assert keeping.found(2, action="user.login")["total"] == 2
    assert keeping.get(f"/logs/{event_id}").json()["timestamp"] == items[lone.json()["id"]]["quarantined_at"]
    begin, end = (instant.to_text(instant.now_us() - seconds * 1_000_000) for seconds in (600, 3))
    quarantined, states = 0, set()
    while begin:  # a busy store counts it in several answers
        counted = keeping.get("/logs/completeness", params={"from": begin, "to": end, "interval": "10s"}).json()
        quarantined += sum(each["quarantined"] for each in counted["intervals"])
        states.add(counted["state"])
        begin = counted["next_from"]
    assert quarantined == 7  # with the probe, and the retry
    assert states == {"agrees"}

    told = done(keeping, "discard", match={})
    assert ({item["status"] for item in told["items"]}, told["left"]) == ({"would_be_discarded"}, 3)
    ids = [item["id"] for item in told["items"]]
    gone = done(keeping, "discard", ids=[*ids[:2], "0" * 8], dry_run=False)
    assert [item["status"] for item in gone["items"]] == ["discarded", "discarded", "not_found"]
    listed(keeping, 1)


def test_a_conflict_is_replayed_as_an_event_of_its_own(tenant: Client) -> None:
    first = tenant.ingest({"action": "paid", "user_id": "first"}, **{"Idempotency-Key": "k"})
    tenant.found(1)
    tenant.ingest({"action": "paid", "user_id": "second"}, **{"Idempotency-Key": "k"})
    [item] = listed(tenant, 1)
    assert (item["code"], item["conflicts_with"]) == ("conflict", first)
    [result] = done(tenant, "replay", ids=[item["id"]])["items"]
    assert result["event_id"] != first
    answer = tenant.found(2, action="paid", sort="timestamp")
    assert [event["user_id"] for event in answer["data"]] == ["first", "second"]
    listed(tenant, 0)


def test_a_tenant_that_has_not_chosen_so_is_told_of_the_fault(tenant: Client) -> None:
    answer = tenant.post("/logs", json={"action": "x", "y": 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_event")
    assert tenant.get("/quarantine").json() == {"data": [], "next_cursor": None, "total": 0}


@pytest.mark.parametrize(
    ("what", "body"),
    [("fix", {"ids": ["a"]}), ("fix", {"mapping": []}), ("fix", {"ids": ["a"], "match": {}, "mapping": []}),
     ("fix", {"match": {}, "mapping": [{"op": "copy", "path": "/a"}]}),
     ("fix", {"match": {}, "mapping": [{"op": "rename", "path": "/a"}]}),
     ("replay", {}), ("replay", {"ids": []}), ("replay", {"ids": ["a"] * 1001}), ("replay", {"match": {"x": 1}}),
     ("discard", {"dry_run": False}), ("discard", {"ids": ["a"], "dry_run": "perhaps"})],
    ids=str,
)  # fmt: skip
def test_a_bad_request_is_refused(tenant: Client, what: str, body: dict[str, Any]) -> None:
    answer = tenant.post(f"/quarantine/{what}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_a_bad_list_is_refused(tenant: Client) -> None:
    for asked, code in (
        ({"cursor": "x"}, "bad_cursor"),
        ({"limit": "0"}, "invalid_query"),
        ({"x": "1"}, "invalid_query"),
    ):
        answer = tenant.get("/quarantine", params=asked)
        assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert tenant.get("/quarantine/x").status_code == 404


def test_the_command_does_all_of_it(running: Service, tenant: Client) -> None:
    tenant.ingest({"action": "paid"}, **{"Idempotency-Key": "k"})
    tenant.found(1)
    for user in ("ana", "ben"):
        tenant.ingest({"action": "paid", "user_id": user}, **{"Idempotency-Key": "k"})
    ids = [item["id"] for item in listed(tenant, 2)]

    def ocelot(*words: str) -> tuple[int, str]:
        environment = {"OCELOT_URL": running.url, "OCELOT_TOKEN": str(tenant.token)}
        done = CliRunner().invoke(quarantine, words, env=environment)
        return done.exit_code, done.output

    code, told = ocelot("list", "--code", "conflict")
    assert (code, [json.loads(line)["id"] for line in told.splitlines()]) == (0, ids)
    assert json.loads(ocelot("show", ids[0])[1])["body"]["user_id"] == "ben"
    code, told = ocelot("fix", "--code", "conflict", "--set", "/severity=ERROR", "--rename", "/user_id=session_id")
    assert (code, told.splitlines()) == (0, [f"{ids[0]}  fixed", f"{ids[1]}  fixed", "2 still match"])
    code, told = ocelot("fix", ids[0], "--set", "/ip_address=5")
    assert (code, "ip_address: " in told) == (0, True)  # put so, and told what is still at fault
    assert ocelot("replay", "--code", "conflict")[0] == 1  # one is still at fault
    assert tenant.found(2, action="paid", sort="timestamp")["data"][1]["session_id"] == "ana"
    assert ocelot("discard", ids[0], "--yes") == (0, f"{ids[0]}  discarded\n")
    assert ocelot("list") == (0, "")
    assert ocelot("discard", "--yes")[0] == 2
