"""Exports over HTTP: the exact stored bytes, every event once, in every form; no broken file looks whole."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import time
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import zstandard

from core import instant
from core.access import Role
from core.export.formats import COLUMNS
from tests import brute, census
from tests.service import Client, Service

ODD: list[dict[str, Any]] = [
    {"action": "a", "message": "=cmd|' /C calc'!A0", "user_id": "+1", "source": "-x", "session_id": "@sum"},
    {"action": "\tx", "message": "\r\nline\nline", "user_id": "'quoted", "tags": ["=1", "é"]},
    {"action": "nested", "metadata": {"a.b": {"$c": [1, None, "é\u0000"]}}},
    {"action": 'with "quotes", commas; and\u2028', "before_state": {"n": 1}, "after_state": {}, "ip_address": "::1"},
]  # fmt: skip
EVENTS = 240


@pytest.fixture(scope="module")
def filled(running: Service) -> Client:
    """A tenant with odd and ordinary events, all of them stored and indexed."""
    client = running.tenant("Ünï & Söhne; Co. ../x")
    raw = b'{"action":"raw","metadata":{"big":123456789012345678901234567890,"e":1e400,"e":2 }}'
    assert client.post("/logs", content=raw, headers={"Content-Type": "application/json"}).status_code == 202
    events = [*ODD, *({"action": f"read.{n % 7}", "user_id": f"u{n % 3}", "metadata": {"n": n}} for n in range(EVENTS))]
    assert client.post("/logs/bulk", json=events).json()["accepted"] == len(events)
    client.found(len(events) + 1)
    client.complete()
    return client


@pytest.fixture(scope="module")
def stored(running: Service, filled: Client) -> list[bytes]:
    """The stored bytes in an export's order."""
    bodies = census.take(running, filled).bodies

    def key(body: bytes) -> tuple[int, str]:
        event = json.loads(body)
        return instant.from_text(event["received_at"]), event["id"]

    return sorted(bodies.values(), key=key)


def exported(client: Client, **query: Any) -> httpx.Response:
    response = client.get("/logs/export", params=query)
    assert response.status_code == 200, response.text
    return response


def lines(response: httpx.Response) -> list[bytes]:
    return response.content.split(b"\n")[:-1]


def test_ndjson_is_the_stored_bytes(filled: Client, stored: list[bytes]) -> None:
    response = exported(filled)
    assert lines(response) == stored
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert len(stored) == EVENTS + len(ODD) + 1


def test_json_is_an_array_of_the_stored_bytes(filled: Client, stored: list[bytes]) -> None:
    content = exported(filled, format="json").content
    assert content == b"[\n" + b",\n".join(stored) + b"\n]\n"
    assert len(json.loads(content)) == len(stored)


def test_csv_holds_every_field_and_no_formula(filled: Client, stored: list[bytes]) -> None:
    header, *table = csv.reader(io.StringIO(exported(filled, format="csv").text, newline=""))
    assert header == list(COLUMNS)
    assert len(table) == len(stored)
    for cells, body in zip(table, stored, strict=True):
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
        for name, cell in zip(COLUMNS, cells, strict=True):
            assert cell.removeprefix("'") == expected_text(body, name), name


