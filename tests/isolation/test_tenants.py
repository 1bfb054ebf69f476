"""Two tenants with the same keys and data: with the other's token, no route returns, counts or names anything."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from core import instant
from core.access import Role
from core.ids import uuid7s
from core.jobs import EXPORT, Job, JobState
from core.placement import place, read_alias, write_alias
from tests import census
from tests.figures import tally
from tests.flow.exports import done, done_export, link_of
from tests.flow.jobs import ended
from tests.service import Client, Service
from tests.streams import Follower, Socket

EVENTS = 30
REQUEST = {"X-Request-Id": "same-for-all"}


@dataclass
class Pair:
    """Two tenants that sent the same events with the same keys; `mine` asks, `theirs` is what it must not see."""

    mine: Client
    theirs: Client
    my_ids: list[str]
    their_ids: list[str]
    their_job: str
    """A failed one."""
    senders: tuple[Client, Client]
    """Two more, for what sends events: the others' are counted."""

    @property
    def secrets(self) -> list[str]:
        """What an answer to `mine` would hold if it told anything of the other."""
        assert self.theirs.tenant is not None
        return [self.theirs.tenant.id, self.their_job, *self.their_ids]


def event(n: int) -> dict[str, Any]:
    return {
        "action": "file.read",
        "message": f"Ana opened the ledger {n}",
        "user_id": "ana",
        "ip_address": "203.0.113.7",
        "request_id": f"r{n}" if n < 8 else "shared",
        "trace_id": f"r{n}" if n < 8 else "shared",
        "timestamp": f"2026-11-01T10:00:{n:02}Z",
        "metadata": {"n": n, "of": {"the": "ledger"}},
        "idempotency_key": f"key-{n}",
    }


@pytest.fixture(scope="module")
def pair(running: Service) -> Pair:
    clients = [running.tenant("same name"), running.tenant("same name")]
    ids = []
    for client in clients:
        response = client.post("/logs/bulk", json=[event(n) for n in range(EVENTS)])
        assert response.json()["accepted"] == EVENTS
        ids.append([item["id"] for item in response.json()["items"]])
    for client in clients:
        client.found(EVENTS, q="ledger")
    assert clients[1].tenant is not None
    now = instant.now_us()
    expires = now + 3_600_000_000
    job = Job(uuid7s(now, 1)[0], clients[1].tenant.id, EXPORT, {}, "ana", now, now, expires, JobState.FAILED)
    running.with_backends(lambda backends: backends.jobs.create(job, max_active=99))
    return Pair(*clients, *ids, job.id, (running.tenant("sender"), running.tenant("sender")))


def silent(pair: Pair, response: httpx.Response) -> httpx.Response:
    """The response, which names nothing of the other tenant, neither in its body nor in its headers."""
    shown = response.text + str(response.headers)
    assert not [secret for secret in pair.secrets if secret in shown]
    return response


def test_the_same_keys_and_data_make_two_logs(pair: Pair, running: Service) -> None:
    assert not set(pair.my_ids) & set(pair.their_ids)
    for client, ids in ((pair.mine, pair.my_ids), (pair.theirs, pair.their_ids)):
        held = census.take(running, client)
        assert sorted(held.stored) == sorted(held.indexed) == sorted(ids)


# One case for each operation of the API: what `mine` may do with it tells nothing of `theirs`.


def send_one(pair: Pair) -> None:
    answer = silent(pair, pair.mine.post("/logs", json=event(0)))
    assert answer.json()["id"] == pair.my_ids[0]


def send_many(pair: Pair) -> None:
    answer = silent(pair, pair.mine.post("/logs/bulk", json=[event(n) for n in range(EVENTS)]))
    assert [item["id"] for item in answer.json()["items"]] == pair.my_ids


def search(pair: Pair) -> None:
    asked: list[dict[str, Any]] = [
        {}, {"q": "ledger"}, {"q": "Ana opened"}, {"user_id": "ana"}, {"user_id": "*"}, {"user_id": "!nobody"},
        {"ip_address": "0.0.0.0/0"}, {"ip_address": "::/0"}, {"metadata.of.the": "ledger"}, {"metadata.n": "*"},
        {"message": "opened the ledger"}, {"from": "1970-01-01T00:00:00Z", "sort": "received_at"}, {"severity": "*"},
        {"metadata.of.the": "!other", "sort": "-received_at"}, {"request_id": ["shared", *(f"r{n}" for n in range(8))]},
    ]  # fmt: skip
    for query in asked:
        answer = silent(pair, pair.mine.get("/logs", params={"limit": 1000, **query})).json()
        assert (answer["total"], len(answer["data"])) == (EVENTS, EVENTS), query
        assert {found["id"] for found in answer["data"]} == set(pair.my_ids)
    for ids in (pair.their_ids, pair.their_ids[:1]):
        answer = pair.mine.get("/logs", params={"id": ids}).json()
        assert (answer["total"], answer["data"], answer["next_cursor"]) == (0, [], None)
    answer = pair.mine.get("/logs", params={"id": [pair.my_ids[0], *pair.their_ids]}).json()
    assert [found["id"] for found in answer["data"]] == pair.my_ids[:1]
    answer = pair.mine.get("/logs", params={"id": f"!{pair.their_ids[0]}"}).json()
    assert answer["total"] == EVENTS


