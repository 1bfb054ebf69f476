"""Sending over HTTP: every form of a body, a result for each event, and that what comes back is what was sent."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import time
import uuid
from typing import Any

import httpx
import pytest
import zstandard

from core import instant
from core.tenant import for_system
from tests.service import Client, Service

NAMED: dict[str, Any] = {
    "action": "document.shared", "severity": "WARNING", "outcome": "denied", "message": "Ana teilt „é” 🦊",
    "user_id": "ana", "session_id": "s-1", "ip_address": "2001:DB8::7", "user_agent": "curl/8", "resource_type": "doc",
    "resource_id": "budget", "request_id": "r-1", "trace_id": "t-1", "source": "drive", "tags": ["a", "b", "a"],
}  # fmt: skip
ODD_METADATA = (
    rb'{"big": 123456789012345678901234567890, "huge":1e400,"float" : 1.50,"minus":-0.0,'
    rb'"a.b":{"c.d":1}, "$set":{"$where":"x"},"":0,"twice":1,"twice":2, "esc":"\u00e9\/\uD83E\uDD8A",'
    + '"ключ":"значение"}'.encode()
)


def send(client: Client, body: bytes, path: str = "/logs", **headers: str) -> httpx.Response:
    """`body` as it is; header names have underscores for hyphens."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=body, headers={"Content-Type": "application/json"} | given)


def stored(client: Client, event_id: str) -> bytes:
    response = client.get(f"/logs/{event_id}", params={"wait": 20})
    assert response.status_code == 200, response.text
    return response.content


def bulk(client: Client, body: bytes, **headers: str) -> list[dict[str, Any]]:
    response = send(client, body, "/logs/bulk", **headers)
    assert response.status_code == 202, response.text
    answer = response.json()
    items: list[dict[str, Any]] = answer["items"]
    assert [item["index"] for item in items] == list(range(len(items)))
    for status in ("accepted", "refused", "retry"):
        assert answer[status] == sum(item["status"] == status for item in items)
    return items


def test_every_named_field_comes_back_as_sent_with_the_stamps_before_it(tenant: Client) -> None:
    before = instant.now_us()
    event = NAMED | {"timestamp": "2026-03-01T13:00:00.123456789+02:00", "metadata": {"k": 1}}
    event_id = tenant.ingest(event | {"before_state": {"a": 1}, "after_state": {"a": 2}})
    body = stored(tenant, event_id)
    pairs = json.loads(body, object_pairs_hook=list)
    assert [name for name, _ in pairs[:5]] == ["id", "tenant_id", "timestamp", "received_at", "salt"]
    back = json.loads(body)
    assert {name: back[name] for name in NAMED} == NAMED
    assert (back["before_state"], back["after_state"], back["metadata"]) == ({"a": 1}, {"a": 2}, {"k": 1})
    assert back["id"] == event_id
    assert tenant.tenant is not None
    assert back["tenant_id"] == tenant.tenant.id
    assert back["timestamp"] == "2026-03-01T11:00:00.123456Z"  # cut off, not rounded
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", back["received_at"])
    assert before <= instant.from_text(back["received_at"]) <= instant.now_us()
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", back["salt"])
    assert len(back) == len(NAMED) + 8


def test_an_event_of_one_field_gets_the_defaults(tenant: Client) -> None:
    event_id = tenant.ingest({"action": "x"})
    back = json.loads(stored(tenant, event_id))
    assert set(back) == {"id", "tenant_id", "timestamp", "received_at", "salt", "action", "severity"}
    assert back["severity"] == "INFO"
    assert back["timestamp"] == back["received_at"]
    parsed = uuid.UUID(event_id)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == instant.from_text(back["received_at"]) // 1000


def test_salt_and_id_are_new_each_time(tenant: Client) -> None:
    bodies = [json.loads(stored(tenant, tenant.ingest({"action": "x"}))) for _ in range(2)]
    assert bodies[0]["id"] != bodies[1]["id"]
    assert bodies[0]["salt"] != bodies[1]["salt"]


