"""Rebuilding the index over HTTP: by ids at once, by a range as a job, with events coming in all the while."""

from __future__ import annotations

import time
from typing import Any

import pytest

from core.facet_source import REFRESH_SECONDS
from core.tenant import for_system
from core.wiring import Backends
from tests import census
from tests.flow.jobs import ended
from tests.service import Client, Service


def test_ids_are_answered_for_one_by_one(running: Service, tenant: Client) -> None:
    ids = [tenant.ingest({"action": f"a{n}"}) for n in range(3)]
    tenant.found(3)
    unknown = "0" * 8 + "-0000-0000-0000-" + "0" * 12
    answer = tenant.post("/logs/index/bulk", json={"ids": [ids[0], unknown, ids[0], "no id"]})
    assert answer.status_code == 200
    assert [(item["id"], item["status"]) for item in answer.json()["items"]] == [
        (ids[0], "present"), (unknown, "not_found"), (ids[0], "present"), ("no id", "not_found"),
    ]  # fmt: skip

    async def lose(backends: Backends) -> None:
        assert tenant.tenant is not None
        await backends.index.drop(for_system(tenant.tenant.id, "test"))

    running.with_backends(lose)
    items = tenant.post("/logs/index/bulk", json={"ids": ids}).json()["items"]
    assert [item["status"] for item in items] == ["indexed"] * 3
    tenant.found(3)


def test_a_facet_that_is_declared_later_counts_the_past_after_a_rebuild(tenant: Client) -> None:
    orders: list[dict[str, Any]] = [
        {"amount": n, "customer": f"c-{n % 3}", "due": f"2026-01-0{n % 5 + 1}T00:00:00Z"} for n in range(30)
    ]
    tenant.post("/logs/bulk", json=[{"action": "paid", "metadata": order} for order in [*orders, {}]])
    tenant.found(31)
    paths = {"amount": "number", "customer": "keyword", "due": "date"}
    facets = [{"name": name, "path": f"metadata.{name}", "type": kind} for name, kind in paths.items()]
    assert tenant.put("/facets", json={"facets": facets}).status_code == 200
    asked = {"over": "facet.due", "interval": "1d", "by": "facet.customer", "percentiles": "facet.amount"}

    def counted() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        answer = tenant.get("/logs/stats", params=asked).json()
        assert answer["total"]["count"] == 31
        return answer, [answer["timeline"], answer["groups"][0], answer["percentiles"][0]]

    answer, figures = counted()
    assert [(figure["not_indexed"], figure["missing"]) for figure in figures] == [(31, 0)] * 3
    assert (answer["timeline"]["buckets"], answer["timeline"]["interval"]) == ([], "1d")
    time.sleep(REFRESH_SECONDS)  # the consumer knows the declaration
    job = tenant.post("/logs/index/bulk", json={"received_from": "-1d"}).json()["job"]
    assert ended(tenant, job["id"])["state"] == "done"
    answer, figures = counted()
    assert [(figure["not_indexed"], figure["missing"]) for figure in figures] == [(0, 1)] * 3
    assert [bucket["count"] for bucket in answer["timeline"]["buckets"]] == [6] * 5
    assert answer["groups"][0]["values"] == [{"value": f"c-{n}", "count": 10} for n in range(3)]
    assert (answer["percentiles"][0]["count"], answer["percentiles"][0]["values"][0]["value"]) == (30, 14)


def test_a_range_is_rebuilt_by_a_job_while_events_come_in(running: Service, tenant: Client) -> None:
    tenant.post("/logs/bulk", json=[{"action": "before", "metadata": {"amount": n}} for n in range(50)])
    tenant.found(50)
    facets = {"facets": [{"name": "amount", "path": "metadata.amount", "type": "number"}]}
    answer = tenant.put("/facets", json=facets)
    assert answer.status_code in (200, 202), answer.text
    answer = tenant.post("/logs/index/bulk", json={"received_from": "1970-01-01T00:00:00Z"})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["job"]["id"]
    busy = tenant.post("/logs/index/bulk", json={"received_from": "-1d"})
    assert (busy.status_code, busy.json()["code"]) == (429, "overloaded")
    sent, told = 50, False
    while tenant.get(f"/jobs/{job_id}").json()["state"] in ("queued", "running"):
        tenant.ingest({"action": "meanwhile"})
        sent += 1
        search = tenant.get("/logs", params={"action": "before"})
        assert search.status_code == 503 or search.json()["total"] == 50
        told = told or (search.status_code == 200 and search.json()["watermark"]["rebuilding"])
        time.sleep(0.1)
    job = ended(tenant, job_id)
    assert (job["state"], job["error"]) == ("done", None)
    assert job["result"]["indexed"] >= 50
    assert job["result"]["failed"] == 0
    assert told
    tenant.found(sent)
    held = census.take(running, tenant)
    assert sorted(held.indexed) == sorted(held.stored)

    async def generations(backends: Backends) -> list[Any]:
        assert tenant.tenant is not None
        return await backends.index.generations(for_system(tenant.tenant.id, "test"))

    assert [(each.live, each.job) for each in running.with_backends(generations)] == [(True, job_id)]
    deadline = time.monotonic() + 30
    while tenant.get("/logs", params={"action": "before"}).json()["watermark"]["rebuilding"]:  # read once a second
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    "body",
    [{}, {"ids": []}, {"ids": ["a"] * 1001}, {"ids": ["a"], "received_from": "-1d"}, {"received_from": "tomorrow"},
     {"received_to": 5}, {"from": "-1d"}, {"ids": "a"},
     {"received_from": "now", "received_to": "-1h"}],
    ids=str,
)  # fmt: skip
def test_a_bad_request_is_refused(tenant: Client, body: dict[str, Any]) -> None:
    answer = tenant.post("/logs/index/bulk", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_what_the_index_refuses_whole_is_told(running: Service, tenant: Client) -> None:
    event_id = tenant.ingest({"action": "large", "metadata": {"x": "y" * 40_000}})
    tenant.found(1)

    async def lose(backends: Backends) -> None:
        assert tenant.tenant is not None
        await backends.index.drop(for_system(tenant.tenant.id, "test"))

    running.with_backends(lose)
    item = tenant.post("/logs/index/bulk", json={"ids": [event_id]}).json()["items"][0]
    assert item["status"] in ("reduced", "indexed")  # osmem takes what OpenSearch does not
