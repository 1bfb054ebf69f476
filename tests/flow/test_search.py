"""Searching over HTTP: every kind of question, answered as a look through all events' bytes would answer it."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from typing import Any

import pytest

from core import instant
from core.query import parse
from tests import brute
from tests.service import Client, Service

BASE = "2026-03-01T{:02}:00:00Z"
EVENTS: list[dict[str, Any]] = [
    {"action": "user.login", "severity": "INFO", "outcome": "success", "user_id": "ana", "ip_address": "10.0.0.1"},
    {"action": "user.login", "severity": "WARNING", "outcome": "failure", "user_id": "ben", "ip_address": "10.0.1.1"},
    {"action": "user.logout", "severity": "DEBUG", "user_id": "ana", "session_id": "s-1", "request_id": "r-1"},
    {"action": "doc.read", "resource_type": "doc", "resource_id": "d/1", "tags": ["red", "green"], "trace_id": "t-1"},
    {"action": "doc.share", "resource_type": "doc", "resource_id": "d/2", "tags": ["red"], "source": "drive"},
    {"action": "doc.delete", "severity": "CRITICAL", "outcome": "denied", "tags": [], "user_agent": "curl/8 (x*y)"},
    {"action": "Doc.Delete", "severity": "ERROR", "user_id": "!odd*", "ip_address": "2001:db8::1"},
    {"action": "net", "ip_address": "::ffff:10.0.0.9", "message": "The quick brown fox jumps over the lazy dog"},
    {"action": "net", "ip_address": "192.168.7.7", "message": "quick! Brown-fox; Größe: 42 über naïve 日本"},
    {"action": "meta", "metadata": {"user": {"name": "ana", "age": 7}, "list": [1, {"deep": "x"}], "flag": True}},
    {"action": "meta", "metadata": {"user.name": "ben", "empty": {}, "nothing": None, "user": {"age": 8}}},
    {"action": "meta", "metadata": {"eq": "a=b", "text": "ana", "long": "prefix-of-this"}, "message": "ana was here"},
    {"action": "state", "before_state": {"role": "viewer", "n": 1}, "after_state": {"role": "editor", "n": 1}},
    {"action": "state", "before_state": {"role": "editor"}, "after_state": {"role": "editor"}},
    {"action": "ünï", "user_id": "日本", "source": "a b&c=d/e?f#g+h%", "message": "100% sure + more"},
]

QUERIES: list[str] = [
    "", "sort=timestamp", "sort=-timestamp", "sort=received_at", "sort=-received_at",
    "action=user.login", "action=user.login&action=doc.read", "action=!user.login", "action!=user.login",
    "action!=!user.login", "action=user.login&action=!doc.read", "action!=user.login&action!=net", "action=user.*",
    "action=!user.*", "action=*", "action=none", "action=doc.delete", "severity=INFO&severity=ERROR",
    "severity=info", "severity=DEBUG", "outcome=denied", "outcome=!*", "outcome=*", "outcome!=success",
    "user_id=ana", "user_id=ana&outcome=success", "user_id=ana&outcome=denied", "user_id=\\!odd\\*",
    "user_id=!\\!odd\\*",
    "user_id=日本", "session_id=s-1", "user_agent=curl/8 (x\\*y)", "user_agent=curl*", "resource_type=doc",
    "resource_id=d/1", "resource_id=d/*", "request_id=r-1", "request_id=!r-1", "trace_id=t-1", "source=drive",
    "tags=red", "tags=green", "tags=red&tags=none", "tags=!red", "tags=*", "tags=!*", "tags=gr*", "action=ünï",
    "ip_address=10.0.0.1", "ip_address=10.0.0.0/24", "ip_address=10.0.0.0/8", "ip_address=!10.0.0.0/8",
    "ip_address=0.0.0.0/0", "ip_address=::/0", "ip_address=2001:db8::/32", "ip_address=2001:0DB8:0::1",
    "ip_address=::ffff:10.0.0.0/120", "ip_address=10.0.0.1/8", "ip_address=*", "ip_address=!*",
    "ip_address=10.0.0.9", "ip_address=192.168.7.7&ip_address=10.0.0.0/24",
    "q=quick", "q=quick brown", 'q="quick brown"', 'q="brown quick"', "q=QUICK", "q=fox dog", "q=ana", "q=user.login",
    "q=10.0.0.1", "q=größe", "q=日本", "q=nothere", "q=ana here", "q=d/1", "q=x", "q=editor", "q=quick&action=!net",
    "message=quick", "message=lazy dog", "message=dog lazy", "message=!quick", "message=*", "message=!*",
    "metadata.user.name=ana", "metadata.user.name=ben", "metadata.user.name=*", "metadata.user.name=!ana",
    "metadata.user=*", "metadata.user.age=7", "metadata.user.age=7&metadata.user.age=8", "metadata.list=1",
    "metadata.list.deep=x", "metadata.flag=true", "metadata.empty=*", "metadata.nothing=*", "metadata.eq=a=b",
    "metadata.long=prefix*", "metadata.long=!prefix*", "metadata.text=ana", "metadata.none=ana",
    "before_state.role=viewer", "after_state.role=editor", "after_state.role=editor&before_state.role=!editor",
    "before_state.n=1", "before_state.role=v*",
    "from=2026-03-01T03:00:00Z", "to=2026-03-01T03:00:00Z", "from=2026-03-01T03:00:00Z&to=2026-03-01T06:00:00Z",
    "from=2026-03-01T05:00:00%2B02:00&to=2026-03-01T03:00:00.000001Z", "from=2026-03-01T05:00:00+02:00",
    "from=2026-03-01T06:00:00Z&to=2026-03-01T03:00:00Z", "from=-1h", "to=-1h", "from=-52w", "to=now",
    "received_from=-1h", "received_to=-1h", "received_from=-1h&received_to=now&to=2026-03-01T05:00:00Z",
    "from=1960-01-01T00:00:00Z&to=9999-12-31T23:59:59Z",
    "user_id=ana&sort=timestamp", "q=quick&sort=timestamp", "metadata.user=*&sort=-received_at",
    "user_id=ana&user_id=ben",
]  # fmt: skip


class Logged:
    """A tenant with `EVENTS`, and their stored bytes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        events = [event | {"timestamp": BASE.format(n)} for n, event in enumerate(EVENTS)]
        self.ids = [client.ingest(event) for event in events]  # one by one: each has its own received_at
        settled(client, len(events), sort="received_at")
        self.bodies = [client.get(f"/logs/{event_id}").content for event_id in self.ids]