def test_nulls_are_as_good_as_absent(tenant: Client) -> None:
    names = (*NAMED, "timestamp", "metadata", "before_state", "after_state", "idempotency_key")
    back = json.loads(stored(tenant, tenant.ingest(dict.fromkeys(names) | {"action": "x"})))
    assert set(back) == {"id", "tenant_id", "timestamp", "received_at", "salt", "action", "severity"}


def test_free_form_fields_are_kept_token_for_token(tenant: Client) -> None:
    for name in ("metadata", "before_state", "after_state"):
        response = send(tenant, b'{"action":"x","' + name.encode() + b'" : ' + ODD_METADATA + b"}")
        assert response.status_code == 202, response.text
        assert stored(tenant, response.json()["id"]).endswith(b'"' + name.encode() + b'":' + ODD_METADATA + b"}")


def test_line_breaks_between_tokens_become_spaces_and_those_in_strings_stay_escaped(tenant: Client) -> None:
    sent = b'{\r\n\t"a" :\n[ 1,\n\n2 ],"text":"one\\ntwo\\u000a"\n}'
    response = send(tenant, b'{"action":"x",\n"metadata":' + sent + b"}")
    body = stored(tenant, response.json()["id"])
    assert body.endswith(b'"metadata":' + sent.replace(b"\n", b" ").replace(b"\r", b" ") + b"}")
    assert b"\n" not in body


def test_a_command_of_the_index_inside_metadata_does_nothing(tenant: Client) -> None:
    victim = tenant.ingest({"action": "victim"})
    stored(tenant, victim)
    attack = f'{{"a":\n{{"delete":{{"_id":"{victim}"}}}}\n}}'.encode()
    items = bulk(tenant, b'[{"action":"y"},{"action":"y","metadata":' + attack + b'},{"action":"y"}]')
    assert [item["status"] for item in items] == ["accepted"] * 3
    tenant.found(3, action="y")
    tenant.found(1, action="victim")


def test_etag_is_the_sha256_of_the_body(tenant: Client) -> None:
    event_id = tenant.ingest({"action": "x"})
    response = tenant.get(f"/logs/{event_id}", params={"wait": 20})
    etag = response.headers["ETag"]
    assert etag == f'"{hashlib.sha256(response.content).hexdigest()}"'
    assert response.headers["Content-Type"] == "application/json"
    for good in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = tenant.get(f"/logs/{event_id}", headers={"If-None-Match": good})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag), good
    for bad in ('"other"', etag.strip('"'), ""):
        assert tenant.get(f"/logs/{event_id}", headers={"If-None-Match": bad}).status_code == 200, bad


def test_wait_ends_as_soon_as_the_event_is_there_or_with_404(tenant: Client) -> None:
    assert tenant.get(f"/logs/{tenant.ingest({'action': 'x'})}?wait=20").status_code == 200
    absent = tenant.get(f"/logs/{uuid.uuid4()}?wait=0.3")
    assert (absent.status_code, absent.json()["code"]) == (404, "not_found")
    for no_id in ("x", str(uuid.uuid4()).upper(), "%00", "..%2f"):
        assert tenant.get(f"/logs/{no_id}").status_code == 404


# Bulk ----------------------------------------------------------------------------------------------------------------

EVENTS = [{"action": f"bulk.{n}", "metadata": {"n": n}} for n in range(5)]
LINES = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
NDJSON = "application/x-ndjson"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (json.dumps(EVENTS), "application/json"),
        (json.dumps(EVENTS, indent=2), "application/json; charset=utf-8"),
        (json.dumps({"events": EVENTS}), "application/json"),
        (LINES, NDJSON),
        (LINES.rstrip(b"\n"), "application/ndjson"),
        (b"\r\n" + LINES.replace(b"\n", b"\r\n\n  \n"), "application/jsonl"),
    ],
    ids=["array", "indented", "object", "lines", "no last line break", "blank lines"],
)
def test_each_form_takes_the_same_events(tenant: Client, body: str | bytes, kind: str) -> None:
    content = body.encode() if isinstance(body, str) else body
    items = bulk(tenant, content, Content_Type=kind)
    assert [item["status"] for item in items] == ["accepted"] * 5
    assert [json.loads(stored(tenant, item["id"]))["metadata"]["n"] for item in items] == [0, 1, 2, 3, 4]


