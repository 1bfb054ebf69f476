"""Exports in the background, over HTTP: made, fetched by their link, cancelled, removed."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from core import instant
from core.access import Role
from core.export import links
from tests.flow.exports import done, done_export, link_of
from tests.service import Client, Service

EVENTS = 40


@pytest.fixture(scope="module")
def filled(running: Service) -> Client:
    client = running.tenant("Acme")
    events = [{"action": f"read.{n % 2}", "metadata": {"n": n}} for n in range(EVENTS)]
    assert client.post("/logs/bulk", json=events).json()["accepted"] == EVENTS
    client.found(EVENTS)
    client.complete()
    return client


def fetched(running: Service, job: dict[str, Any], **headers: str) -> httpx.Response:
    """Its file, by the link alone."""
    return httpx.get(running.url + link_of(job), headers=headers, timeout=60)


@pytest.mark.parametrize("form", ["ndjson", "json", "csv"])
def test_the_file_is_what_the_stream_is(running: Service, filled: Client, form: str) -> None:
    search = {"query": {"field": "action", "equals": "read.1"}}
    job = done_export(filled, format=form, search=search)
    streamed = filled.get("/logs/export", params={"format": form, "action": "read.1"})
    file = fetched(running, job)
    assert file.status_code == 200
    assert file.content == streamed.content
    assert (job["done"], job["total"], job["result"]["events"]) == (EVENTS // 2,) * 3
    assert job["result"]["sha256"] == hashlib.sha256(file.content).hexdigest()
    assert job["result"]["bytes"] == len(file.content) == int(file.headers["Content-Length"])
    assert file.headers["Content-Type"] == streamed.headers["Content-Type"]
    assert file.headers["Content-Disposition"] == f'attachment; filename="{job["result"]["file_name"]}"'
    assert job["spec"] == {"format": form, "packing": None, "search": search}
    assert job["asked_by"] == "test"


def test_its_end_is_on_record_with_who_asked_for_what_and_how_many(running: Service, filled: Client) -> None:
    search = {"query": {"field": "action", "equals": "read.0"}}
    job = done_export(filled, search=search)
    [event] = filled.found(1, action="ocelot.job.end", resource_id=job["id"])["data"]
    told = event["metadata"]
    assert (event["user_id"], event["outcome"], told["count"]) == ("test", "success", EVENTS // 2)
    assert (told["kind"], told["state"], told["body"]["search"]) == ("export", "done", search)


def test_a_packed_file_unpacks_to_the_whole(running: Service, filled: Client) -> None:
    import gzip

    job = done_export(filled, packing="gzip")
    file = fetched(running, job)
    assert (file.headers["Content-Type"], "Content-Encoding" in file.headers) == ("application/gzip", False)
    assert job["result"]["file_name"].endswith(".ndjson.gz")
    assert gzip.decompress(file.content) == filled.get("/logs/export").content


def test_parquet_and_what_needs_the_index(running: Service, filled: Client) -> None:
    job = done_export(filled, format="parquet", search={"query": {"field": "metadata.n", "equals": [3, 4]}})
    assert (job["result"]["events"], fetched(running, job).content[:4]) == (2, b"PAR1")


def test_a_download_goes_on_where_it_broke_off(running: Service, filled: Client) -> None:
    job = done_export(filled)
    whole = fetched(running, job)
    size, etag = len(whole.content), whole.headers["ETag"]
    assert whole.headers["Accept-Ranges"] == "bytes"
    for asked, (start, end) in {
        "bytes=0-0": (0, 1), "bytes=100-": (100, size), f"bytes=7-{size + 99}": (7, size), "bytes=5-9": (5, 10),
    }.items():  # fmt: skip
        part = fetched(running, job, Range=asked)
        assert (part.status_code, part.content) == (206, whole.content[start:end])
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        assert fetched(running, job, Range=asked, **{"If-Range": etag}).status_code == 206
        assert fetched(running, job, Range=asked, **{"If-Range": '"other"'}).content == whole.content
    beyond = fetched(running, job, Range=f"bytes={size}-")
    assert (beyond.status_code, beyond.json()["code"]) == (416, "bad_range")
    for nonsense in ("bytes=9-5", "bytes=-5", "lines=1-2", "bytes=1-2,4-5", "bytes=a-"):
        assert fetched(running, job, Range=nonsense).content == whole.content


def test_a_link_is_good_for_its_export_its_time_and_as_it_is(running: Service, filled: Client) -> None:
    job, tenant = done_export(filled), filled.tenant
    assert tenant is not None
    good = urlsplit(link_of(job)).path
    name = good.rsplit("/", 1)[1]
    assert instant.from_text(job["download"]["expires_at"]) < instant.now_us() + 901_000_000
    for n in range(0, len(name), 5):
        changed = name[:n] + ("A" if name[n] != "A" else "B") + name[n + 1 :]
        answer = filled.get(f"/downloads/{changed}")
        assert (answer.status_code, answer.json()["code"]) == (403, "bad_link"), n
    now = int(time.time())
    for link, code in (
        (links.seal(tenant, job["id"], now - 1), "link_expired"), ("x", "bad_link"), ("A" * 600, "bad_link"),
        (links.seal(tenant, "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61", now + 60), "not_found"),
    ):  # fmt: skip
        assert filled.get(f"/downloads/{link}").json()["code"] == code
    assert filled.get(f"/downloads/{links.seal(tenant, job['id'], now + 60)}").status_code == 200


def test_a_removed_export_is_gone_with_its_file_and_links(running: Service, filled: Client) -> None:
    job = done_export(filled)
    assert filled.delete(f"/exports/{job['id']}").status_code == 204
    for path in (f"/exports/{job['id']}", link_of(job).removeprefix("/api/v1")):
        assert filled.get(path).status_code == 404
    assert filled.delete(f"/exports/{job['id']}").status_code == 404
    assert job["id"] not in [listed["id"] for listed in filled.get("/exports").json()["data"]]
    archive = urlsplit(running.environment["ARCHIVE_URL"])
    if archive.scheme == "file":
        assert [path for path in Path(archive.path).rglob("*") if job["id"] in str(path) and path.is_file()] == []


def test_one_under_way_is_cancelled(running: Service) -> None:
    client = running.tenant()
    made = client.post("/exports", json={}).json()
    assert (made["state"], made["download"]) == ("queued", None)
    assert client.delete(f"/exports/{made['id']}").status_code == 204
    answer = client.get(f"/exports/{made['id']}")
    assert answer.status_code == 404 or answer.json()["state"] == "cancelled"
    assert client.post(f"/jobs/{made['id']}/retry").json()["code"] in ("job_not_failed", "not_found")


def test_the_list_is_newest_first_in_pages(running: Service) -> None:
    client = running.tenant()
    ids = [done_export(client)["id"] for _ in range(3)][::-1]
    first = client.get("/exports", params={"limit": 2}).json()
    assert [job["id"] for job in first["data"]] == ids[:2]
    rest = client.get("/exports", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert ([job["id"] for job in rest["data"]], rest["next_cursor"]) == (ids[2:], None)
    for query in ({"limit": "0"}, {"limit": "x"}, {"tenant": "x"}):
        assert client.get("/exports", params=query).status_code == 400


def test_no_more_wait_than_may(running: Service) -> None:
    client = running.tenant()
    bound = running.settings.max_tenant_jobs
    answers = [client.post("/exports", json={}) for _ in range(bound + 3)]
    accepted = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    assert bound <= len(accepted)
    assert {answer.status_code for answer in answers} <= {202, 429}
    for job_id in accepted:
        done(client, job_id)


BAD: list[Any] = [
    {"format": "xml"}, {"format": ["csv"]}, {"format": 1}, {"packing": "zip"}, {"packing": {}}, {"tenant": "x"},
    {"format": "parquet", "packing": "gzip"}, {"search": []}, {"search": {"sort": "timestamp"}}, [], "x", 1,
    {"search": {"limit": 5}}, {"search": {"cursor": "x"}}, {"search": {"query": {"field": "colour", "equals": "x"}}},
    {"search": {"from": "soon"}},
]  # fmt: skip


@pytest.mark.parametrize("body", BAD, ids=json.dumps)
def test_bad_input_says_what_is_wrong(filled: Client, body: Any) -> None:
    answer = filled.post("/exports", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")


def test_a_fault_of_the_search_is_placed_in_the_whole_body(filled: Client) -> None:
    answer = filled.post("/exports", json={"search": {"query": {"field": "colour", "equals": "x"}}}).json()
    assert answer["errors"][0]["loc"] == ["search", "query", "field"]


def test_who_may_not_read_starts_nothing(running: Service, filled: Client) -> None:
    writer = running.client(filled.tenant, Role.WRITER)
    for answer in (writer.post("/exports", json={}), writer.get("/exports"), writer.delete("/exports/x")):
        assert answer.status_code == 403
    assert filled.post("/exports?user_id=ana", json={}).status_code == 400
