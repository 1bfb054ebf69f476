"""Every refusal: a problem with a stable code that names field and item, nothing else lost, and never a 5xx."""

from __future__ import annotations

import gzip
import json
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.access import Role
from tests.service import Client, Service

NDJSON = "application/x-ndjson"
MIB = 1024 * 1024
NAMED = (
    "action", "timestamp", "severity", "outcome", "message", "user_id", "session_id", "ip_address", "user_agent",
    "resource_type", "resource_id", "request_id", "trace_id", "source", "tags",
)  # fmt: skip
FREE = ("metadata", "before_state", "after_state")


@pytest.fixture(scope="module")
def client(running: Service) -> Client:
    """One tenant for all: what is refused leaves nothing behind."""
    return running.tenant()


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == f"urn:ocelot:problem:{code}"
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in response.text
    return body


def post(client: Client, path: str, body: Any, kind: str = "application/json", **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=body, headers={"Content-Type": kind} | given)


def one(fields: str, action: bool = True) -> bytes:
    """An event of these members, written as JSON."""
    return ("{" + ('"action":"x",' if action else "") + fields + "}").encode("utf-8", "surrogateescape")


def nested(depth: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * depth + "1" + closing * depth


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
    ("an empty key", one('"idempotency_key":""'), "invalid_event", "idempotency_key"),
    ("a long key", one(f'"idempotency_key":"{"k" * 256}"'), "invalid_event", "idempotency_key"),
    ("256 KiB and more", one(f'"metadata":{{"a":"{"x" * 262_144}"}}'), "event_too_large", None),
    ("too large with secrets", one(f'"metadata":{{"password":"{"x" * 262_144}"}}'), "event_too_large", None),
    ("100,000 keys", one('"metadata":{' + ",".join(f'"k{n}":1' for n in range(100_000)) + "}"), "event_too_large", None),
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


# Bodies --------------------------------------------------------------------------------------------------------------

BODIES: list[tuple[str, bytes, str, int, str]] = [
    ("nothing", b"", "application/json", 400, "malformed_json"),
    ("white space", b" \n ", "application/json", 400, "malformed_json"),
    ("no lines", b"", NDJSON, 400, "empty_bulk"),
    ("blank lines", b"\n \r\n\t\n", NDJSON, 400, "empty_bulk"),
    ("an empty array", b"[]", "application/json", 400, "empty_bulk"),
    ("no events", b'{"events":[]}', "application/json", 400, "empty_bulk"),
    ("events no array", b'{"events":{"action":"x"}}', "application/json", 400, "bad_bulk"),
    ("more than events", b'{"events":[{"action":"x"}],"more":1}', "application/json", 400, "bad_bulk"),
    ("a number", b"1", "application/json", 400, "bad_bulk"),
    ("text", b'"x"', "application/json", 400, "bad_bulk"),
    ("an array cut off", b'[{"action":"x"},{"act', "application/json", 400, "malformed_json"),
    ("a comma too many", b'[{"action":"x"},]', "application/json", 400, "malformed_json"),
    ("a broken item", b'[{"action":"x"},{"action":}]', "application/json", 400, "malformed_json"),
    ("a word", b"action", "application/json", 400, "malformed_json"),
    ("no UTF-8", b'[{"action":"\xff"}]', "application/json", 400, "invalid_utf8"),
    ("no UTF-8 in metadata", b'[{"action":"x","metadata":{"a":"\xc3\x28"}}]', "application/json", 400, "invalid_utf8"),
    ("overlong UTF-8", b'[{"action":"x","metadata":{"a":"\xc0\xaf"}}]', "application/json", 400, "invalid_utf8"),
    ("a surrogate in UTF-8", b'[{"action":"x","metadata":{"a":"\xed\xa0\x80"}}]', NDJSON, 400, "invalid_utf8"),
    ("UTF-16", '[{"action":"x"}]'.encode("utf-16"), "application/json", 400, "invalid_utf8"),
    ("UTF-8 cut off", b'[{"action":"\xe2\x82', "application/json", 400, "invalid_utf8"),
    ("10,001 lines", b'{"action":"x"}\n' * 10_001, NDJSON, 413, "too_many_events"),
    ("10,001 items", b"[" + b'{"action":"x"},' * 10_000 + b"1]", "application/json", 413, "too_many_events"),
    ("10,001 wrapped", b'{"events":[' + b"1," * 10_000 + b"1]}", "application/json", 413, "too_many_events"),
    ("a million items", b"[" + b"1," * 1_000_000 + b"1]", "application/json", 413, "too_many_events"),
    ("plain text", b'[{"action":"x"}]', "text/plain", 415, "unsupported_media_type"),
    ("a form", b"action=x", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
    ("CSV", b"action\nx", "text/csv", 415, "unsupported_media_type"),
    ("a type that is none", b'[{"action":"x"}]', "json", 415, "unsupported_media_type"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "status", "code"), [b[1:] for b in BODIES], ids=[b[0] for b in BODIES])
def test_a_bad_bulk_is_refused_whole(client: Client, body: bytes, kind: str, status: int, code: str) -> None:
    problem(post(client, "/logs/bulk", body, kind), status, code)


def test_all_refused_is_a_problem_with_a_result_for_each(client: Client) -> None:
    body = problem(post(client, "/logs/bulk", b'[{"action":""},{"x":1}]'), 422, "all_refused")
    assert [item["status"] for item in body["items"]] == ["refused"] * 2
    assert (body["accepted"], body["refused"], body["retry"]) == (0, 2, 0)


@pytest.mark.parametrize("deep", [500, 2_000, 100_000])
def test_depth_in_a_lone_or_first_item_is_that_items_fault(client: Client, deep: int) -> None:
    event = one('"metadata":{"a":' + nested(deep, "[", "]") + "}")
    for body in (event, b"[" + event + b"]", b'{"events":[' + event + b"]}"):
        [item] = problem(post(client, "/logs/bulk", body), 422, "all_refused")["items"]
        assert item["error"]["code"] == "too_deep"
    for body in (b"[" * deep, b'{"events":' * deep, b'{"a":' * deep + b"1" + b"}" * deep):
        response = post(client, "/logs/bulk", body)
        assert response.status_code in (400, 422)
        problem(response, response.status_code, response.json()["code"])


def test_a_single_event_has_no_form_of_many(client: Client) -> None:
    problem(post(client, "/logs", b'[{"action":"x"}]'), 422, "invalid_event")
    problem(post(client, "/logs", b'{"action":"x"}', NDJSON), 415, "unsupported_media_type")
    problem(post(client, "/logs", b""), 400, "malformed_json")
    problem(post(client, "/logs", b'{"action":"\xff"}'), 400, "invalid_utf8")


def test_a_key_in_the_header_is_bounded(client: Client) -> None:
    for key in ("k" * 256, "é" * 128, ""):
        response = client.post("/logs", json={"action": "x"}, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
        body = problem(response, 422, "invalid_event")
        assert body["errors"][0]["loc"] == ["idempotency_key"]


def test_a_body_over_the_bound_is_refused_declared_or_not(client: Client) -> None:
    big = b'{"action":"' + b"x" * (16 * MIB) + b'"}'
    for path in ("/logs", "/logs/bulk"):
        try:
            declared = post(client, path, big)
        except httpx.WriteError:  # the answer came before the body was through, and the connection closed
            declared = None
        if declared is not None:
            problem(declared, 413, "body_too_large")
        try:
            problem(post(client, path, _chunks(big)), 413, "body_too_large")
        except httpx.WriteError:
            pass


def _chunks(body: bytes) -> Iterator[bytes]:
    yield from (body[start : start + MIB] for start in range(0, len(body), MIB))


ENCODED: list[tuple[str, str, bytes, int, str]] = [
    ("gzip cut off", "gzip", gzip.compress(b'{"action":"x"}')[:-4], 400, "bad_encoding"),
    ("gzip cut in its header", "gzip", gzip.compress(b'{"action":"x"}')[:5], 400, "bad_encoding"),
    ("gzip with a wrong sum", "gzip", gzip.compress(b'{"action":"x"}')[:-8] + bytes(8), 400, "bad_encoding"),
    ("gzip and more", "gzip", gzip.compress(b'{"action":"x"}') + b"more", 400, "bad_encoding"),
    ("no gzip", "gzip", b'{"action":"x"}', 400, "bad_encoding"),
    ("gzip of members without end", "gzip", gzip.compress(b"") * 50_000, 400, "bad_encoding"),
    ("zstd cut off", "zstd", zstandard.compress(b'{"action":"x"}\n' * 1000)[:-3], 400, "bad_encoding"),
    ("zstd cut in its header", "zstd", zstandard.compress(b'{"action":"x"}')[:3], 400, "bad_encoding"),
    ("zstd, the last frame cut off", "zstd", zstandard.compress(b'{"action":"x"}\n') * 2 + b"\x28\xb5", 400, "bad_encoding"),
    ("zstd and more", "zstd", zstandard.compress(b'{"action":"x"}') + b"more", 400, "bad_encoding"),
    ("no zstd", "zstd", b'{"action":"x"}', 400, "bad_encoding"),
    ("zstd of a window of 2 GiB", "zstd", b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x01\x00\x00", 400, "bad_encoding"),
    ("zlib for gzip", "gzip", zlib.compress(b'{"action":"x"}'), 400, "bad_encoding"),
    ("nothing at all", "gzip", b"", 400, "malformed_json"),
    ("brotli", "br", b"x", 415, "unsupported_encoding"),
    ("deflate", "deflate", b"x", 415, "unsupported_encoding"),
    ("two encodings", "gzip, gzip", b"x", 415, "unsupported_encoding"),
    ("no name", "*", b"x", 415, "unsupported_encoding"),
]  # fmt: skip


@pytest.mark.parametrize(("encoding", "body", "status", "code"), [e[1:] for e in ENCODED], ids=[e[0] for e in ENCODED])
def test_a_packed_body_that_is_damaged_is_refused_whole(
    client: Client, encoding: str, body: bytes, status: int, code: str
) -> None:
    problem(post(client, "/logs", body, Content_Encoding=encoding), status, code)
    if code != "malformed_json":
        problem(post(client, "/logs/bulk", body, NDJSON, Content_Encoding=encoding), status, code)


def _gzip_bomb(size: int) -> bytes:
    return gzip.compress(bytes(size), 9)


def _zstd_bomb(size: int) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(bytes(size))


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", _gzip_bomb(512 * MIB)),  # 1,000 to 1
        ("gzip", _gzip_bomb(15 * MIB) * 40),
        ("zstd", _zstd_bomb(1024 * MIB)),  # 30,000 to 1
        ("zstd", _zstd_bomb(15 * MIB) * 40),
    ],
    ids=["gzip", "gzip members", "zstd", "zstd frames"],
)
def test_a_bomb_goes_off_within_bounds(running: Service, client: Client, encoding: str, bomb: bytes) -> None:
    process = psutil.Process(running.api.popen.pid)
    before = process.memory_info().rss
    with _Peak(process) as peak:
        for path in ("/logs", "/logs/bulk"):
            problem(post(client, path, bomb, Content_Encoding=encoding), 413, "body_too_large")
    assert peak.rss - before < 5 * 16 * MIB, f"{(peak.rss - before) // MIB} MiB more"
    assert client.get("/logs").status_code == 200


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[" + b"1," * (8 * MIB - 2) + b"1]", "application/json"),
        (b'{"events":[' + b"{}," * (5 * MIB) + b"1]}", "application/json"),
        (b"1\n" * (8 * MIB), NDJSON),
        (b"[" + b'{"action":"a"},' * MIB + b"1]", "application/json"),
    ],
    ids=["numbers", "objects", "lines", "events"],
)
def test_a_body_of_millions_of_items_stays_within_bounds(
    running: Service, client: Client, body: bytes, kind: str
) -> None:
    process = psutil.Process(running.api.popen.pid)
    before = process.memory_info().rss
    with _Peak(process) as peak:
        problem(post(client, "/logs/bulk", body, kind), 413, "too_many_events")
    assert peak.rss - before < 6 * 16 * MIB, f"{(peak.rss - before) // MIB} MiB more"