def test_a_lone_event_is_a_bulk_of_one(tenant: Client) -> None:
    [item] = bulk(tenant, b' {"action":"alone"} ')
    assert json.loads(stored(tenant, item["id"]))["action"] == "alone"


def _halves(pack: Any) -> bytes:
    return bytes(pack(LINES[:70]) + pack(b"") + pack(LINES[70:]))


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(LINES)),
        ("x-gzip", gzip.compress(LINES)),
        ("GZIP", gzip.compress(LINES)),
        ("gzip", _halves(gzip.compress)),
        ("zstd", zstandard.compress(LINES)),
        ("zstd", _halves(zstandard.compress)),
        ("zstd", zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(LINES)),
        ("identity", LINES),
    ],
    ids=["gzip", "x-gzip", "upper case", "members", "zstd", "frames", "checksum", "identity"],
)
def test_packed_bodies_are_unpacked_whole(tenant: Client, encoding: str, packed: bytes) -> None:
    items = bulk(tenant, packed, Content_Encoding=encoding, Content_Type=NDJSON)
    assert [json.loads(stored(tenant, item["id"]))["action"] for item in items] == [e["action"] for e in EVENTS]


def test_a_single_event_may_be_packed_too(tenant: Client) -> None:
    response = send(tenant, gzip.compress(b'{"action":"packed"}'), Content_Encoding="gzip")
    assert b'"action":"packed"' in stored(tenant, response.json()["id"])


def test_each_event_of_a_bulk_is_judged_alone(tenant: Client) -> None:
    mixed = [
        {"action": "good.0"}, {"action": ""}, {"action": "good.2", "idempotency_key": "k"}, {"user_id": "x"}, 7,
        {"action": "good.5", "unknown": 1}, {"action": "good.6"},
    ]  # fmt: skip
    for body, kind in (
        (json.dumps(mixed).encode(), "application/json"),
        (b"\n".join(json.dumps(item).encode() for item in mixed), NDJSON),
    ):
        items = bulk(tenant, body, Content_Type=kind)
        assert [item["status"][0] for item in items] == list("ararrra")
        assert all(("id" in item) == (item["status"] == "accepted") for item in items)
        faults = {item["index"]: item["error"]["errors"][0] for item in items if "error" in item}
        assert faults[1]["loc"] == ["action"]
        assert (faults[3]["loc"], faults[3]["type"]) == (["action"], "missing")
        assert (faults[5]["loc"], faults[5]["type"]) == (["unknown"], "unknown_field")
    tenant.found(2, action="good.0")
    tenant.found(1, action="good.2")


def test_a_full_bulk_spans_envelopes_and_arrives_whole(tenant: Client) -> None:
    lines = b"".join(b'{"action":"many","user_id":"%d"}\n' % n for n in range(10_000))
    items = bulk(tenant, lines, Content_Type=NDJSON)
    assert len({item["id"] for item in items}) == 10_000
    tenant.found(10_000, timeout=240, action="many")


# Keys ----------------------------------------------------------------------------------------------------------------


def test_a_retry_with_a_key_has_the_same_id_and_is_stored_once(tenant: Client) -> None:
    event = {"action": "paid", "metadata": {"sum": 1}}
    first = tenant.ingest(event, **{"Idempotency-Key": "order-1"})
    body = stored(tenant, first)
    assert uuid.UUID(first).version == 8
    assert tenant.ingest(event, **{"Idempotency-Key": "order-1"}) == first
    [item] = bulk(tenant, json.dumps([event | {"idempotency_key": "order-1"}]).encode())
    assert item["id"] == first
    assert tenant.ingest(event, **{"Idempotency-Key": "order-2"}) != first
    tenant.found(2, action="paid")
    assert stored(tenant, first) == body