def search_by_tree(pair: Pair) -> None:
    ana = {"field": "user_id", "equals": "ana"}
    there = {"field": "severity", "exists": True}
    for tree in (None, ana, {"or": [ana, there]}, {"not": {"not": there}}, {"text": "ledger"}, {"and": [ana, there]}):
        answer = silent(pair, pair.mine.post("/logs/search", json={"limit": 1000} | ({"query": tree} if tree else {})))
        assert {found["id"] for found in answer.json()["data"]} == set(pair.my_ids), tree
        assert answer.json()["total"] == EVENTS
    theirs = {"or": [{"field": "id", "equals": pair.their_ids}, {"field": "user_id", "equals": "nobody"}]}
    assert pair.mine.post("/logs/search", json={"query": theirs}).json()["total"] == 0
    cursor = pair.theirs.post("/logs/search", json={"query": ana, "limit": 3}).json()["next_cursor"]
    answer = silent(pair, pair.mine.post("/logs/search", json={"query": ana, "limit": 3, "cursor": cursor}))
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


def story(kind: str) -> Callable[[Pair], None]:
    def check(pair: Pair) -> None:
        answer = silent(pair, pair.mine.get(f"/logs/{kind}/r7"))
        assert [found["id"] for found in answer.json()["data"]] == [pair.my_ids[7]]
        cursor = pair.theirs.get(f"/logs/{kind}/shared", params={"limit": 3}).json()["next_cursor"]
        answer = silent(pair, pair.mine.get(f"/logs/{kind}/shared", params={"limit": 3, "cursor": cursor}))
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")
        answer = silent(pair, pair.mine.get(f"/logs/{kind}/shared", params={"limit": 1000}))
        assert [found["id"] for found in answer.json()["data"]] == pair.my_ids[8:]

    return check


def read_one(pair: Pair) -> None:
    unknown = pair.mine.get(f"/logs/{uuid.uuid4()}", headers=REQUEST)
    for id_ in pair.their_ids[:3]:
        for path in (id_, f"{id_}?wait=0.2", f"{id_}?fields=id"):
            answer = silent(pair, pair.mine.get(f"/logs/{path}", headers=REQUEST))
            assert (answer.status_code, answer.content) == (404, unknown.content)
            assert _comparable(answer) == _comparable(unknown)
    # Knowing an event's hash does not help either.
    etag = pair.theirs.get(f"/logs/{pair.their_ids[0]}").headers["ETag"]
    answer = pair.mine.get(f"/logs/{pair.their_ids[0]}", headers={"If-None-Match": etag, **REQUEST})
    assert (answer.status_code, answer.content) == (404, unknown.content)


def count(pair: Pair) -> None:
    asked = {"interval": "1h", "by": ["user_id", "request_id"], "top": 1000, "distinct": ["request_id", "ip_address"]}
    sent = Counter(event(n)["request_id"] for n in range(EVENTS))
    for query in ({}, {"q": "ledger"}, {"metadata.of.the": "ledger"}, {"from": "2026-10-20T00:00:00Z"}, {"id": "!x"}):
        answer = silent(pair, pair.mine.get("/logs/stats", params={**asked, **query})).json()
        assert answer["total"]["count"] == EVENTS, query
        assert sum(bucket["count"] for bucket in answer["timeline"]["buckets"]) == EVENTS
        assert answer["groups"][0]["values"] == [{"value": "ana", "count": EVENTS}]
        assert {group["value"]: group["count"] for group in answer["groups"][1]["values"]} == sent
        assert [figure["count"] for figure in answer["distinct"]] == [len(sent), 1]
    answer = silent(pair, pair.mine.get("/logs/stats", params={"id": pair.their_ids, "by": "user_id"})).json()
    assert (answer["total"]["count"], answer["groups"][0]["values"]) == (0, [])
    declared = {"facets": [{"name": "theirs", "path": "metadata.n", "type": "number"}]}
    assert pair.theirs.put("/facets", json=declared).status_code == 200
    unknown = pair.mine.get("/logs/stats", params={"percentiles": "facet.nobodys"}, headers=REQUEST)
    answer = pair.mine.get("/logs/stats", params={"percentiles": "facet.theirs"}, headers=REQUEST)
    assert (answer.status_code, answer.content) == (400, unknown.content)
    assert pair.theirs.put("/facets", json={"facets": []}).status_code == 200


def facets(pair: Pair) -> None:
    """The same name may stand for different paths; neither declaration shows in the other."""
    declared = {"facets": [{"name": "which", "path": "metadata.of.the", "type": "keyword"}]}
    assert pair.theirs.put("/facets", json=declared).status_code == 200
    assert silent(pair, pair.mine.get("/facets")).json()["facets"] == []
    changed = {"facets": [{"name": "which", "path": "metadata.n", "type": "number"}]}
    assert silent(pair, pair.mine.put("/facets", json=changed)).json()["facets"] == changed["facets"]
    assert pair.theirs.get("/facets").json()["facets"] == declared["facets"]
    for client in (pair.mine, pair.theirs):
        assert client.put("/facets", json={"facets": []}).json()["facets"] == []


def masking(pair: Pair) -> None:
    """Neither tenant's rules show in the other or mask its events, and the same value has another hash."""
    sent = {"event": {"action": "a", "user_id": "ana", "metadata": {"iban": "x"}}}
    rules = [{"by": "key", "match": "iban", "action": "remove"}, {"by": "path", "match": "$.user_id", "action": "hash"}]
    assert pair.theirs.put("/masking", json={"rules": rules}).status_code == 200
    assert silent(pair, pair.mine.get("/masking")).json()["rules"] == []
    shown = silent(pair, pair.mine.post("/masking/preview", json=sent)).json()
    assert shown["event"] == sent["event"] | {"severity": "INFO"}
    assert silent(pair, pair.mine.put("/masking", json={"rules": rules[1:]})).json()["rules"] == rules[1:]
    assert pair.theirs.get("/masking").json()["rules"] == rules
    hashes = {c.post("/masking/preview", json=sent).json()["event"]["user_id"] for c in (pair.mine, pair.theirs)}
    assert len(hashes) == 2
    for client in (pair.mine, pair.theirs):
        assert client.put("/masking", json={"rules": []}).json()["rules"] == []


