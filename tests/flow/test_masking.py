"""Masking over HTTP: a tenant's own rules set, tried and gone by, and no planted secret anywhere."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from typer.testing import CliRunner

from cli.main import app
from core import tenancy
from core.access import Role
from core.envelope import unpack
from core.masking.own import LIMITS
from core.tenant import Tenant
from core.tenant_settings import MaskAction, MaskBy, MaskingRule
from core.wiring import Backends
from tests import census
from tests.planted import KEPT, RULES, Planted
from tests.service import Client, Service

ADDRESS = "198.51.100.77"
IBAN = {"by": "key", "match": "iban", "action": "redact"}
EVENT: dict[str, Any] = {"action": "a", "user_id": "ana", "metadata": {"iban": "x", "password": "y", "n": 1}}


def test_rules_are_read_back_and_replace_those_before(running: Service) -> None:
    admin = running.tenant()
    assert admin.get("/masking").json() == {"rules": [], "limits": LIMITS}
    answer = admin.put("/masking", json={"rules": RULES})
    assert (answer.status_code, answer.json()["rules"]) == (200, RULES)
    read = admin.get("/masking")
    assert (read.json(), read.headers["ETag"]) == (answer.json(), answer.headers["ETag"])
    late = admin.put("/masking", json={"rules": []}, headers={"If-Match": '"0"'})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    answer = admin.put("/masking", json={"rules": [IBAN]}, headers={"If-Match": read.headers["ETag"]})
    assert (answer.status_code, admin.get("/masking").json()["rules"]) == (200, [IBAN])
    assert admin.tenant is not None
    with running.client(None, Role.PLATFORM) as platform:
        path = f"/tenants/{admin.tenant.id}"
        assert platform.get(path).json()["masking"] == [IBAN]
        bad = platform.patch(path, json={"masking": [IBAN, IBAN | {"by": "path"}]})
        assert (bad.status_code, bad.json()["errors"][0]["loc"]) == (422, ["body", "masking", 1, "match"])
        assert platform.patch(path, json={"masking": None}).json()["masking"] == []
    assert admin.get("/masking").json()["rules"] == []


def test_the_command_sets_rules_from_a_file(running: Service, tenant: Client, tmp_path: Path) -> None:
    assert tenant.tenant is not None
    file = tmp_path / "rules.json"
    command = ["tenant", "update", tenant.tenant.id, "--masking", str(file)]
    for text, told in (
        (json.dumps({"rules": RULES}), '"masking": ['),
        (json.dumps({"rules": [IBAN, IBAN | {"by": "pattern", "match": "("}]}), "rules.1.match: pattern '('"),
        ('{"rules": [{"by": "name"}]}', "$.rules[0].by"),
        ("no JSON", "rules.json: "),
    ):
        file.write_text(text)
        done = CliRunner().invoke(app, command, env=running.environment)
        assert (done.exit_code == 0) == (told[0] == '"')
        assert told in done.output
        assert tenant.get("/masking").json()["rules"] == RULES
    file.unlink()
    assert CliRunner().invoke(app, command, env=running.environment).exit_code == 1


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "rules"]),
        ({"rules": [IBAN | {"by": "name"}]}, ["body", "rules", 0, "by"]),
        ({"rules": [IBAN | {"action": "drop"}]}, ["body", "rules", 0, "action"]),
        ({"rules": [IBAN | {"match": ""}]}, ["body", "rules", 0, "match"]),
        ({"rules": [IBAN, IBAN | {"by": "path", "match": "$.action"}]}, ["body", "rules", 1, "match"]),
        ({"rules": [IBAN, IBAN | {"by": "pattern", "match": "(a"}]}, ["body", "rules", 1, "match"]),
        ({"rules": [IBAN] * 51}, ["body", "rules"]),
    ],
)
def test_a_bad_rule_is_named_and_changes_nothing(tenant: Client, body: Any, loc: list[Any]) -> None:
    asked = [tenant.put("/masking", json=body)]
    if body:
        asked.append(tenant.post("/masking/preview", json={"event": EVENT} | body))
    for answer in asked:
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (422, "invalid_request"), problem
        assert problem["errors"][0]["loc"] == loc
    assert tenant.get("/masking").json()["rules"] == []


def test_a_preview_shows_what_would_be_stored_and_stores_nothing(tenant: Client) -> None:
    sent = b'{"event":{"action":"a","metadata":{ "iban":"x", "n":1e400,"password":"y"}},"rules":[%s]}'
    json_ = {"Content-Type": "application/json"}
    answer = tenant.post("/masking/preview", content=sent % json.dumps(IBAN).encode(), headers=json_)
    masked = b'{"action":"a","severity":"INFO","metadata":{ "iban":"[masked]", "n":1e400,"password":"[masked]"}}'
    assert answer.status_code == 200
    assert answer.content.startswith(b'{"event":' + masked)
    assert {name: answer.json()[name] for name in ("by_default", "changes")} == {"by_default": True, "changes": [1]}
    plain = tenant.post("/masking/preview", json={"event": {"action": "a", "metadata": {"iban": "x"}}}).json()
    assert (plain["by_default"], plain["changes"], plain["event"]["metadata"]) == (False, [], {"iban": "x"})
    assert tenant.put("/masking", json={"rules": [IBAN]}).status_code == 200
    assert tenant.post("/masking/preview", json={"event": EVENT}).json()["event"]["metadata"]["iban"] == "[masked]"
    for content, kind, status, code in (
        (b'{"event":{"user_id":"x"}}', "application/json", 422, "invalid_event"),
        (b'{"event":{"action":"x","colour":1}}', "application/json", 422, "invalid_event"),
        (b'{"rules":[]}', "application/json", 422, "invalid_request"),
        (b'{"event":{"action":"x"},"rules":1}', "application/json", 422, "invalid_request"),
        (b'{"event":', "application/json", 400, "malformed_json"),
        (b'{"event":{"action":"x","metadata":' + b"[" * 2000 + b"]" * 2000 + b"}}", "application/json", 422, ""),
        (b"event=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b" " * 400_000, "application/json", 413, "body_too_large"),
    ):
        answer = tenant.post("/masking/preview", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status, answer.text
        assert not code or answer.json()["code"] == code, answer.text
    assert tenant.get("/logs").json()["total"] == 0


def test_a_change_elsewhere_holds_here_within_seconds(running: Service, tenant: Client) -> None:
    """The process that takes the events is not the one that took the rules."""
    assert tenant.tenant is not None
    tenant_id, rule = tenant.tenant.id, MaskingRule(MaskBy.PATH, "$.user_id", MaskAction.HASH)
    tenant.ingest(EVENT)

    async def unrecorded(old: Tenant, new: Tenant) -> None: ...

    async def elsewhere(backends: Backends) -> None:
        def ruled(old: Tenant) -> Tenant:
            return dataclasses.replace(old, masking=(rule,))

        await tenancy.change(backends.control, tenant_id, ruled, unrecorded)

    running.with_backends(elsewhere)
    deadline = time.monotonic() + 5
    while True:
        is_over = time.monotonic() > deadline
        kept = tenant.get(f"/logs/{tenant.ingest(EVENT)}", params={"wait": 20}).json()
        if kept["user_id"] != "ana":
            break
        assert not is_over
        time.sleep(0.2)
    # Who may set rules can find out what a value has become, and so every event that has it.
    [hash_] = {tenant.post("/masking/preview", json={"event": EVENT}).json()["event"]["user_id"]}
    assert kept["user_id"] == hash_
    tenant.complete()
    assert tenant.get("/logs", params={"user_id": hash_}).json()["total"] >= 1


def test_a_retry_that_meets_other_rules_is_no_second_event(tenant: Client, running: Service) -> None:
    key = {"Idempotency-Key": "same"}
    first = tenant.ingest(EVENT, **key)
    assert tenant.put("/masking", json={"rules": [IBAN]}).status_code == 200
    assert tenant.ingest(EVENT, **key) == first
    tenant.complete()
    assert tenant.get(f"/logs/{first}").json()["metadata"]["iban"] == "x"
    assert census.take(running, tenant).stored == [first]


def test_none_of_200_planted_secrets_goes_anywhere(running: Service) -> None:
    tenant, planted = running.tenant(), Planted()
    assert tenant.put("/masking", json={"rules": RULES}).status_code == 200
    running.consumer.stop()  # so that what is sent stays in the queue to be looked at
    try:
        for event in planted.events:
            answer = tenant.post("/logs", content=event, headers={"Content-Type": "application/json"})
            assert answer.status_code == 202, answer.text
        many = {"Content-Type": "application/json"}
        answer = tenant.post("/logs/bulk", content=f"[{','.join(planted.events)}]", headers=many)
        assert answer.json()["accepted"] == len(planted.events)
        for event in planted.events[-2:]:  # the second has the first one's key: it is set aside
            assert tenant.post("/logs", content=event, headers=many | {"Idempotency-Key": "same"}).status_code == 202
        # Events that are refused are not told of in a log either.
        for event in planted.events:
            bad = event[:-1] + ', "colour": 1}'
            assert tenant.post("/logs", content=bad, headers=many).status_code == 422
        queued = running.with_backends(_queued)
    finally:
        running.consumer.start()
    sent = 2 * len(planted.events) + 1
    tenant.found(sent, action=f"planted.{KEPT}")
    bodies = census.take(running, tenant).bodies.values()
    assert sum(body in queued for body in bodies) == sent
    assert _left(planted, queued) == []
    assert _left(planted, *bodies) == []
    assert _left(planted, _stored(running)) == []
    assert tenant.tenant is not None
    assert _left(planted, _indexed(running, tenant.tenant.id, planted)) == []
    home = Path(running.environment["OCELOT_HOME"])
    logs = [path.read_bytes() for path in home.glob("*.log")]
    assert b"consuming" in b"".join(logs)
    assert _left(planted, *logs) == []
    consumer = f"http://127.0.0.1:{running.consumer.port}"
    assert _left(planted, *(httpx.get(f"{url}/metrics").content for url in (running.url, consumer))) == []
    _unmasked_parts_are_as_they_were_sent(planted, list(bodies))
    _named_fields_are_masked(tenant)


def _left(planted: Planted, *places: bytes) -> list[str]:
    return [s for s in (*planted.secrets, ADDRESS) if any(s.encode() in place.lower() for place in places)]


async def _queued(backends: Backends) -> bytes:
    """The records of all that waits in the queue, which goes on waiting."""
    leases = await backends.queue.receive(100, 5, 30)
    found = b"\n".join(repr(header).encode() + b"".join(map(_bytes, records)) for header, records in _unpacked(leases))
    await backends.queue.release(leases)
    return found


def _unpacked(leases: Any) -> Any:
    return [unpack(lease.body) for lease in leases]


def _bytes(record: Any) -> bytes:
    return record.body + (record.content or b"")


def _stored(running: Service) -> bytes:
    """Every document of every collection of the database."""
    options: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
    with MongoClient(running.environment["MONGODB_URL"]) as client:
        database = client[running.environment["MONGODB_DATABASE"]]
        names = database.list_collection_names()
        found = [each.raw for name in names for each in database[name].with_options(options).find()]
    assert "events" in names
    assert KEPT.encode() in b"".join(found)
    return b"".join(found)


def _indexed(running: Service, tenant_id: str, planted: Planted) -> bytes:
    """Each document's source. No term of any field is a secret."""
    url = f"{running.environment['OPENSEARCH_URL']}/ocelot-logs-{tenant_id}-*/_search"

    def search(query: dict[str, Any]) -> dict[str, Any]:
        answer = httpx.post(url, json={"query": query, "size": 100}, timeout=30)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["hits"])

    def of_any(words: list[str]) -> dict[str, Any]:
        fields = ("metadata", "before_state", "after_state", "user_id", "session_id", "user_agent", "resource_id",
                  "source", "tags")  # fmt: skip
        terms = [{"term": {field: word}} for field in fields for word in words]
        return {"bool": {"should": [*terms, *({"match": {"message": word}} for word in words)]}}

    assert search(of_any([KEPT]))["hits"]
    for start in range(0, len(planted.secrets), 50):
        assert search(of_any(planted.secrets[start : start + 50]))["hits"] == []
    every = search({"bool": {"must": [{"prefix": {"action": "planted."}}]}})
    assert len(every["hits"]) == 2 * len(planted.events) + 1
    return json.dumps(every).encode()


def _unmasked_parts_are_as_they_were_sent(planted: Planted, bodies: list[bytes]) -> None:
    """Of an event in which everything is redacted, nothing else has changed."""
    event = planted.events[0]
    for secret in planted.secrets:
        event = event.replace(secret, "[masked]")
    deep = event.partition('"before_state": ')[2].partition(', "metadata"')[0]
    assert '{"a": [1e400, {"a": [1e400, ' in deep
    assert sum(f'"before_state":{deep},'.encode() in body for body in bodies) == 2


def _named_fields_are_masked(tenant: Client) -> None:
    found = tenant.get("/logs", params={"action": f"planted.{KEPT}", "user_id": "*"}).json()["data"][0]
    assert "session_id" not in found
    assert found["user_agent"] == "[masked]"
    assert ipaddress.ip_address(found["ip_address"]) in ipaddress.ip_network("fd00::/8")
    for value in (found["user_id"], found["resource_id"], *found["tags"]):
        assert value.startswith("[hmac:")
