"""Requests that bend HTTP, headers that reach into answers, and the headers that every answer has."""

from __future__ import annotations

from typing import Final

import httpx
import pytest

from tests.attacks.wire import exchange
from tests.figures import tally
from tests.service import Client, Service

UPGRADE: Final = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
POST: Final = b"POST /api/v1/logs HTTP/1.1\r\nHost: h\r\n%TOKENContent-Type: application/json\r\n"
GET: Final = b"GET /api/v1/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n"
FOLLOW: Final = b"GET /api/v1/logs/stream HTTP/1.1\r\nHost: h\r\n" + UPGRADE
# By what each is: the request's bytes, and the statuses that it may have.
BENT: Final[dict[str, tuple[bytes, tuple[int, ...]]]] = {
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n012345", (400,)),
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x", (400,)),
    "chunks and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /x", (400,)),
    "chunked twice, the last otherwise": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", (400,)),
    "another transfer encoding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", (400,)),
    "a transfer encoding after white space": (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", (400,)),
    "length below zero": (POST + b"Content-Length: -1\r\n\r\n", (400,)),
    "length with a sign": (POST + b"Content-Length: +2\r\n\r\n{}", (400,)),
    "length beyond 64 bits": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", (400,)),
    "length a superscript": (POST + b"Content-Length: \xb2\r\n\r\n", (400,)),
    "length more than 16 MiB": (POST + b"Connection: close\r\nContent-Length: 16777217\r\n\r\n", (413,)),
    "a chunk below zero": (POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", (400,)),
    "a chunk beyond 64 bits": (POST + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\n\r\n", (400,)),
    "a chunk's size no number": (POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", (400,)),
    "chunks by bare line feeds": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", (400,)),
    "white space before a colon": (GET + b"X-A : b\r\n\r\n", (400,)),
    "a folded header": (GET + b"X-A: a\r\n b\r\n\r\n", (400,)),
    "a NUL in a header": (GET + b"X-A: a\0b\r\n\r\n", (400,)),
    "a bare carriage return in a header": (GET + b"X-Request-Id: a\rX-Evil: 1\r\n\r\n", (400,)),
    "a header without a name": (GET + b": b\r\n\r\n", (400,)),
    "HTTP 9.9": (b"GET /api/v1/health HTTP/9.9\r\nHost: h\r\n\r\n", (400,)),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400,)),
    "an upgrade to h2c": (
        GET.replace(b"close", b"Upgrade, HTTP2-Settings") + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAA\r\n\r\n", (200,)),
    "CONNECT": (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", (400,)),
    "TRACE": (b"TRACE /api/v1/logs HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (405,)),
    "a method of no registry": (b"FOO /api/v1/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (400, 405)),
    "another method by a header": (GET + b"X-HTTP-Method-Override: DELETE\r\n\r\n", (200,)),
    "the asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (404,)),
    "a target without a slash": (b"GET nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (400,)),
    "a target of raw bytes": (b"GET /api/v1/\xff\xfe HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (400,)),
    "a target with a NUL": (b"GET /api/v1/\0 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (400,)),
    "another host's target": (
        b"GET http://evil.example/api/v1/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (200,)),
    "another host's target, broken": (
        b"GET http://[::/api/v1/health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (400,)),
    "a broken host": (
        b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: [::\r\nConnection: close\r\n\r\n", (200,)),
    "dots in the target": (b"GET /api/v1/tenants/../logs HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (404,)),
    "two slashes": (b"GET //api/v1/logs HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (404,)),
    "parameters in the path": (b"GET /api/v1/logs;a=b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (404,)),
    "dots to the files of the pages": (
        b"GET /api/v1/docs/assets/../../../core/keys.py HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (404,)),
    "escaped dots to the files of the pages": (
        b"GET /api/v1/docs/assets/%2e%2e/%2e%2e/__init__.py HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (404,)),
    "a NUL behind a file of the pages": (
        b"GET /api/v1/docs/assets/start.js%00 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", (404,)),
    "3,000 ranges of a file": (
        b"GET /api/v1/docs/assets/start.js HTTP/1.1\r\nHost: h\r\nConnection: close\r\nRange: bytes="
        + b",".join([b"0-"] * 3000) + b"\r\n\r\n", (200, 206, 400, 416)),
    "5,000 addresses of proxies": (GET + b"X-Forwarded-For: " + b",".join([b"1.1.1.1"] * 5000) + b"\r\n\r\n", (200,)),
    "two hosts": (GET + b"Host: other\r\n\r\n", (200, 400)),
    "a WebSocket elsewhere": (b"GET /api/v1/logs HTTP/1.1\r\nHost: h\r\n" + UPGRADE + b"\r\n", (403, 404)),
    "a WebSocket by POST": (b"POST /api/v1/logs/stream HTTP/1.1\r\nHost: h\r\n" + UPGRADE + b"\r\n", (405,)),
    "a WebSocket of another version": (FOLLOW.replace(b"13", b"12") + b"\r\n", (400, 426)),
    "a WebSocket's protocols broken": (FOLLOW + b"Sec-WebSocket-Protocol: a,,;=\r\n\r\n", (400,)),
    **{
        f"a WebSocket from the origin {origin!r}": (FOLLOW + b"Origin: " + origin + b"\r\n\r\n", (403,))
        for origin in (b"https://evil.example", b"null", b"http://[", b"http://]", b"http://[::1", b"\xff", b"http://h.evil",
                       b"http://h@evil.example", b"http://evil.example#h", b"file://", b"h")
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def tenant(running: Service) -> Client:
    """One for all: what is refused leaves nothing behind."""
    return running.tenant()


@pytest.mark.parametrize("kind", BENT)
def test_a_bent_request_is_refused_or_harmless(
    request: pytest.FixtureRequest, running: Service, kind: str, tenant: Client
) -> None:
    sent, statuses = BENT[kind]
    answer = exchange(
        running.api.port, sent.replace(b"%TOKEN", f"Authorization: Bearer {tenant.token}\r\n".encode()), silence=5
    )
    assert answer.status in statuses, answer.raw[:500]
    assert answer.raw.count(b"HTTP/1.1 ") == 1, "what was smuggled behind it got an answer"
    assert b"Traceback" not in answer.raw
    names = [name for name, _ in answer.headers]
    assert "x-evil" not in names
    assert not [name for name in names if name in ("server", "x-powered-by") or name.startswith("access-control")]
    of = "WebSockets" if "WebSocket" in kind else "HTTP"
    tally(request, "requests", f"bent {of}", tried=1, refused=answer.status >= 400, errors_of_ours=answer.status >= 500)


def test_every_answer_has_the_security_headers(running: Service, tenant: Client) -> None:
    asked = {
        200: tenant.get("/logs"), 202: tenant.post("/logs", json={"action": "a"}), 400: tenant.get("/logs?limit=x"),
        401: httpx.get(f"{running.url}/api/v1/logs"), 404: tenant.get("/nothing"), 405: tenant.patch("/logs"),
        415: tenant.post("/logs", content=b"a", headers={"Content-Type": "text/plain"}),
    }  # fmt: skip
    pages = [
        httpx.get(running.url + path) for path in ("/api/v1/docs", "/api/v1/docs/assets/start.js", "/metrics", "/")
    ]
    assert [status for status, answer in asked.items() if answer.status_code != status] == []
    for answer in (*asked.values(), *pages):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
        assert "no-store" in answer.headers["Cache-Control"]
    policy = pages[0].headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'self';" in policy


def test_a_refused_websocket_has_them_too(running: Service) -> None:
    answer = exchange(running.api.port, FOLLOW + b"Origin: https://evil.example\r\n\r\n")
    assert (answer.status, dict(answer.headers)["x-content-type-options"]) == (403, "nosniff")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
def test_no_page_of_another_origin_may_read(running: Service, tenant: Client, origin: str) -> None:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for answer in (
        tenant.options("/logs", headers=asked),
        tenant.get("/logs", headers={"Origin": origin}),
        tenant.post("/logs", json={"action": "a"}, headers={"Origin": origin}),
        httpx.get(f"{running.url}/api/v1/logs", headers={"Origin": origin}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


SPLITS: Final = ("a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\r\n\r\n<script>", "a%0d%0aX-Evil:%201", "a\u560d\u560aX-Evil: 1")


@pytest.mark.parametrize("text", SPLITS)
def test_no_text_splits_an_answers_head(running: Service, tenant: Client, text: str) -> None:
    escaped = httpx.URL("", params={"v": text}).query.decode()[2:]
    answers = [
        tenant.get(f"/logs/{escaped}"), tenant.get(f"/downloads/{escaped}"), tenant.get(f"/exports/{escaped}"),
        tenant.get("/logs", params={"user_id": text}), tenant.get("/logs/export", params={"format": text}),
        tenant.get("/logs/export", params={"format": "csv", "user_id": text}), tenant.get(f"/logs/trace/{escaped}"),
        tenant.put(f"/permission-sets/{escaped}", json={"permissions": ["logs:view"]}),
        tenant.post("/searches", json={"name": text, "query": "q=a"}),
        tenant.post("/viewer-links", json={"filter": {"field": "user_id", "equals": text}, "label": text}),
        tenant.post("/keys", json={"name": text, "roles": ["reader"]}),
        tenant.get("/logs", headers={"X-Request-Id": escaped, "Last-Event-ID": escaped, "If-None-Match": escaped}),
        tenant.post("/token", data={"grant_type": text, "client_id": text, "client_secret": text}),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code < 500, answer.text
        assert "X-Evil" not in answer.headers
        assert not [value for value in answer.headers.values() if "\n" in value or "\r" in value]
    assert answers[11].headers["X-Request-Id"] != escaped