def read_job(pair: Pair) -> None:
    refused_as_unknown(pair, "GET", "/jobs/{}")
    assert pair.theirs.get(f"/jobs/{pair.their_job}").status_code == 200


def retry_job(pair: Pair) -> None:
    refused_as_unknown(pair, "POST", "/jobs/{}/retry")
    assert pair.theirs.get(f"/jobs/{pair.their_job}").json()["state"] == "failed"


def refused_as_unknown(pair: Pair, method: str, path: str, theirs: str = "", **more: Any) -> None:
    """What is the other tenant's, its job if nothing is named, is answered as one that never was."""
    unknown = pair.mine.request(method, path.format(uuid.uuid4()), headers=REQUEST, **more)
    answer = silent(pair, pair.mine.request(method, path.format(theirs or pair.their_job), headers=REQUEST, **more))
    assert (answer.status_code, answer.content) == (404, unknown.content)
    assert _comparable(answer) == _comparable(unknown)


def read_changes(pair: Pair) -> None:
    unknown = pair.mine.get(f"/logs/{uuid.uuid4()}/changes", headers=REQUEST)
    for id_ in pair.their_ids[:3]:
        answer = silent(pair, pair.mine.get(f"/logs/{id_}/changes", headers=REQUEST))
        assert (answer.status_code, answer.content) == (404, unknown.content)
        assert _comparable(answer) == _comparable(unknown)


def export(pair: Pair) -> None:
    for query in ({}, {"q": "ledger"}, {"ip_address": "0.0.0.0/0"}, {"metadata.of.the": "ledger"}):
        for form in ("ndjson", "json", "csv"):
            answer = silent(pair, pair.mine.get("/logs/export", params={**query, "format": form}))
            assert sum(id_ in answer.text for id_ in pair.my_ids) == EVENTS
    assert silent(pair, pair.mine.get("/logs/export", params={"format": "parquet"})).content[:4] == b"PAR1"
    answer = pair.mine.get("/logs/export", params={"id": pair.their_ids})
    assert (answer.status_code, answer.content) == (200, b"")
    begun, theirs = pair.mine.get("/logs/export"), pair.theirs.get("/logs/export")
    asked = {"cursor": theirs.headers["X-Ocelot-Cursor"], "after": pair.their_ids[0]}
    assert silent(pair, pair.mine.get("/logs/export", params=asked)).json()["code"] == "bad_cursor"
    asked["cursor"] = begun.headers["X-Ocelot-Cursor"]
    unknown = pair.mine.get("/logs/export", params={**asked, "after": str(uuid.uuid4())}, headers=REQUEST)
    answer = silent(pair, pair.mine.get("/logs/export", params=asked, headers=REQUEST))
    assert (answer.status_code, answer.content) == (400, unknown.content)


def everything(client: Client) -> int:
    """How many events the client's log has, those of the access audit too."""
    total: int = client.get("/logs", params={"action": ["*", "ocelot.*"], "limit": 1}).json()["total"]
    return total


def completeness(pair: Pair) -> None:
    """Counts one's own: both sent the same, and the other has more."""
    assert pair.theirs.post("/logs/bulk", json=[{"action": "theirs alone"}] * 500).json()["accepted"] == 500
    least = everything(pair.mine)
    answer = silent(pair, pair.mine.get("/logs/completeness", params={"from": "-2h", "interval": "1d"})).json()
    assert least <= sum(each["stored"] for each in answer["intervals"]) <= least + 200
    assert answer["gaps"] == []


SAVED: dict[str, Any] = {"name": "of the ledger", "query": "q=ledger"}


def saved(client: Client) -> str:
    search_id: str = client.post("/searches", json=SAVED).json()["id"]
    return search_id


def save_search(pair: Pair) -> None:
    answer = silent(pair, pair.mine.post("/searches", json=SAVED))
    assert answer.status_code == 201
    assert pair.theirs.get(f"/searches/{answer.json()['id']}").status_code == 404


def list_searches(pair: Pair) -> None:
    mine, theirs = saved(pair.mine), saved(pair.theirs)
    listed = silent(pair, pair.mine.get("/searches", params={"limit": 1000})).json()
    ids = [search["id"] for search in listed["data"]]
    assert mine in ids
    assert theirs not in ids
    assert listed["total"] == len(ids)
    # Its id as a cursor is a place in one's own list and nothing more.
    below = silent(pair, pair.mine.get("/searches", params={"cursor": theirs})).json()["data"]
    assert {search["id"] for search in below} <= set(ids)


def of_a_search(method: str, path: str = "/searches/{}", **more: Any) -> Callable[[Pair], None]:
    def check(pair: Pair) -> None:
        theirs = saved(pair.theirs)
        refused_as_unknown(pair, method, path, theirs, **more)
        assert pair.theirs.get(f"/searches/{theirs}").json()["name"] == SAVED["name"]

    return check


def run_search(pair: Pair) -> None:
    of_a_search("GET", "/searches/{}/results")(pair)
    path = f"/searches/{saved(pair.mine)}/results"
    answer = silent(pair, pair.mine.get(path, params={"limit": 1000})).json()
    assert {found["id"] for found in answer["data"]} == set(pair.my_ids)
    cursor = pair.theirs.get(f"/searches/{saved(pair.theirs)}/results", params={"limit": 2}).json()["next_cursor"]
    refused = silent(pair, pair.mine.get(path, params={"limit": 2, "cursor": cursor}))
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")


