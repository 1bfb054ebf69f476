"""Every way in which an event is none: refused by field, alone, and no other of its bulk with it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.flow.refusals import FREE, NAMED, NDJSON, nested, one, post, problem
from tests.service import Client, Service


@pytest.fixture(scope="module")
def client(running: Service) -> Client:
    """One tenant for all: what is refused leaves nothing behind."""
    return running.tenant()


# (id, event, code, the field that is named)
EVENTS: list[tuple[str, bytes, str, str | None]] = [
    ("not JSON", b'{"action":', "malformed_json", None),
    ("trailing comma", one('"user_id":"x",'), "malformed_json", None),
    ("single quotes", b"{'action':'x'}", "malformed_json", None),
    ("NaN", one('"metadata":{"a":NaN}'), "malformed_json", None),
    ("a word", b"action", "malformed_json", None),
    ("two values", b'{"action":"x"} {"action":"y"}', "malformed_json", None),
    ("control character", b'{"action":"a\x01b"}', "malformed_json", None),
    ("a number", b"1", "invalid_event", None),
    ("null", b"null", "invalid_event", None),
    ("text", b'"x"', "invalid_event", None),
    ("no action", one('"user_id":"x"', action=False), "invalid_event", "action"),
    ("empty action", one('"action":""', action=False), "invalid_event", "action"),
    ("null action", one('"action":null', action=False), "invalid_event", "action"),
    ("reserved action", one('"action":"ocelot.deleted"', action=False), "invalid_event", "action"),
    ("unknown field", one('"colour":"red"'), "invalid_event", "colour"),
    ("the tenant", one('"tenant_id":"x"'), "invalid_event", "tenant_id"),
    ("the id", one('"id":"x"'), "invalid_event", "id"),
    ("the stamp", one('"received_at":"2026-01-01T00:00:00Z"'), "invalid_event", "received_at"),
    ("20,000 fields", one(",".join(f'"f{n}":1' for n in range(20_000))), "invalid_event", "f0"),
    ("severity unknown", one('"severity":"FATAL"'), "invalid_event", "severity"),
    ("severity in lower case", one('"severity":"info"'), "invalid_event", "severity"),
    ("outcome unknown", one('"outcome":"maybe"'), "invalid_event", "outcome"),
    ("address a name", one('"ip_address":"localhost"'), "invalid_event", "ip_address"),
    ("address a network", one('"ip_address":"10.0.0.0/8"'), "invalid_event", "ip_address"),
    ("address with a zone", one('"ip_address":"fe80::1%eth0"'), "invalid_event", "ip_address"),
    ("address with zeros", one('"ip_address":"010.1.1.1"'), "invalid_event", "ip_address"),
    ("address empty", one('"ip_address":""'), "invalid_event", "ip_address"),
    ("time naive", one('"timestamp":"2026-01-01T00:00:00"'), "invalid_event", "timestamp"),
    ("time a date", one('"timestamp":"2026-01-01"'), "invalid_event", "timestamp"),
    ("time that is none", one('"timestamp":"2026-02-30T00:00:00Z"'), "invalid_event", "timestamp"),
    ("time before 1970", one('"timestamp":"1969-12-31T23:59:59.999999Z"'), "invalid_event", "timestamp"),
    ("time in 25 hours", one('"timestamp":"9999-12-31T23:59:59Z"'), "invalid_event", "timestamp"),
    ("time before year 1", one('"timestamp":"0001-01-01T00:00:00+23:59"'), "invalid_event", "timestamp"),
    ("time empty", one('"timestamp":""'), "invalid_event", "timestamp"),
    ("time with a NUL", one('"timestamp":"2026-01-01T00:00:00Z\\u0000"'), "invalid_event", "timestamp"),
    ("offset out of range", one('"timestamp":"2026-01-01T00:00:00+99:99"'), "invalid_event", "timestamp"),
    ("65 tags", one('"tags":[' + ",".join(['"t"'] * 65) + "]"), "invalid_event", "tags"),
    ("a tag a number", one('"tags":["a",1]'), "invalid_event", "tags"),
    ("a long tag", one(f'"tags":["{"é" * 5000}"]'), "invalid_event", "tags"),
    ("8 KiB and one", one(f'"user_id":"{"x" * 8193}"'), "invalid_event", "user_id"),
    ("8 KiB of two bytes each", one(f'"source":"{"é" * 4097}"'), "invalid_event", "source"),
    ("a long message", one(f'"message":"{"x" * 65537}"'), "invalid_event", "message"),
    ("a key that is a card's number", one('"idempotency_key":4111111111111111'), "invalid_event", "idempotency_key"),
    ("an empty key", one('"idempotency_key":""'), "invalid_event", "idempotency_key"),
    ("a long key", one(f'"idempotency_key":"{"k" * 256}"'), "invalid_event", "idempotency_key"),
    ("256 KiB and more", one(f'"metadata":{{"a":"{"x" * 262_144}"}}'), "event_too_large", None),
    ("too large with secrets", one(f'"metadata":{{"password":"{"x" * 262_144}"}}'), "event_too_large", None),
    ("100,000 keys", one('"metadata":{' + ",".join(f'"k{n}":1' for n in range(100_000)) + "}"),
    "event_too_large", None),
    ("65 levels", one(f'"metadata":{nested(64)}'), "too_deep", None),
    ("65 levels of arrays", one('"metadata":{"a":' + nested(63, "[", "]") + "}"), "too_deep", None),
    ("100,000 levels", one('"metadata":{"a":' + nested(100_000, "[", "]") + "}"), "too_deep", None),
    ("20,000 levels of arrays", one('"metadata":{"a":' + nested(20_000, "[", "]") + "}"), "too_deep", None),
    ("20,000 levels in a named field", one('"user_id":' + nested(20_000, "[", "]")), "invalid_event", "user_id"),
    ("10,000 levels unknown", one(f'"colour":{nested(10_000)}'), "invalid_event", "colour"),
    ("lone surrogate in a name", one('"user_id":"a\\ud800b"'), "lone_surrogate", "user_id"),
    ("low surrogate in a name", one('"user_id":"a\\udc00"'), "lone_surrogate", "user_id"),
    ("lone surrogate in metadata", one('"metadata":{"a":"\\ud800"}'), "lone_surrogate", "metadata"),
    ("low surrogate in metadata", one('"metadata":{"a":"\\uDFFF long enough text"}'), "lone_surrogate", "metadata"),
    ("surrogates turned round", one('"metadata":{"a":"\\udc00\\ud800"}'), "lone_surrogate", "metadata"),
    ("lone surrogate in a key", one('"metadata":{"\\uD83E":1}'), "lone_surrogate", "metadata"),
    ("lone surrogate beside a secret", one('"metadata":{"password":"\\ud800"}'), "lone_surrogate", "metadata"),
    *((f"{n} a number", one(f'"{n}":1', action=n != "action"), "invalid_event", n) for n in NAMED),
    *((f"{n} an object", one(f'"{n}":{{}}', action=n != "action"), "invalid_event", n) for n in NAMED),
    *((f"{n} true", one(f'"{n}":true', action=n != "action"), "invalid_event", n) for n in NAMED),
    *((f"{n} an array", one(f'"{n}":[1]', action=n != "action"), "invalid_event", n) for n in NAMED),
    *((f"{n} text", one(f'"{n}":"x"'), "invalid_event", n) for n in FREE),
    *((f"{n} a number", one(f'"{n}":1'), "invalid_event", n) for n in FREE),
    *((f"{n} an array", one(f'"{n}":[]'), "invalid_event", n) for n in FREE),
]  # fmt: skip
STATUS = {"malformed_json": 400, "lone_surrogate": 400, "event_too_large": 413}


@pytest.mark.parametrize(("event", "code", "field"), [e[1:] for e in EVENTS], ids=[e[0] for e in EVENTS])
def test_a_bad_event_is_refused_by_name_alone_and_among_others(
    client: Client, event: bytes, code: str, field: str | None
) -> None:
    body = problem(post(client, "/logs", event), STATUS.get(code, 422), code)
    _names(body, field)
    lines = post(client, "/logs/bulk", b'{"action":"good"}\n' + event + b'\n{"action":"good"}', NDJSON)
    _refused_alone(lines, code, field)
    if code != "malformed_json":  # an array with broken JSON in it has no items
        _refused_alone(post(client, "/logs/bulk", b'[{"action":"good"},' + event + b',{"action":"good"}]'), code, field)
        wrapped = b'{"events":[{"action":"good"},' + event + b',{"action":"good"}]}'
        _refused_alone(post(client, "/logs/bulk", wrapped), code, field)


def _names(error: dict[str, Any], field: str | None) -> None:
    if field is not None:
        assert error["errors"][0]["loc"][0] == field, error
        assert error["errors"][0]["msg"]
        assert error["errors"][0]["type"]


def _refused_alone(response: httpx.Response, code: str, field: str | None) -> None:
    assert response.status_code == 202, response.text
    items = response.json()["items"]
    assert [(item["index"], item["status"]) for item in items] == [(0, "accepted"), (1, "refused"), (2, "accepted")]
    assert items[1]["error"]["code"] == code
    _names(items[1]["error"], field)


def test_the_tag_that_is_wrong_is_named(client: Client) -> None:
    body = problem(post(client, "/logs", one('"tags":["a","b",3]')), 422, "invalid_event")
    assert body["errors"][0]["loc"] == ["tags", 2]


def test_what_is_at_a_bound_is_taken(client: Client) -> None:
    body = b'{"action":"x","metadata":{"a":""}}'
    for event in (
        one(f'"metadata":{nested(63)}'),
        one(f'"user_id":"{"é" * 4096}"'),
        one(f'"message":"{"x" * 65536}"'),
        one('"tags":[' + ",".join(['"t"'] * 64) + "]"),
        one('"metadata":{"n":' + "9" * 5000 + ',"e":1e99999,"nul":"\\u0000"}'),
        one('"user_id":"a\\u0000b"'),
        one('"metadata":{"pair":"\\ud83e\\udd8a","text":"\\\\ud800"}'),
        one('"metadata":{' + ",".join(f'"k{n}":1' for n in range(10_000)) + "}"),
        body[:-3] + b"x" * (255 * 1024) + body[-3:],
    ):
        response = post(client, "/logs", event)
        assert response.status_code == 202, response.text
        back = client.get(f"/logs/{response.json()['id']}", params={"wait": 20})
        assert back.status_code == 200
