"""Bodies that are none: damaged, too large, packed too well, of the wrong kind; each within bounds of memory."""

from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

import httpx
import psutil
import pytest
import zstandard

from tests.flow.refusals import MIB, NDJSON, nested, one, post, problem
from tests.service import Client, Service


@pytest.fixture(scope="module")
def client(running: Service) -> Client:
    """One tenant for all: what is refused leaves nothing behind."""
    return running.tenant()


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


NO_UTF8 = [
    (b'{"action":"\xff"}', "action"),
    (b'{"action":"x","\xff":1}', "?"),
    (b'{"action":"x","metadata":{"a":"\xc3\x28"}}', "metadata"),
    (b'{"action":"x","metadata":{"a":"\xc0\xaf"}}', "metadata"),  # overlong
    (b'{"action":"x","metadata":{"\xed\xa0\x80":1}}', "metadata"),  # a surrogate
]


@pytest.mark.parametrize(("bad", "field"), NO_UTF8)
def test_an_event_that_is_not_utf8_is_refused_alone(client: Client, bad: bytes, field: str) -> None:
    good = b'{"action":"x"}'
    wrapped = b'{"events":[' + good + b"," + bad + b"," + good + b"]}"
    lines = good + b"\n" + bad + b"\r\n" + good
    for body, kind in ((wrapped[10:-1], "application/json"), (wrapped, "application/json"), (lines, NDJSON)):
        response = post(client, "/logs/bulk", body, kind)
        assert response.status_code == 202, response.text
        assert [item["status"] for item in response.json()["items"]] == ["accepted", "refused", "accepted"]
        error = response.json()["items"][1]["error"]
        assert (error["code"], [fault["loc"] for fault in error["errors"]]) == ("invalid_utf8", [[field]])
    for body in (bad, b'{"action":"' + b"x" * MIB + b'\xff"}'):
        [item] = problem(post(client, "/logs/bulk", body), 422, "all_refused")["items"]
        assert item["error"]["code"] == "invalid_utf8"
        problem(post(client, "/logs", body), 400, "invalid_utf8")


def _sized(size: int, colon: bytes = b":") -> bytes:
    frame = one('"metadata":{"a":""}').replace(b":", colon)
    return frame[:-3] + b"x" * (size - len(frame)) + frame[-3:]


BOUNDS = [
    ("256 KiB", _sized(262_144), None),
    ("256 KiB and 1", _sized(262_145), "event_too_large"),
    ("256 KiB, spaced", _sized(262_144, b" : "), None),
    ("256 KiB and 1, spaced", _sized(262_145, b" : "), "event_too_large"),
    ("64 levels", one('"metadata":{"a":' + nested(62, "[", "]") + "}"), None),
    ("65 levels", one('"metadata":{"a":' + nested(63, "[", "]") + "}"), "too_deep"),
]


@pytest.mark.parametrize(("event", "code"), [b[1:] for b in BOUNDS], ids=[b[0] for b in BOUNDS])
def test_the_bounds_of_an_event_are_exact_in_every_form(client: Client, event: bytes, code: str | None) -> None:
    good = b'{"action":"x"}'
    lone = post(client, "/logs", event)
    assert (lone.json().get("code"), lone.status_code == 202) == (code, code is None), lone.text
    array = b"[" + good + b"," + event + b"," + good + b"]"
    lines = good + b"\n" + event + b"\n" + good
    for body, kind in (
        (array, "application/json"),
        (b'{"events":' + array + b"}", "application/json"),
        (lines, NDJSON),
    ):
        response = post(client, "/logs/bulk", body, kind)
        assert response.status_code == 202, response.text
        errors = [item.get("error", {}).get("code") for item in response.json()["items"]]
        assert errors == [None, code, None]


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
    for key in (b"k" * 256, "é".encode() * 128, "é".encode("latin-1"), b""):
        response = client.post("/logs", json={"action": "x"}, headers=[(b"Idempotency-Key", key)])
        body = problem(response, 422, "invalid_event")
        assert body["errors"][0]["loc"] == ["idempotency_key"]


def test_a_header_and_a_body_with_different_keys_are_refused(client: Client) -> None:
    for key in ("a", "password=x"):  # the second is masked where it is no key
        event = {"action": "x", "idempotency_key": key}
        same = client.post("/logs", json=event, headers={"Idempotency-Key": key})
        assert same.status_code == 202, same.text
        response = client.post("/logs", json=event, headers={"Idempotency-Key": "b"})
        body = problem(response, 422, "invalid_event")
        assert [fault["loc"] for fault in body["errors"]] == [["header", "Idempotency-Key"], ["idempotency_key"]]
    response = client.post("/logs", json={"action": "x", "idempotency_key": None}, headers={"Idempotency-Key": "b"})
    assert response.status_code == 202, response.text