def catalogue(pair: Pair) -> None:
    """The other's catalogue is neither shown nor asked."""
    mark, version = "only.theirs", pair.theirs.get("/catalogue").json()["version"]
    body = {"mode": "enforce", "actions": {mark: {"description": mark}, "file.read": {}}}
    assert pair.theirs.put("/catalogue", json=body).status_code == 200
    for path in ("", "/versions", "/versions/1", "/openapi.json"):
        answer = silent(pair, pair.mine.get(f"/catalogue{path}"))
        assert mark not in answer.text
    assert pair.mine.get("/catalogue").json()["version"] == 0
    assert pair.mine.post("/logs/bulk", json=[event(0)]).json()["accepted"] == 1
    assert pair.theirs.put("/catalogue", json={"mode": "off", "actions": {}}).json()["version"] == version + 2


def reindex(pair: Pair) -> None:
    """Neither the other's events nor its index is reached."""
    answer = silent_of(pair, pair.mine.post("/logs/index/bulk", json={"ids": [pair.my_ids[0], *pair.their_ids[:3]]}))
    statuses = [item["status"] for item in answer.json()["items"]]
    assert statuses == ["present", "not_found", "not_found", "not_found"]
    unknown = pair.mine.post("/logs/index/bulk", json={"ids": [str(uuid.uuid4())]}).json()["items"][0]
    assert answer.json()["items"][1] | {"id": ""} == unknown | {"id": ""}


def reconcile(pair: Pair) -> None:
    """Compares one's own events alone."""
    pair.mine.complete()
    job = silent(pair, pair.mine.post("/logs/index/reconcile", json={"received_from": "-1h"})).json()["job"]
    result = ended(pair.mine, job["id"])["result"]
    assert EVENTS <= result["compared"] <= everything(pair.mine)
    assert result["left"] == 0