@pytest.fixture(scope="module")
def logged(running: Service) -> Logged:
    return Logged(running.tenant())


def raw(query: str) -> list[tuple[str, str]]:
    """The parameters of a query written as in a browser's address, a + standing for a space."""
    return urllib.parse.parse_qsl(query, keep_blank_values=True)


@pytest.mark.parametrize("query", QUERIES)
def test_the_answer_is_that_of_a_look_through_all_events(logged: Logged, query: str) -> None:
    parameters = raw(query)
    response = logged.client.get("/logs", params=parameters)
    assert response.status_code == 200, response.text
    answer = response.json()
    expected = brute.answer(parse(parameters, instant.now_us()).query, logged.bodies)
    assert [event["id"] for event in answer["data"]] == expected
    assert (answer["total"], answer["total_relation"]) == (len(expected), "exact")
    assert answer["next_cursor"] is None
    assert answer["answered_by"] == "index"


def test_the_queries_tell_something(logged: Logged) -> None:
    """Most of them match some of the events and not all: an answer that is always empty would be no test."""
    sizes = [len(brute.answer(parse(raw(query), instant.now_us()).query, logged.bodies)) for query in QUERIES]
    assert sum(0 < size < len(EVENTS) for size in sizes) > len(QUERIES) * 2 / 3


def test_an_id_is_a_filter_too(logged: Logged) -> None:
    for n in (0, 5):
        answer = logged.client.get("/logs", params={"id": logged.ids[n]}).json()
        assert [event["id"] for event in answer["data"]] == [logged.ids[n]]
    answer = logged.client.get("/logs", params=[("id", logged.ids[1]), ("id", logged.ids[2]), ("id", "none")]).json()
    assert {event["id"] for event in answer["data"]} == set(logged.ids[1:3])
    assert logged.client.get("/logs", params={"id!": logged.ids[0]}).json()["total"] == len(EVENTS) - 1


def test_a_page_holds_the_events_exact_bytes(logged: Logged) -> None:
    text = logged.client.get("/logs", params={"sort": "received_at"}).content
    assert b'{"data":[' + b",".join(logged.bodies) + b"]," in text


@pytest.mark.parametrize("sort", ["timestamp", "-timestamp", "received_at", "-received_at"])
@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_pages_join_to_the_whole(logged: Logged, sort: str, limit: int) -> None:
    seen = [event["id"] for page in pages(logged.client, sort=sort, limit=limit) for event in page["data"]]
    assert seen == brute.answer(parse([("sort", sort)], 0).query, logged.bodies)


def pages(client: Client, **query: Any) -> list[dict[str, Any]]:
    found = []
    cursor: dict[str, str] = {}
    while True:
        response = client.get("/logs", params=query | cursor)
        assert response.status_code == 200, response.text
        found.append(response.json())
        if found[-1]["next_cursor"] is None:
            return found
        assert found[-1]["data"]
        cursor = {"cursor": found[-1]["next_cursor"]}