def test_a_body_over_the_bound_is_refused_declared_or_not(client: Client) -> None:
    big = b'{"action":"' + b"x" * (16 * MIB) + b'"}'
    for path in ("/logs", "/logs/bulk"):
        try:
            declared = post(client, path, big)
        except httpx.WriteError:  # the answer came before the body was through, and the connection closed
            declared = None
        if declared is not None:
            problem(declared, 413, "body_too_large")
        with suppress(httpx.WriteError):
            problem(post(client, path, _chunks(big)), 413, "body_too_large")


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
    ("zstd, the last frame cut off",
    "zstd", zstandard.compress(b'{"action":"x"}\n') * 2 + b"\x28\xb5", 400, "bad_encoding"),
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
    ("encoding", "make"),
    [
        ("gzip", lambda: _gzip_bomb(512 * MIB)),  # 1,000 to 1
        ("gzip", lambda: _gzip_bomb(15 * MIB) * 40),
        ("zstd", lambda: _zstd_bomb(1024 * MIB)),  # 30,000 to 1
        ("zstd", lambda: _zstd_bomb(15 * MIB) * 40),
    ],
    ids=["gzip", "gzip members", "zstd", "zstd frames"],
)
def test_a_bomb_goes_off_within_bounds(
    running: Service, client: Client, encoding: str, make: Callable[[], bytes]
) -> None:
    bomb = make()
    process = psutil.Process(running.api.popen.pid)
    before = process.memory_info().rss
    with _Peak(process) as peak:
        for path in ("/logs", "/logs/bulk"):
            problem(post(client, path, bomb, Content_Encoding=encoding), 413, "body_too_large")
    assert peak.rss - before < 5 * 16 * MIB, f"{(peak.rss - before) // MIB} MiB more"
    assert client.get("/logs").status_code == 200


LEFT_BEHIND = {
    "an event that is too large": b'{"action":"x","message":"' + b"a" * (15 * MIB) + b'"}',
    "beside a good one": b'[{"action":"x"},{"action":"x","message":"' + b"a" * (15 * MIB) + b'"}]',
    "no JSON": b'[{"action":"x","message":"' + b"a" * (15 * MIB) + b'"',
    "no events": b'{"more":"' + b"a" * (15 * MIB) + b'","events":[]}',
    "no UTF-8": b'{"action":"\xff","message":"' + b"a" * (15 * MIB) + b'"}',
}


@pytest.mark.parametrize("kind", LEFT_BEHIND)
def test_refused_bodies_one_after_another_leave_nothing_behind(running: Service, client: Client, kind: str) -> None:
    """Packed, each is a few hundred bytes."""
    packed = zstandard.compress(LEFT_BEHIND[kind])
    process = psutil.Process(running.api.popen.pid)
    before = 0
    for _ in range(24):
        for path in ("/logs", "/logs/bulk"):
            assert post(client, path, packed, Content_Encoding="zstd").status_code in (202, 400, 413, 422)
        before = before or process.memory_info().rss
    after = process.memory_info().rss
    assert after - before < 6 * 16 * MIB, f"{(after - before) // MIB} MiB more after 24 of each"


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


# Heads ---------------------------------------------------------------------------------------------------------------

HEAD = b"POST /api/v1/logs HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HEADS = [
    ("a header", HEAD + b"X-A: "),
    ("a target", b"GET /"),
    ("a trailer", CHUNKED + b"0\r\nX-A: "),
    ("a chunk's extension", CHUNKED + b"1;a="),
]


def sent_until_cut_off(running: Service, start: bytes, most: int) -> int:
    """How many bytes go out after `start` before the other side ends the connection; `most` when it does not."""
    with socket.create_connection(("127.0.0.1", running.api.port), timeout=10) as connection:
        connection.sendall(start)
        sent = 0
        try:
            while sent < most:
                connection.sendall(b"a" * 65_536)
                sent += 65_536
        except OSError:
            pass
        return sent


@pytest.mark.parametrize("start", [h[1] for h in HEADS], ids=[h[0] for h in HEADS])
def test_a_head_without_end_is_cut_off(running: Service, start: bytes) -> None:
    # The system's own buffers take some MiB that nobody reads any more.
    assert sent_until_cut_off(running, start, 64 * MIB) < 32 * MIB


def test_headers_within_the_bound_and_requests_in_a_row_are_taken(running: Service, client: Client) -> None:
    for n in range(3):
        response = client.post("/logs", json={"action": f"row.{n}"}, headers={"X-Long": "a" * 60_000})
        assert response.status_code == 202, response.text
    one = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.api.port), timeout=30) as connection:
        connection.sendall(one * 3_000)
        answers = b""
        while answers.count(b'{"status":"ok"}') < 3_000:
            got = connection.recv(65_536)
            assert got, f"cut off after {answers.count(b'200 OK')}"
            answers += got