class _Peak:
    """The largest RSS of a process while the block runs, looked at a hundred times a second."""

    def __init__(self, process: psutil.Process) -> None:
        self.rss = 0
        self._process = process
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.rss = max(self.rss, self._process.memory_info().rss)

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.rss = max(self.rss, self._process.memory_info().rss)


# Routes and parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/logs", 405), ("DELETE", "/logs", 405), ("PATCH", "/logs/bulk", 405), ("GET", "/logs/bulk", 404),
        ("DELETE", "/logs/01a1fdf2-d2cc-7e1f-94f5-0939230d076e", 405), ("GET", "/token", 405), ("GET", "/tenants", 405),
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
    ("metadata.=x", "metadata."), ("metadata..a=x", "metadata..a"), ("metadata.a.=x", "metadata.a."),
    ("changed_paths=/a", "changed_paths"), ("user_id=", "user_id"), ("user_id=!", "user_id"), ("metadata.a=", "metadata.a"),
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


# Anything at all -----------------------------------------------------------------------------------------------------

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
_event = st.dictionaries(st.sampled_from([*NAMED, *FREE, "idempotency_key", "other"]), _json, max_size=6)
_bodies = st.one_of(
    st.binary(max_size=200),
    st.one_of(_json, _event, st.lists(_event, max_size=4)).map(lambda value: json.dumps(value).encode()),
    st.lists(_event, max_size=4).map(lambda events: b"\n".join(json.dumps(event).encode() for event in events)),
)
_bounded = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def _is_an_answer(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        problem(response, response.status_code, response.json()["code"])


@_bounded
@given(body=_bodies, kind=st.sampled_from(["application/json", NDJSON]), coded=st.sampled_from([None, "gzip", "zstd"]))
def test_no_body_at_all_is_a_fault_of_ours(client: Client, body: bytes, kind: str, coded: str | None) -> None:
    headers = {} if coded is None else {"Content_Encoding": coded}
    _is_an_answer(post(client, "/logs", body, kind, **headers))
    _is_an_answer(post(client, "/logs/bulk", body, kind, **headers))


_fields = (
    st.sampled_from(
        [
            "q",
            "from",
            "to",
            "received_from",
            "received_to",
            "sort",
            "limit",
            "cursor",
            "id",
            "action",
            "action!",
            "tags",
            "ip_address",
            "ip_address!",
            "message",
            "metadata.a",
            "metadata.a.b",
            "metadata.a..b",
            "before_state.x",
            "user_id",
        ]
    )
    | st.text(max_size=8).map(lambda text: "metadata." + text)
    | st.text(max_size=8)
)
_values = st.text(max_size=20) | st.sampled_from([
    "*", "!*", "!", "\\!", "\\*", "a*", "a\\*", '"', '"a b"', "-1h", "now", "1", "10.0.0.0/8", "::1", "\x00", "(", "a OR b",
    "timestamp", "-received_at", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59",
])  # fmt: skip


@_bounded
@given(query=st.lists(st.tuples(_fields, _values), max_size=4))
def test_no_query_at_all_is_a_fault_of_ours(client: Client, query: list[tuple[str, str]]) -> None:
    _is_an_answer(client.get("/logs", params=[(k.encode("utf-8"), v.encode("utf-8")) for k, v in query]))


@_bounded
@given(raw=st.binary(max_size=40), part=st.sampled_from(["/logs?", "/logs?q=", "/logs/", "/"]))
def test_no_address_at_all_is_a_fault_of_ours(client: Client, raw: bytes, part: str) -> None:
    quoted = "".join(f"%{byte:02x}" for byte in raw)
    response = client.get(part + quoted)
    assert response.status_code < 500, response.text


def test_the_service_is_as_well_as_before(running: Service, client: Client) -> None:
    """After all of the above: ready, nothing held, and events still go through."""
    client.ingest({"action": "after.all"})
    client.found(1, action="after.all")
    assert client.get("/ready").json()["status"] == "ready"
    deadline = time.monotonic() + 5
    while "ocelot_in_flight_bytes 0.0" not in httpx.get(f"{running.url}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with running.client(client.tenant, Role.READER) as reader:
        assert reader.get("/logs").status_code == 200