def settled(client: Client, count: int, **query: Any) -> None:
    """Wait until the index itself finds so many: right after its first event the store answers in its stead."""
    deadline = time.monotonic() + 30
    while client.found(count, **query)["answered_by"] != "index":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_events_of_one_moment_are_paged_by_id(tenant: Client) -> None:
    events = [{"action": "same", "timestamp": BASE.format(0), "metadata": {"n": n}} for n in range(25)]
    assert tenant.post("/logs/bulk", json=events).status_code == 202
    settled(tenant, 25)
    for sort in ("timestamp", "-timestamp"):
        seen = [event["id"] for page in pages(tenant, sort=sort, limit=4) for event in page["data"]]
        assert len(seen) == len(set(seen)) == 25
        assert seen == sorted(seen, reverse=sort.startswith("-"))


@pytest.mark.parametrize("sort", ["-received_at", "received_at", "-timestamp"])
def test_events_present_at_page_one_come_exactly_once_while_others_arrive(tenant: Client, sort: str) -> None:
    first = tenant.post("/logs/bulk", json=[{"action": "early", "user_id": str(n)} for n in range(40)]).json()
    present = {item["id"] for item in first["items"]}
    settled(tenant, 40)
    ended = threading.Event()

    def send_more() -> None:
        with Client(str(tenant.base_url).removesuffix("/api/v1/"), tenant.token) as other:
            while not ended.wait(0.05):
                other.post("/logs/bulk", json=[{"action": "late"}, {"action": "late", "timestamp": BASE.format(1)}])

    sender = threading.Thread(target=send_more)
    sender.start()
    try:
        seen: list[str] = []
        cursor: dict[str, str] = {}
        for _ in range(30):
            page = tenant.get("/logs", params={"sort": sort, "limit": 3} | cursor).json()
            seen += [event["id"] for event in page["data"]]
            if page["next_cursor"] is None or present <= set(seen):
                break
            cursor = {"cursor": page["next_cursor"]}
            time.sleep(0.1)
    finally:
        ended.set()
        sender.join()
    assert len(seen) == len(set(seen))
    assert present <= set(seen)


def test_a_relative_range_stays_where_the_first_page_put_it(tenant: Client) -> None:
    now = instant.now_us()
    times = [instant.to_text(now - 4_000_000 + n * 1000) for n in range(6)]
    tenant.post("/logs/bulk", json=[{"action": "x", "timestamp": text} for text in times])
    settled(tenant, 6)
    tenant.post("/logs/bulk", json=[{"action": "y", "timestamp": instant.to_text(instant.now_us() - 7_000_000)}])
    tenant.found(1, action="y")
    query = {"from": "-10s", "limit": 2, "sort": "timestamp", "action": "x"}
    page = tenant.get("/logs", params=query).json()
    time.sleep(7)  # what the first page's range held is out of one that is resolved now
    seen = list(page["data"])
    while page["next_cursor"]:
        page = tenant.get("/logs", params=query | {"cursor": page["next_cursor"]}).json()
        seen += page["data"]
    assert len(seen) == 6


def test_the_watermark_is_never_ahead_and_passes_every_event(tenant: Client) -> None:
    event_id = tenant.ingest({"action": "marked"})
    received = instant.from_text(tenant.get(f"/logs/{event_id}", params={"wait": 20}).json()["received_at"])
    deadline = time.monotonic() + 30
    last = 0
    while last <= received:
        assert time.monotonic() < deadline, "the watermark stands still"
        answer = tenant.get("/logs", params={"action": "marked"}).json()
        mark = answer["watermark"]
        assert set(mark) == {"complete_through", "rebuilding"}
        assert mark["rebuilding"] is False
        if mark["complete_through"] is not None:
            through = instant.from_text(mark["complete_through"])
            assert last <= through <= instant.now_us()
            last = through
            assert through <= received or answer["total"] == 1
        time.sleep(0.1)


def test_an_empty_log_has_an_empty_answer(tenant: Client) -> None:
    answer = tenant.get("/logs").json()
    assert (answer["data"], answer["next_cursor"], answer["total"]) == ([], None, 0)
    assert tenant.get("/logs", params={"q": "x", "metadata.a": "b"}).json()["data"] == []


def test_the_answer_is_json_to_the_last_byte(logged: Logged) -> None:
    for query in ("", "user_id=none", "limit=1"):
        response = logged.client.get(f"/logs?{query}")
        assert response.headers["Content-Type"] == "application/json"
        assert set(json.loads(response.content)) == {
            "data", "next_cursor", "total", "total_relation", "watermark", "answered_by",
        }  # fmt: skip
