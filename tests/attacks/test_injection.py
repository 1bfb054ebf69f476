"""Text that means something to a database, an index, a spreadsheet, a log or a file system: here it is text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from core.export.formats import FORMULA_STARTS
from tests.figures import tally
from tests.service import Client, Service

PAYLOADS: Final = (
    # Lucene and regular expressions
    "*", "?", "*:*", "a OR b", "user_id:*", "[* TO *]", "/.*/", "_exists_:id", "plain~2", "plain^9", "(plain",
    'a" OR "b', "!x", "NOT x", "\\", "\\*", "plain*",
    # operators of MongoDB and of OpenSearch
    '{"$ne":""}', '{"$gt":""}', "$where", "this.x==1;while(1){}", '{"match_all":{}}', '{"query":{"match_all":{}}}',
    "{{constructor}}", "${7*7}", "%{#a}", "#{7*7}", "<%= 7*7 %>", "${jndi:ldap://127.0.0.1:9/a}",
    # SQL and shells
    "' OR '1'='1", "1; DROP TABLE events;--", "$(touch /tmp/ocelot-injected)", "`id`", "| id", "a\nb", "a\r\nb",
    # spreadsheets
    "=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", '=HYPERLINK("http://127.0.0.1:9")',
    # terminals, logs and pages
    "\x1b[2J\x1b[1;31mred", "\x00", "a\u2028b", "\u202eevil", "<script>alert(1)</script>", "a\x7f\x9bb",
    '{"level":"CRITICAL","message":"forged"}',
    # names that look alike
    "plаin", "ｐｌａｉｎ", "PLAIN", "plain\u200b", "plai\u0301n", "ﬁ",
)  # fmt: skip
OPERATORS: Final = (
    {"$ne": ""},
    {"$gt": ""},
    {"$regex": ".*"},
    {"$where": "1"},
    {"$in": ["plain"]},
    ["plain", {"$ne": 1}],
)


@pytest.fixture(scope="module")
def client(running: Service) -> Client:
    """A tenant that has sent each payload as a value once, and `plain`."""
    client = running.tenant("injected")
    events = [
        {"action": "injected", "user_id": text, "message": f"said {text}", "source": text, "metadata": {"v": text},
         "request_id": f"r{n}", "tags": [text, "tag"]}
        for n, text in enumerate(("plain", *PAYLOADS))
    ]  # fmt: skip
    answer = client.post("/logs/bulk", json=events)
    assert answer.json()["accepted"] == len(events), answer.text
    client.found(len(events), action="injected", limit=1)
    return client


@pytest.mark.parametrize("n", range(len(PAYLOADS)), ids=[ascii(text) for text in PAYLOADS])
def test_a_value_finds_itself_and_nothing_else(request: pytest.FixtureRequest, client: Client, n: int) -> None:
    text = PAYLOADS[n]
    own = f"r{n + 1}"
    written = text[:-1] + "\\*" if text.endswith("*") else text
    written = "\\" + written if written.startswith("!") else written
    for field in ("user_id", "source", "metadata.v"):
        for query in (
            {"query": {"field": field, "equals": text}},
            {"query": {"not": {"not": {"field": field, "equals": text}}}},
        ):
            found = client.post("/logs/search", json=query)
            assert found.status_code == 200, found.text
            assert [event["request_id"] for event in found.json()["data"]] == [own], (field, query)
        if not text.endswith("\\*"):
            found = client.get("/logs", params={field: written})
            assert [event["request_id"] for event in found.json()["data"]] == [own], found.text
            assert found.json()["data"][0]["metadata"] == {"v": text}
    # As full text it is words, or nothing that can be looked for: never a query of everything.
    found = client.get("/logs", params={"q": text, "limit": 1000})
    assert found.status_code in (200, 400), found.text
    if found.status_code == 200:
        assert found.json()["total"] <= len(PAYLOADS) // 2
    tally(request, "injection", "values that mean something elsewhere", tried=1, taken_as_text=1)


@pytest.mark.parametrize("operator", OPERATORS, ids=json.dumps)
def test_no_operator_stands_where_a_value_does(client: Client, operator: Any) -> None:
    held = {"user_id": operator, "metadata": {"v": operator}}
    assert client.post("/logs", json={"action": "injected.operator", **held}).status_code == 422
    bodies: list[tuple[str, str, Any]] = [
        ("POST", "/logs/search", {"query": {"field": "user_id", "equals": {"$ne": ""}}}),
        ("POST", "/logs/search", {"query": operator}),
        ("POST", "/logs/search", {"query": {"field": operator, "equals": "a"}}),
        ("POST", "/logs/index/bulk", {"ids": operator}),
        ("POST", "/quarantine/fix", {"ids": [operator], "mapping": []}),
        ("POST", "/quarantine/replay", {"match": {"code": operator}}),
        ("POST", "/searches", {"name": operator, "query": "q=a"}),
        ("POST", "/keys", {"name": operator, "roles": ["reader"]}),
        ("POST", "/keys", {"name": "a", "roles": [operator]}),
        ("POST", "/erasures", {"user_id": operator}), ("POST", "/holds", {"search": {}, "reason": operator}),
        ("POST", "/token", {"grant_type": "client_credentials", "client_id": operator, "client_secret": operator}),
        ("PUT", "/facets", {"facets": [{"name": operator, "path": "metadata.a", "type": "keyword"}]}),
        ("POST", "/viewer-links", {"filter": {"field": "user_id", "equals": {"$ne": ""}}}),
    ]  # fmt: skip
    for method, path, body in bodies:
        answer = client.request(method, path, json=body)
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
    for name in ("user_id[$ne]", "user_id.$ne", "$where", "metadata.$where", "user_id[]", "metadata[v]"):
        answer = client.get("/logs", params={name: "1"})
        assert answer.status_code == 400 or answer.json()["total"] == 0, name


def test_operators_as_keys_of_free_form_data_are_data(client: Client) -> None:
    held = {"$ne": 1, "$where": "1", "a.b": {"$set": {"tenant_id": "x"}}, "": {"": None}, "__proto__": {"admin": True},
            "constructor": {"prototype": {}}, "_id": "x", "\0": 1}  # fmt: skip
    event_id = client.ingest({"action": "injected.keys", "metadata": held, "before_state": held, "after_state": {}})
    stored = client.get(f"/logs/{event_id}", params={"wait": 20})
    assert (stored.json()["metadata"], stored.json()["before_state"]) == (held, held)
    client.found(1, action="injected.keys")


def test_no_cell_of_an_export_is_a_formula(client: Client) -> None:
    answer = client.get("/logs/export", params={"format": "csv", "action": "injected"})
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))
    cells = [cell for row in rows[1:] for cell in row]
    assert len(rows) == len(PAYLOADS) + 2
    assert [cell for cell in cells if cell.startswith(FORMULA_STARTS) and not cell.startswith("'")] == []
    assert sum(cell.startswith("'=") for cell in cells) >= 6
    name = answer.headers["Content-Disposition"]
    assert not set(name) & set("\r\n/\\")


PATHS: Final = (
    "%2e%2e", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..\\..\\windows\\win.ini", "/etc/passwd", "file:///etc/passwd",
    "....//....//etc/passwd", "a\0.csv", "%00", "~root", "CON", "a" * 3000,
    "*", "_all", "_search", "{}", "'", '"', ";", "$ne", "%", "%zz",
    "\u2215etc\u2215passwd", "-1", "0x1", "9" * 50, "%2e", " ", "\n",
)  # fmt: skip


def _described(running: Service) -> Iterator[tuple[str, str]]:
    described = httpx.get(f"{running.url}/api/v1/openapi.json", timeout=60).json()
    for path, methods in described["paths"].items():
        if "{" in path:
            yield from ((method.upper(), path) for method in methods)


def test_no_id_in_a_path_reaches_a_file_or_an_index(
    request: pytest.FixtureRequest, running: Service, client: Client
) -> None:
    tried = 0
    for method, path in _described(running):
        for text in PATHS:
            start = path.index("{")
            filled = path[:start] + quote(text, safe="%") + path[path.index("}") + 1 :]
            answer = client.request(method, running.url + filled, json={})
            assert answer.status_code < 500, (method, filled, answer.text)
            stories = "/trace/" in path or "/request/" in path
            assert answer.status_code >= 400 or stories, (method, filled, answer.text)
            assert not stories or answer.status_code >= 400 or answer.json()["total"] == 0
            for told in ("root:", "[fonts]", "Traceback", "No such file"):
                assert told not in answer.text
            tried += 1
    tally(request, "injection", "ids that are paths, wildcards or commands", tried=tried, taken_as_text=tried)


FORGED: Final = '\r\n{"time": "2026", "level": "CRITICAL", "logger": "x", "message": "forged-by-a-client"}\r\n'


def test_no_client_writes_a_line_of_the_log(running: Service, client: Client) -> None:
    text = f"\x1b[31m{FORGED}"
    escaped = quote(text)
    client.get(f"/logs/{escaped}", headers={"X-Request-Id": escaped, "User-Agent": escaped, "Referer": escaped})
    client.get("/logs", params={"user_id": text, "cursor": text, "sort": text})
    client.post("/logs", json={"action": text, "user_agent": text})
    client.post("/searches", json={"name": text, "query": text})
    client.post("/keys", json={"name": text, "roles": [text]})
    client.put("/catalogue", json={"mode": "off", "actions": {text: {"schema": {"$ref": text}}}})
    client.post("/token", data={"grant_type": "client_credentials", "client_id": text, "client_secret": text})
    httpx.get(f"{running.url}/api/v1/logs", headers={"Authorization": f"Bearer {escaped}"})
    for log in Path(running.environment["OCELOT_HOME"]).glob("*.log"):
        for line in log.read_bytes().splitlines():
            assert b"\x1b" not in line
            if line.startswith(b"{"):
                assert json.loads(line)["message"] != "forged-by-a-client"