def expected_text(body: bytes, name: str) -> str:
    value = json.loads(body).get(name)
    if value is None:
        return ""
    if name in ("metadata", "before_state", "after_state"):
        found = re.search(rb'"%s":(\{.*\})' % name.encode(), body)
        assert found is not None
        whole = found[1].decode()
        return next(whole[:end] for end in range(1, len(whole) + 1) if balanced(whole[:end]))
    if name == "tags":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def balanced(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def test_parquet_holds_every_field_typed(filled: Client, stored: list[bytes]) -> None:
    table = pq.read_table(io.BytesIO(exported(filled, format="parquet").content))
    assert table.column_names == list(COLUMNS)
    for row, body in zip(table.to_pylist(), stored, strict=True):
        event = json.loads(body)
        assert int(row["received_at"].timestamp() * 1_000_000 + 0.5) == instant.from_text(event["received_at"])
        assert (row["id"], row["tags"], row["message"]) == (event["id"], event.get("tags"), event.get("message"))
        assert (row["metadata"] or "") == expected_text(body, "metadata")


QUERIES: list[dict[str, Any]] = [
    {"user_id": "u1"}, {"action": "read.*", "user_id": "!u2"}, {"metadata.n": "7"}, {"q": "read.3"},
    {"user_id": "none"},
    {"from": "2001-01-01T00:00:00Z", "to": "2002-01-01T00:00:00Z"}, {"received_to": "2002-01-01T00:00:00Z"},
    {"metadata.n": "*", "action": ["read.1", "read.2"]},
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_filter_finds_what_a_search_finds(filled: Client, stored: list[bytes], query: dict[str, Any]) -> None:
    found = filled.get("/logs", params={**query, "limit": 1000}).json()
    wanted = {event["id"] for event in found["data"]}
    assert lines(exported(filled, **query)) == [body for body in stored if json.loads(body)["id"] in wanted]
    assert exported(filled, format="json", **query).json() == [e for e in map(json.loads, stored) if e["id"] in wanted]


@pytest.mark.parametrize("query", [{}, {"metadata.n": "*"}], ids=["store", "index"])
@pytest.mark.parametrize("form", ["ndjson", "csv", "json"])
def test_a_broken_export_goes_on_after_its_last_whole_event(
    filled: Client, stored: list[bytes], query: dict[str, Any], form: str
) -> None:
    whole = exported(filled, format=form, **query)
    bodies = lines(exported(filled, **query))
    for place in (0, len(bodies) // 2, len(bodies) - 1):
        filled.ingest({"action": "later", "metadata": {"n": -1}})
        asked = {"cursor": whole.headers["X-Ocelot-Cursor"], "after": json.loads(bodies[place])["id"]}
        rest = exported(filled, format=form, **query, **asked)
        assert rest.headers["X-Ocelot-Received-Before"] == whole.headers["X-Ocelot-Received-Before"]
        assert whole.content.endswith(rest.content)
        begun = whole.content[: len(whole.content) - len(rest.content)]
        assert begun.count(b"received_at") == (1 if form == "csv" else place + 1)
        if form == "ndjson":
            assert lines(rest) == bodies[place + 1 :]
    again = exported(filled, format=form, **query, cursor=whole.headers["X-Ocelot-Cursor"])
    assert again.content == whole.content


def test_what_cannot_be_gone_on_with_is_refused(filled: Client) -> None:
    cursor = exported(filled).headers["X-Ocelot-Cursor"]
    search = filled.get("/logs", params={"limit": 1}).json()["next_cursor"]
    bad: list[tuple[dict[str, Any], str]] = [
        ({"cursor": cursor, "user_id": "u1"}, "cursor_of_another_query"),
        ({"cursor": search}, "cursor_of_another_query"),
        ({"cursor": cursor[:-2] + "AA"}, "bad_cursor"), ({"cursor": cursor, "format": "parquet"}, "invalid_query"),
        ({"after": "0" * 8}, "invalid_query"), ({"cursor": cursor, "after": "x"}, "invalid_query"),
        ({"cursor": cursor, "after": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61"}, "invalid_query"),
        ({"format": "xml"}, "invalid_query"), ({"format": ["csv", "json"]}, "invalid_query"),
        ({"sort": "timestamp"}, "invalid_query"),
        ({"fields": "id"}, "invalid_query"),
        ({"limit": "5"}, "invalid_query"), ({"tenant": "x"}, "invalid_query"), ({"from": "soon"}, "invalid_query"),
    ]  # fmt: skip
    for query, code in bad:
        answer = filled.get("/logs/export", params=query)
        assert (answer.status_code, answer.json()["code"]) == (400, code), query
    assert filled.get("/logs", params={"cursor": cursor}).json()["code"] == "cursor_of_another_query"


def test_the_files_name_is_plain_whatever_the_tenants_is(filled: Client) -> None:
    assert filled.tenant is not None
    form = rf'attachment; filename="n-s-hne-co-x-{filled.tenant.id}_\d{{8}}T\d{{6}}Z_\d{{8}}T\d{{6}}Z\.csv"'
    assert re.fullmatch(form, exported(filled, format="csv").headers["Content-Disposition"])


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_it_is_packed_for_who_takes_it(filled: Client, stored: list[bytes], form: str) -> None:
    plain = filled.get("/logs/export", params={"format": form}, headers={"Accept-Encoding": "identity, zstd;q=0"})
    assert "Content-Encoding" not in plain.headers
    for name, unpack in (("gzip", gzip.decompress), ("zstd", zstandard.ZstdDecompressor().decompressobj().decompress)):
        with filled.stream("GET", "/logs/export", params={"format": form}, headers={"Accept-Encoding": name}) as packed:
            assert packed.headers["Content-Encoding"] == name
            content = unpack(b"".join(packed.iter_raw()))
        assert content[: len(plain.content)].count(b"\n") >= len(stored)
        assert content.startswith(plain.content[:1000])


def test_what_was_just_sent_is_in_it(running: Service) -> None:
    client = running.tenant()
    sent = [client.ingest({"action": f"a{n}"}) for n in range(5)]
    assert [json.loads(line)["id"] for line in lines(exported(client))] == sent
    assert exported(running.tenant(), format="json").content == b"[]\n"


def test_a_lost_right_breaks_the_transfer(running: Service) -> None:
    """A file that ends early never ends well: the client sees that it is broken off."""
    admin = running.tenant()
    assert admin.tenant is not None
    event = {"action": "x", "metadata": {"x": "y" * 60_000}}
    for _ in range(20):
        assert admin.post("/logs/bulk", json=[event] * 30).status_code == 202
    admin.found(600)
    admin.complete()
    reader = running.client(admin.tenant, Role.READER)
    assert reader.token is not None
    with reader.stream("GET", "/logs/export", headers={"Accept-Encoding": "identity"}) as response:
        pieces = response.iter_raw(4096)
        next(pieces)
        running.with_backends(lambda backends: backends.control.revoke(token_id(reader.token), instant.now_us()))
        time.sleep(4.5)
        with pytest.raises(httpx.RemoteProtocolError):
            for _ in pieces:
                pass


def token_id(token: str | None) -> str:
    from jose import jwt

    return str(jwt.get_unverified_claims(str(token))["jti"])


def test_no_more_run_at_once_than_may_and_who_leaves_makes_room(running: Service) -> None:
    client = running.tenant()
    event = {"action": "x", "metadata": {"x": "y" * 60_000}}
    for _ in range(20):
        assert client.post("/logs/bulk", json=[event] * 30).status_code == 202
    client.found(600)
    client.complete()
    bound = running.settings.max_tenant_exports
    streams = [client.stream("GET", "/logs/export", headers={"Accept-Encoding": "identity"}) for _ in range(bound)]
    for stream in streams:
        assert stream.__enter__().status_code == 200
    refused = client.get("/logs/export")
    assert (refused.status_code, refused.json()["code"]) == (429, "overloaded")
    assert int(refused.headers["Retry-After"]) > 0
    assert running.tenant().get("/logs/export").status_code == 200
    for stream in streams:
        stream.__exit__(None, None, None)
    deadline = time.monotonic() + 10
    while (answer := client.get("/logs/export", params={"received_to": "-1h"})).status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer.status_code == 200


def test_brute_force_agrees_on_the_order(stored: list[bytes]) -> None:
    from core.query import EventQuery

    ids = brute.answer(EventQuery(sort="received_at", descending=False), stored)
    assert ids == [json.loads(body)["id"] for body in stored]