def quarantine(pair: Pair) -> None:
    """A conflict lands in the quarantine of the tenant that it is of; with its id another can do nothing."""
    pair.theirs.ingest(event(0) | {"message": "of them alone"})
    deadline = time.monotonic() + 30
    while not (listed := pair.theirs.get("/quarantine").json()["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    item_id = listed[0]["id"]
    assert item_id not in silent(pair, pair.mine.get("/quarantine")).text
    refused_as_unknown(pair, "GET", "/quarantine/{}", item_id)
    for name, more in (("fix", {"mapping": []}), ("replay", {}), ("discard", {"dry_run": False})):
        for chosen in ({"ids": [item_id]}, {"match": {}}):
            answer = pair.mine.post(f"/quarantine/{name}", json=chosen | more)
            assert answer.status_code == 200
            assert [item["status"] for item in answer.json()["items"]] == ["not_found"] * len(chosen.get("ids", []))
    assert pair.theirs.get(f"/quarantine/{item_id}").json()["body"]["message"] == "of them alone"


def viewer_links(pair: Pair) -> None:
    body = {"filter": {"field": "user_id", "equals": "ana"}, "label": "theirs alone"}
    made = pair.theirs.post("/viewer-links", json=body).json()
    listed = silent(pair, pair.mine.get("/viewer-links"))
    assert made["id"] not in listed.text
    unknown = pair.mine.delete(f"/viewer-links/{'0' * 32}", headers=REQUEST)
    answer = silent(pair, pair.mine.delete(f"/viewer-links/{made['id']}", headers=REQUEST))
    assert (answer.status_code, answer.content) == (404, unknown.content)
    own = silent(pair, pair.mine.post("/viewer-links", json=body)).json()
    with Client(str(pair.mine.base_url).removesuffix("/api/v1/"), own["token"]) as viewer:
        found = silent(pair, viewer.get("/logs", params={"limit": 1000})).json()
        assert {each["id"] for each in found["data"]} == set(pair.my_ids)
        assert viewer.get(f"/logs/{pair.their_ids[0]}").status_code == 404


HOLD: dict[str, Any] = {"search": {"query": {"field": "user_id", "equals": "ana"}}, "reason": "theirs"}


def holds(pair: Pair) -> None:
    """The other's events are not matched, its holds not listed, read or released."""
    theirs = pair.theirs.post("/holds", json=HOLD).json()["id"]
    mine = silent(pair, pair.mine.post("/holds", json=HOLD)).json()
    assert mine["matched"] == EVENTS
    of_theirs = {"query": {"field": "id", "equals": pair.their_ids}}
    assert pair.mine.post("/holds", json=HOLD | {"search": of_theirs}).json()["code"] == "hold_matches_nothing"
    listed = [hold["id"] for hold in silent(pair, pair.mine.get("/holds")).json()["data"]]
    assert mine["id"] in listed
    assert theirs not in listed
    refused_as_unknown(pair, "GET", "/holds/{}", theirs)
    refused_as_unknown(pair, "POST", "/holds/{}/release", theirs, json={"reason": "stolen"})
    for client, hold in ((pair.mine, mine["id"]), (pair.theirs, theirs)):
        assert client.post(f"/holds/{hold}/release", json={"reason": "done"}).status_code == 200


def retention(pair: Pair) -> None:
    """One's clean-up takes and archives nothing of the other's; neither sees or restores what the other archived."""
    one, other = pair.senders
    ids = [client.ingest({"action": "old", "user_id": "ana"}) for client in (one, other)]
    for client, event_id in zip(pair.senders, ids, strict=True):
        client.found(1, id=event_id)
    asked = {"before": instant.to_text(instant.now_us()), "dry_run": "false"}
    job = silent(pair, one.request("DELETE", "/logs/cleanup", params=asked)).json()["job"]
    while one.get(f"/jobs/{job['id']}").json()["state"] != "done":
        time.sleep(0.2)
    one.found(0)
    other.found(1, id=ids[1])
    [file, *_] = silent(pair, one.get("/archive")).json()["data"]
    assert other.get("/archive").json()["data"] == []
    unknown = other.get("/archive", params={"cursor": str(uuid.uuid4())}, headers=REQUEST)
    answer = other.get("/archive", params={"cursor": file["id"]}, headers=REQUEST)
    assert (answer.status_code, answer.content) == (400, unknown.content)
    span = {"received_from": "-1d", "received_to": asked["before"]}
    assert other.post("/logs/restore", json=span).json()["code"] == "nothing_archived"
    refused_as_unknown(pair, "GET", "/jobs/{}", job["id"])


def replace_catalogue(pair: Pair) -> None:
    before = pair.theirs.get("/catalogue").content
    answer = silent(pair, pair.mine.put("/catalogue", json={"mode": "off", "actions": {"mine": {}}}))
    assert answer.json()["version"] == 1
    assert pair.theirs.get("/catalogue").content == before


def start_export(pair: Pair) -> None:
    made = silent(pair, pair.mine.post("/exports", json={"search": {"query": {"field": "user_id", "equals": "ana"}}}))
    content = httpx.get(str(pair.mine.base_url.copy_with(path=link_of(done(pair.mine, made.json()["id"]))))).text
    assert sum(id_ in content for id_ in pair.my_ids) == EVENTS
    assert not [secret for secret in pair.secrets if secret in content]


def list_exports(pair: Pair) -> None:
    theirs = done_export(pair.theirs)["id"]
    listed = silent(pair, pair.mine.get("/exports", params={"limit": 1000})).json()["data"]
    assert theirs not in [job["id"] for job in listed]


def of_an_export(method: str, path: str = "/exports/{}") -> Callable[[Pair], None]:
    def check(pair: Pair) -> None:
        theirs = done_export(pair.theirs)["id"]
        refused_as_unknown(pair, method, path, theirs)
        assert pair.theirs.get(f"/exports/{theirs}").json()["state"] == "done"

    return check


def download(pair: Pair) -> None:
    """A link is for whoever has it; one made of two tenants' links is for nobody."""
    mine, theirs = (link_of(done_export(client)).rsplit("/", 1)[1] for client in (pair.mine, pair.theirs))
    for cut in range(7, len(mine), 7):
        if mine[cut:] == theirs[cut:]:
            break  # both were given to the same subject, which stands at the end
        answer = silent(pair, pair.mine.get(f"/downloads/{mine[:cut]}{theirs[cut:]}"))
        assert answer.status_code == 403


def exchange_key(pair: Pair) -> None:
    form = {"grant_type": "client_credentials", "client_id": "ock_" + "0" * 24, "client_secret": "ocs_wrong"}
    assert silent(pair, pair.mine.post("/token", data=form)).status_code == 401


KEY: dict[str, Any] = {"name": "of the ledger", "roles": ["writer"]}


def make_key(pair: Pair) -> None:
    """A key is one tenant's, whatever it is named: its tokens write there, and the other does not see it."""
    made = silent(pair, pair.mine.post("/keys", json=KEY)).json()
    assert pair.theirs.get(f"/keys/{made['client_id']}").status_code == 404
    listed = pair.theirs.get("/keys", params={"limit": 1000}).json()["data"]
    assert made["client_id"] not in [key["client_id"] for key in listed]
    unknown = pair.theirs.post("/keys", json={"name": "x", "roles": ["mine-alone"]}, headers=REQUEST)
    assert pair.mine.put("/permission-sets/mine-alone", json={"permissions": ["logs:view"]}).status_code == 200
    answer = pair.theirs.post("/keys", json={"name": "x", "roles": ["mine-alone"]}, headers=REQUEST)
    assert (answer.status_code, answer.content) == (422, unknown.content)


def list_keys(pair: Pair) -> None:
    theirs = pair.theirs.post("/keys", json=KEY).json()["client_id"]
    listed = silent(pair, pair.mine.get("/keys", params={"limit": 1000}))
    assert theirs not in listed.text
    # Its id as a cursor is a place in one's own list and nothing more.
    assert theirs not in silent(pair, pair.mine.get("/keys", params={"cursor": theirs})).text


def of_a_key(method: str, path: str = "/keys/{}", **more: Any) -> Callable[[Pair], None]:
    def check(pair: Pair) -> None:
        theirs = pair.theirs.post("/keys", json=KEY).json()
        unknown = pair.mine.request(method, path.format("ock_" + "0" * 24), headers=REQUEST, **more)
        answer = silent(pair, pair.mine.request(method, path.format(theirs["client_id"]), headers=REQUEST, **more))
        assert (answer.status_code, answer.content) == (404, unknown.content)
        assert _comparable(answer) == _comparable(unknown)
        record = pair.theirs.get(f"/keys/{theirs['client_id']}").json()
        assert record == {name: value for name, value in theirs.items() if name != "client_secret"}

    return check


def permission_sets(pair: Pair) -> None:
    """The same name may stand for different permissions; neither shows in the other."""
    theirs, mine = ({"permissions": [name]} for name in ("logs:view", "catalogue:read"))
    assert pair.theirs.put("/permission-sets/same", json=theirs).status_code == 200
    assert "same" not in silent(pair, pair.mine.get("/permission-sets")).text
    assert pair.mine.delete("/permission-sets/same").status_code == 404
    assert silent(pair, pair.mine.put("/permission-sets/same", json=mine)).json()["permissions"] == ["catalogue:read"]
    held = next(each for each in pair.theirs.get("/permission-sets").json()["data"] if each["name"] == "same")
    assert held["permissions"] == ["logs:view"]
    assert pair.mine.delete("/permission-sets/same").status_code == 204
    assert pair.theirs.delete("/permission-sets/same").status_code == 204


def create_tenant(pair: Pair) -> None:
    assert silent(pair, pair.mine.post("/tenants", json={"name": "third"})).status_code == 403


def of_a_tenant(method: str, path: str = "/tenants/{}", **more: Any) -> Callable[[Pair], None]:
    """No tenant's own affair: it is refused alike for its own id, another's and nobody's."""

    def check(pair: Pair) -> None:
        assert pair.mine.tenant is not None
        assert pair.theirs.tenant is not None
        ids = ("a" * 16, pair.mine.tenant.id, pair.theirs.tenant.id)
        answers = [pair.mine.request(method, path.format(id_), headers=REQUEST, **more) for id_ in ids]
        assert [answer.status_code for answer in answers] == [403] * 3
        assert answers[0].content == answers[1].content == answers[2].content
        assert _comparable(answers[0]) == _comparable(answers[2])

    return check


def usage(pair: Pair) -> None:
    assert pair.mine.tenant is not None
    assert pair.theirs.tenant is not None
    assert silent(pair, pair.mine.get("/usage")).json()["tenant_id"] == pair.mine.tenant.id
    assert pair.mine.get("/usage", params={"tenant_id": pair.theirs.tenant.id}).status_code == 400


def usage_of_a_tenant(pair: Pair) -> None:
    assert pair.theirs.tenant is not None
    unknown = pair.mine.get(f"/tenants/{'a' * 16}/usage", headers=REQUEST)
    answer = pair.mine.get(f"/tenants/{pair.theirs.tenant.id}/usage", headers=REQUEST)
    assert (answer.status_code, answer.content) == (404, unknown.content)
    assert _comparable(answer) == _comparable(unknown)


def erase(pair: Pair) -> None:
    """Only the own are counted, and a hold of the other's keeps nothing here."""
    hold = pair.theirs.post("/holds", json={"search": {}, "reason": "theirs"}).json()["id"]
    answer = silent(pair, pair.mine.post("/erasures", json={"user_id": "ana"}))
    assert (answer.json()["events"], answer.json()["held_by"]) == (EVENTS, None)
    assert pair.theirs.post(f"/holds/{hold}/release", json={"reason": "seen"}).status_code == 200
    pair.mine.found(EVENTS)


def issue_token(pair: Pair) -> None:
    assert pair.theirs.tenant is not None
    path, body = "/tenants/{}/tokens", {"roles": ["reader"]}
    unknown = pair.mine.post(path.format("a" * 16), json=body, headers=REQUEST)
    answer = pair.mine.post(path.format(pair.theirs.tenant.id), json=body, headers=REQUEST)
    assert (answer.status_code, answer.content) == (404, unknown.content)
    assert _comparable(answer) == _comparable(unknown)


def tells_nothing(path: str) -> Callable[[Pair], None]:
    def check(pair: Pair) -> None:
        answer = silent(pair, pair.mine.get(f"{str(pair.mine.base_url).removesuffix('/api/v1/')}{path}"))
        assert answer.status_code == 200
        assert answer.text == pair.theirs.get(answer.request.url).text or path == "/metrics"

    return check


def follow(pair: Pair) -> None:
    """Each sends; the one's streams, by either way, hold nothing of the other's, and its places are no good here."""
    one, other = pair.senders
    with Follower(one) as mine, Follower(other) as theirs, Socket(one) as socket:
        for follower in (mine, theirs, socket):
            follower.started()
        sent = [other.ingest({"action": "theirs", "user_id": "ana"}) for _ in range(3)]
        own = [one.ingest({"action": "mine", "user_id": "ana"}) for _ in range(3)]
        assert sorted(theirs.events(3)) == sorted(sent)
        assert sorted(mine.events(3)) == sorted(socket.events(3)) == sorted(own)
        told = "".join(mine.raw + socket.raw)
        assert not [secret for secret in (*pair.secrets, *sent) if secret in told]
        foreign = theirs.last_id
    answers = [
        silent(pair, one.get("/logs/stream", headers={"Last-Event-ID": last, **REQUEST}))
        for last in (foreign, "A" * len(foreign))
    ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(400, "bad_last_event_id")}
    assert answers[0].content == answers[1].content


CASES: dict[tuple[str, str], Callable[[Pair], None]] = {
    ("post", "/api/v1/logs"): send_one,
    ("post", "/api/v1/logs/bulk"): send_many,
    ("get", "/api/v1/logs"): search,
    ("post", "/api/v1/logs/search"): search_by_tree,
    ("get", "/api/v1/logs/trace/{trace_id}"): story("trace"),
    ("get", "/api/v1/logs/request/{request_id}"): story("request"),
    ("get", "/api/v1/logs/export"): export,
    ("get", "/api/v1/logs/stream"): follow,
    ("get", "/api/v1/logs/{event_id}"): read_one,
    ("get", "/api/v1/logs/stats"): count,
    ("get", "/api/v1/logs/completeness"): completeness,
    ("get", "/api/v1/facets"): facets,
    ("put", "/api/v1/facets"): facets,
    ("get", "/api/v1/masking"): masking,
    ("put", "/api/v1/masking"): masking,
    ("post", "/api/v1/masking/preview"): masking,
    ("post", "/api/v1/exports"): start_export,
    ("get", "/api/v1/exports"): list_exports,
    ("get", "/api/v1/exports/{export_id}"): of_an_export("GET"),
    ("delete", "/api/v1/exports/{export_id}"): of_an_export("DELETE"),
    ("get", "/api/v1/downloads/{link}"): download,
    ("get", "/api/v1/jobs/{job_id}"): read_job,
    ("post", "/api/v1/jobs/{job_id}/retry"): retry_job,
    ("get", "/api/v1/logs/{event_id}/changes"): read_changes,
    ("get", "/api/v1/searches"): list_searches,
    ("post", "/api/v1/searches"): save_search,
    ("get", "/api/v1/searches/{search_id}"): of_a_search("GET"),
    ("put", "/api/v1/searches/{search_id}"): of_a_search("PUT", json=SAVED | {"name": "stolen"}),
    ("delete", "/api/v1/searches/{search_id}"): of_a_search("DELETE"),
    ("get", "/api/v1/searches/{search_id}/results"): run_search,
    ("post", "/api/v1/logs/index/bulk"): reindex,
    ("post", "/api/v1/logs/index/reconcile"): reconcile,
    ("get", "/api/v1/quarantine"): quarantine,
    ("get", "/api/v1/quarantine/{item_id}"): quarantine,
    ("post", "/api/v1/quarantine/fix"): quarantine,
    ("post", "/api/v1/quarantine/replay"): quarantine,
    ("post", "/api/v1/quarantine/discard"): quarantine,
    ("post", "/api/v1/viewer-links"): viewer_links,
    ("get", "/api/v1/viewer-links"): viewer_links,
    ("delete", "/api/v1/viewer-links/{link_id}"): viewer_links,
    ("get", "/api/v1/catalogue"): catalogue,
    ("get", "/api/v1/catalogue/versions"): catalogue,
    ("get", "/api/v1/catalogue/versions/{version}"): catalogue,
    ("get", "/api/v1/catalogue/openapi.json"): catalogue,
    ("put", "/api/v1/catalogue"): replace_catalogue,
    ("delete", "/api/v1/logs/cleanup"): retention,
    ("post", "/api/v1/logs/restore"): retention,
    ("get", "/api/v1/archive"): retention,
    ("post", "/api/v1/holds"): holds,
    ("get", "/api/v1/holds"): holds,
    ("get", "/api/v1/holds/{hold_id}"): holds,
    ("post", "/api/v1/holds/{hold_id}/release"): holds,
    ("post", "/api/v1/token"): exchange_key,
    ("post", "/api/v1/keys"): make_key,
    ("get", "/api/v1/keys"): list_keys,
    ("get", "/api/v1/keys/{key_id}"): of_a_key("GET"),
    ("patch", "/api/v1/keys/{key_id}"): of_a_key("PATCH", json={"name": "stolen"}),
    ("post", "/api/v1/keys/{key_id}/rotate"): of_a_key("POST", "/keys/{}/rotate", json={}),
    ("delete", "/api/v1/keys/{key_id}"): of_a_key("DELETE"),
    ("get", "/api/v1/permission-sets"): permission_sets,
    ("put", "/api/v1/permission-sets/{name}"): permission_sets,
    ("delete", "/api/v1/permission-sets/{name}"): permission_sets,
    ("get", "/api/v1/tenants"): of_a_tenant("GET", "/tenants"),
    ("post", "/api/v1/tenants"): create_tenant,
    ("get", "/api/v1/tenants/{tenant_id}"): of_a_tenant("GET"),
    ("put", "/api/v1/tenants/{tenant_id}"): of_a_tenant("PUT", json={"name": "mine", "status": "active"}),
    ("post", "/api/v1/erasures"): erase,
    ("delete", "/api/v1/tenants/{tenant_id}"): of_a_tenant("DELETE", params={"dry_run": "false"}),
    ("get", "/api/v1/tenants/{tenant_id}/deletion"): of_a_tenant("GET", "/tenants/{}/deletion"),
    ("patch", "/api/v1/tenants/{tenant_id}"): of_a_tenant("PATCH", json={"status": "suspended"}),
    ("post", "/api/v1/tenants/{tenant_id}/tokens"): issue_token,
    ("get", "/api/v1/usage"): usage,
    ("get", "/api/v1/keys/{key_id}/quotas"): of_a_key("GET", "/keys/{}/quotas"),
    ("put", "/api/v1/keys/{key_id}/quotas"): of_a_key("PUT", "/keys/{}/quotas", json={"events_per_day": 1}),
    ("get", "/api/v1/tenants/{tenant_id}/usage"): usage_of_a_tenant,
    ("get", "/api/v1/health"): tells_nothing("/api/v1/health"),
    ("get", "/api/v1/ready"): tells_nothing("/api/v1/ready"),
    ("get", "/metrics"): tells_nothing("/metrics"),
}


def test_every_route_has_a_case(running: Service) -> None:
    described = httpx.get(f"{running.url}/api/v1/openapi.json", timeout=30).json()
    routes = {(method, path) for path, methods in described["paths"].items() for method in methods}
    assert routes == set(CASES)


@pytest.mark.parametrize("route", CASES, ids=lambda route: " ".join(route))
def test_a_route_tells_nothing_of_another_tenant(
    request: pytest.FixtureRequest, pair: Pair, route: tuple[str, str]
) -> None:
    CASES[route](pair)
    tally(request, "isolation", "routes tried with the other's data", tried=1, crossed=0)


def test_routes_of_no_description_tell_nothing(pair: Pair, running: Service) -> None:
    for path in ("/api/v1/docs", "/api/v1/openapi.json", "/", "/api/v1", "/api/v1/tenants", "/api/v1/nothing"):
        silent(pair, pair.mine.get(running.url + path))


@pytest.mark.parametrize("sort", ["-timestamp", "received_at"])
def test_a_cursor_of_another_tenant_is_refused(pair: Pair, sort: str) -> None:
    asked: dict[str, Any] = {"limit": 5, "sort": sort, "user_id": "ana"}
    cursor = pair.theirs.get("/logs", params=asked).json()["next_cursor"]
    answer = silent(pair, pair.mine.get("/logs", params={**asked, "cursor": cursor}, headers=REQUEST))
    nonsense = pair.mine.get("/logs", params={**asked, "cursor": "A" * len(cursor)}, headers=REQUEST)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")
    assert answer.content == nonsense.content


NAMING_HEADERS = (
    "X-Tenant-Id",
    "X-Tenant",
    "Tenant",
    "X-Ocelot-Tenant",
    "X-Forwarded-Tenant",
    "X-Org-Id",
    "X-Scope-OrgID",
)


@pytest.mark.parametrize("header", NAMING_HEADERS)
def test_a_header_names_no_tenant(request: pytest.FixtureRequest, pair: Pair, header: str) -> None:
    assert pair.theirs.tenant is not None
    headers = {header: pair.theirs.tenant.id}
    answer = silent(pair, pair.mine.get("/logs", params={"limit": 1000}, headers=headers)).json()
    assert {found["id"] for found in answer["data"]} == set(pair.my_ids)
    assert pair.mine.get(f"/logs/{pair.their_ids[0]}", headers=headers).status_code == 404
    assert pair.mine.post("/logs", json=event(1), headers=headers).json()["id"] == pair.my_ids[1]
    tally(request, "isolation", "headers that name the other", tried=1, crossed=0)


@pytest.mark.parametrize("name", ["tenant_id", "tenant", "tenantId", "_index", "index", "routing", "preference", "_id"])
def test_a_parameter_names_no_tenant(request: pytest.FixtureRequest, pair: Pair, name: str) -> None:
    assert pair.theirs.tenant is not None
    for named in (name, f"{name}!"):
        answer = pair.mine.get("/logs", params={named: pair.theirs.tenant.id})
        assert (answer.status_code, answer.json()["errors"][0]["type"]) == (400, "unknown_parameter")
    answer = pair.mine.get(f"/logs/{pair.their_ids[0]}", params={name: pair.theirs.tenant.id})
    assert answer.status_code == 404
    tally(request, "isolation", "parameters that name the other", tried=1, crossed=0)


STAMPS = ("tenant", "tenant_id", "tenantId", "id", "_id", "_index", "received_at", "salt", "placement")


@pytest.mark.parametrize("name", STAMPS)
def test_a_field_of_the_body_names_no_tenant(request: pytest.FixtureRequest, pair: Pair, name: str) -> None:
    assert pair.theirs.tenant is not None
    forged = {"action": "forged", name: pair.theirs.tenant.id}
    answer = pair.mine.post("/logs", json=forged)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, [name])
    answer = pair.mine.post("/logs/bulk", json=[forged, event(2)])
    assert [item["status"] for item in answer.json()["items"]] == ["refused", "accepted"]
    assert pair.mine.post("/logs/bulk", json={"events": [event(3)], name: pair.theirs.tenant.id}).status_code == 400
    twice = f'{{"action":"forged","metadata":{{}},"{name}":"x","{name}":"{pair.theirs.tenant.id}"}}'
    answer = pair.mine.post("/logs", content=twice, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    tally(request, "isolation", "fields that name the other", tried=1, crossed=0)


def test_a_tenant_named_in_free_form_data_is_only_data(pair: Pair, running: Service) -> None:
    other = running.tenant("third")
    assert pair.theirs.tenant is not None
    named = {"tenant_id": pair.theirs.tenant.id, "_index": read_alias(pair.theirs.tenant.id)}
    other.ingest({"action": "named", "metadata": named, "user_id": pair.theirs.tenant.id})
    other.found(1, **{"metadata.tenant_id": pair.theirs.tenant.id})
    for client in (pair.mine, pair.theirs):
        client.found(0, **{"metadata.tenant_id": pair.theirs.tenant.id})
        client.found(EVENTS, q="ledger")


def test_tricks_with_names_of_indices_find_nothing(pair: Pair) -> None:
    assert pair.theirs.tenant is not None
    theirs = pair.theirs.tenant
    alias = write_alias(theirs.id, place(theirs.placements, 1_790_000_000_000_000))
    names = [read_alias(theirs.id), alias, f"{alias}-g1", "_all", "*", "ocelot-logs-*", "..", "%2e%2e", "_search"]
    for name in names:
        for path in (name, f"{name}/_doc/{pair.their_ids[0]}", f"../{name}", f"{name},{pair.their_ids[0]}"):
            answer = silent_of(pair, pair.mine.get(f"/logs/{httpx.URL('', params={'p': path}).query[2:].decode()}"))
            assert answer.status_code in (400, 404)
        for field in ("id", "user_id", "source", "metadata.of.the", "q"):
            answer = pair.mine.get("/logs", params={field: name})
            assert answer.status_code in (200, 400)
            assert {found["id"] for found in answer.json().get("data", [])} <= set(pair.my_ids)
    for path in ("metadata.of,tenant_id", "metadata.*", "metadata.of.the:x OR tenant_id", "after_state.\u0000"):
        answer = pair.mine.get("/logs", params={path: theirs.id})
        assert answer.status_code == 400 or answer.json()["total"] == 0


def test_a_role_of_one_tenant_is_none_in_another(pair: Pair, running: Service) -> None:
    reader = running.client(pair.mine.tenant, Role.READER)
    assert reader.post("/logs", json={"action": "x"}).status_code == 403
    writer = running.client(pair.mine.tenant, Role.WRITER)
    assert writer.get("/logs").status_code == 403
    platform = running.client(None, Role.PLATFORM)
    for answer in (platform.get("/logs"), platform.get(f"/logs/{pair.their_ids[0]}"), platform.post("/logs", json={})):
        assert answer.status_code == 403
        assert pair.their_ids[0] not in answer.text


def silent_of(pair: Pair, response: httpx.Response) -> httpx.Response:
    """As `silent`, where the request itself names the other tenant: only its events must not show."""
    assert "ledger" not in response.text
    return response


def _comparable(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name != "date"}