def test_a_key_is_no_part_of_the_event_and_is_the_tenants_own(running: Service, tenant: Client) -> None:
    other = running.tenant()
    ids = {client.ingest({"action": "x", "idempotency_key": "same"}) for client in (tenant, other)}
    assert len(ids) == 2
    for client in (tenant, other):
        answer = client.found(1)
        assert "idempotency_key" not in answer["data"][0]


def test_a_key_twice_in_one_bulk_is_one_event_or_a_conflict(tenant: Client) -> None:
    same = {"action": "same", "idempotency_key": "k1"}
    items = bulk(tenant, json.dumps([same, same, same | {"user_id": "x"}]).encode())
    assert [item["status"] for item in items] == ["accepted", "accepted", "refused"]
    assert items[0]["id"] == items[1]["id"]
    assert items[2]["error"]["code"] == "key_conflict"
    tenant.found(1, action="same")


def test_a_key_with_other_content_in_a_later_request_is_quarantined_and_the_first_stays(tenant: Client) -> None:
    first = tenant.ingest({"action": "conflict", "user_id": "first"}, **{"Idempotency-Key": "k"})
    body = stored(tenant, first)
    assert tenant.ingest({"action": "conflict", "user_id": "second"}, **{"Idempotency-Key": "k"}) == first
    deadline = time.monotonic() + 30
    while not (found := tenant.get("/quarantine").json()["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert [(item["code"], item["conflicts_with"]) for item in found] == [("conflict", first)]
    assert tenant.get(f"/quarantine/{found[0]['id']}").json()["body"]["user_id"] == "second"
    assert stored(tenant, first) == body
    tenant.found(1, action="conflict")


def test_keys_of_any_text_within_their_bound(tenant: Client) -> None:
    ids = set()
    for key in ("a", " ", "ключ", "k" * 255, "password=x", "password=y"):
        [item] = bulk(tenant, json.dumps([{"action": "x", "idempotency_key": key}]).encode())
        ids.add(item["id"])
    assert len(ids) == 6


def test_a_key_is_the_same_in_a_header_and_in_a_bulk(tenant: Client) -> None:
    response = send(tenant, b'{"action":"x"}', Idempotency_Key="ключ".encode())  # type: ignore[arg-type]
    [item] = bulk(tenant, json.dumps([{"action": "x", "idempotency_key": "ключ"}]).encode())
    assert item["id"] == response.json()["id"]


# Masking -------------------------------------------------------------------------------------------------------------


def test_a_secret_never_comes_back(running: Service, tenant: Client) -> None:
    event = {
        "action": "login",
        "message": "password=hunter2secret was typed",
        "user_agent": "card 4111 1111 1111 1111",
        "metadata": {"password": "hunter2secret", "kept": [1.50, {"token": "hunter2secret"}]},
        "before_state": {"api_key": "hunter2secret"},
    }
    ids = [tenant.ingest(event)]
    ids += [i["id"] for i in bulk(tenant, json.dumps([event, {"action": "plain"}]).encode())]
    ids += [i["id"] for i in bulk(tenant, json.dumps(event).encode() + b"\n", Content_Type=NDJSON)]
    for event_id in (ids[0], ids[1], ids[3]):
        body = stored(tenant, event_id)
        assert b"hunter2" not in body
        assert b"4111" not in body
        assert json.loads(body)["metadata"]["kept"][0] == 1.5
    assert tenant.found(3, action="login")["data"][0]["metadata"]["password"] == "[masked]"
    assert tenant.found(0, q="hunter2secret")["data"] == []

    async def in_the_store(backends: Any) -> Any:
        assert tenant.tenant is not None
        return await backends.store.fetch(for_system(tenant.tenant.id, "test"), ids)

    for row in running.with_backends(in_the_store).values():
        assert b"hunter2" not in row.body


def test_two_keys_that_would_be_masked_alike_stay_two(tenant: Client) -> None:
    events = [{"action": "x", "idempotency_key": f"4111 1111 1111 {n}", "metadata": {"password": "p"}} for n in (1, 2)]
    items = bulk(tenant, json.dumps(events).encode())
    assert items[0]["id"] != items[1]["id"]
