"""The service itself over HTTP: alive, ready, measured, described, and its pages without any other origin."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.problems import MEDIA_TYPE
from tests.service import Client, Service

SECURITY = {
    "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer",
    "cache-control": "no-store", "strict-transport-security": "max-age=31536000; includeSubDomains",
}  # fmt: skip
METRICS = {
    "ocelot_http_requests_total", "ocelot_http_request_duration_seconds_bucket", "ocelot_events_total",
    "ocelot_in_flight_bytes", "ocelot_pending_bytes", "process_resident_memory_bytes",
}  # fmt: skip
CONSUMER_METRICS = {
    "ocelot_consumed_total", "ocelot_envelopes_total", "ocelot_consumer_step_duration_seconds_bucket",
    "ocelot_outbox_events", "ocelot_queue_messages",
}  # fmt: skip


@pytest.fixture(scope="module")
def nobody(running: Service) -> Iterator[Client]:
    """A client without a token."""
    with Client(running.url, None) as client:
        yield client


@pytest.fixture(scope="module")
def description(nobody: Client) -> dict[str, Any]:
    response = nobody.get("/openapi.json")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


def test_it_is_alive_and_ready_by_name_without_a_token(running: Service, nobody: Client) -> None:
    assert nobody.get("/health").json() == {"status": "ok"}
    everything = {"queue": "up", "store": "up", "index": "up"}
    whole = {"status": "ready", "dependencies": everything, "breakers": {"store": "closed", "index": "closed"}}
    assert nobody.get("/ready").json() == whole
    consumer = f"http://127.0.0.1:{running.consumer.port}"
    assert httpx.get(f"{consumer}/health").json() == {"status": "ok"}
    assert httpx.get(f"{consumer}/ready").json() == whole
    for name in ("health", "ready"):
        for answer in (nobody.head(f"/{name}"), httpx.head(f"{consumer}/{name}")):
            assert (answer.status_code, answer.content) == (200, b"")
            assert answer.headers["content-type"] == "application/json"
    assert httpx.get(f"{consumer}/nothing").status_code == 404
    assert httpx.post(f"{consumer}/health").status_code == 404


def names(text: str) -> set[str]:
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}


def test_metrics_count_what_was_done(running: Service, tenant: Client) -> None:
    def count(text: str, sample: str) -> float:
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(sample))

    before = httpx.get(f"{running.url}/metrics").text
    tenant.post("/logs/bulk", json=[{"action": "x"}, {"action": "x"}, {"action": ""}])
    tenant.post("/logs", json={"action": ""})
    tenant.found(2)
    after = httpx.get(f"{running.url}/metrics")
    assert after.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert names(after.text) >= METRICS
    for outcome, more in (("accepted", 2), ("refused", 2)):
        sample = f'ocelot_events_total{{outcome="{outcome}"}}'
        assert count(after.text, sample) - count(before, sample) == more
    sample = 'ocelot_http_requests_total{method="POST",route="/logs'
    assert count(after.text, sample) + count(after.text, sample.replace('"/logs', '"/api/v1/logs')) > 0
    assert tenant.tenant is not None
    assert tenant.tenant.id not in after.text
    consumer = httpx.get(f"http://127.0.0.1:{running.consumer.port}/metrics").text
    assert names(consumer) >= CONSUMER_METRICS
    assert count(consumer, 'ocelot_consumed_total{outcome="stored"}') >= 2


def test_a_route_in_the_metrics_is_a_template_and_never_what_was_asked(running: Service, tenant: Client) -> None:
    tenant.get("/logs/01a1fdf2-d2cc-7e1f-94f5-0939230d076e")
    tenant.get("/no/such/place-of-ana")
    text = httpx.get(f"{running.url}/metrics").text
    assert "01a1fdf2" not in text
    assert "place-of-ana" not in text
    assert "{event_id}" in text


def test_a_request_id_is_kept_or_made(nobody: Client) -> None:
    for given in ("abc-123", "A.b:c_d-" + "9" * 100):
        for path in ("/health", "/logs", "/nothing"):
            assert nobody.get(path, headers={"X-Request-Id": given}).headers.get_list("X-Request-Id") == [given]
    made = set()
    for odd in (None, "", "a b", "x" * 129, "<script>", "a;b"):
        headers = {} if odd is None else {"X-Request-Id": odd}
        made.add(nobody.get("/logs", headers=headers).headers["X-Request-Id"])
    assert len(made) == 6
    assert all(re.fullmatch(r"[0-9a-f]{32}", text) for text in made)
    assert nobody.get("/logs", headers={"X-Request-Id": "mine"}).json()["request_id"] == "mine"


def test_every_answer_has_the_security_headers_and_names_no_server(nobody: Client) -> None:
    for path in ("/health", "/logs", "/nothing", "/docs", "/openapi.json"):
        response = nobody.get(path)
        assert {name: response.headers.get(name) for name in SECURITY} == SECURITY
        assert "server" not in response.headers
        assert "access-control-allow-origin" not in response.headers


# The pages -----------------------------------------------------------------------------------------------------------


def test_the_pages_come_from_here_alone(running: Service, nobody: Client) -> None:
    page = nobody.get("/docs")
    assert page.status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert not re.search(r"https?:", policy)
    scripts = re.search(r"script-src ([^;]*)", policy)
    assert scripts is not None
    assert scripts[1] == "'self'"
    assert "<script>" not in page.text  # nothing inline, which the policy would not run
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(addresses) >= 4
    for address in addresses:
        assert not re.match(r"(?:https?:)?//", address)
        asset = httpx.get(httpx.URL(f"{running.url}/api/v1/docs").join(address))
        assert asset.status_code == 200, address
        assert asset.content
    start = nobody.get("/docs/assets/start.js").text
    assert "openapi.json" in start
    assert not re.search(r"https?://", start)


# The description -----------------------------------------------------------------------------------------------------


def operations(description: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_the_description_gives_each_operation_a_name_of_its_own(description: dict[str, Any]) -> None:
    """Which operations there are, the isolation and role tests and docs/api.md hold, each row by row."""
    assert description["openapi"].startswith("3.1")
    named = [operation["operationId"] for _, _, operation in operations(description)]
    assert len(set(named)) == len(named) >= 10


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    # An example may be a document of its own, with references of its own.
    without = json.dumps(_without_examples(description))
    references = set(re.findall(r'"\$ref": "(#[^"]+)"', without))
    assert references
    for reference in references:
        node: Any = description
        for step in reference.removeprefix("#/").split("/"):
            assert step in node, reference
            node = node[step]


def _without_examples(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_examples(value) for name, value in node.items() if name != "example"}
    return [_without_examples(value) for value in node] if isinstance(node, list) else node


def test_every_operation_has_an_example_of_what_goes_in_and_of_what_comes_out(description: dict[str, Any]) -> None:
    for method, path, operation in operations(description):
        assert operation["summary"], (method, path)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content["example"], (method, path)
        good = [status for status in operation["responses"] if status.startswith("2")]
        assert good, (method, path)
        for kind, content in operation["responses"][good[0]].get("content", {}).items():
            assert content.get("example") or content["schema"].get("format") == "binary", (method, path, kind)
        assert good[0] == "204" or operation["responses"][good[0]]["content"], (method, path)


def test_every_operation_names_its_problems(description: dict[str, Any]) -> None:
    for method, path, operation in operations(description):
        responses = operation["responses"]
        if "/health" in path or "/metrics" in path:
            assert set(responses) == {"200"}
            continue
        if path.endswith("/ready"):
            assert set(responses) == {"200", "503"}
            continue
        expected = {"401", "403", "503"}
        if operation.get("security") == []:
            expected.remove("403" if path.endswith("/token") else "401")
        if "requestBody" in operation:
            expected |= {"400", "413", "415"}
        if any(parameter["in"] == "query" for parameter in operation.get("parameters", ())):
            expected.add("400")
        assert set(responses) >= expected, (method, path, set(responses))
        for status, response in responses.items():
            assert response["description"]
            if status[0] in "45" and path.endswith("/token") and MEDIA_TYPE not in response["content"]:
                assert response["content"]["application/json"]["example"]["error"]  # in the form of OAuth
            elif status[0] in "45":
                example = response["content"][MEDIA_TYPE]["example"]
                assert example["status"] == int(status)
                assert set(example) >= {"type", "title", "status", "detail", "code", "request_id"}


def test_what_needs_no_token_says_so(description: dict[str, Any]) -> None:
    assert description["security"] == [{"token": []}]
    free = {path for _, path, operation in operations(description) if operation.get("security") == []}
    assert free == {"/api/v1/token", "/api/v1/downloads/{link}", "/api/v1/health", "/api/v1/ready", "/metrics"}


def test_the_examples_work(tenant: Client, description: dict[str, Any]) -> None:
    """What the pages offer to try is taken as it is."""
    paths = description["paths"]
    event = paths["/api/v1/logs"]["post"]["requestBody"]["content"]["application/json"]["example"]
    tenant.ingest(event)
    for kind, content in paths["/api/v1/logs/bulk"]["post"]["requestBody"]["content"].items():
        example = content["example"]
        body = example if isinstance(example, str) else json.dumps(example)
        response = tenant.post("/logs/bulk", content=body, headers={"Content-Type": kind})
        assert response.json()["refused"] == 0, response.text
    for parameter in paths["/api/v1/logs"]["get"]["parameters"]:
        if "example" in parameter:
            assert tenant.get("/logs", params={parameter["name"]: parameter["example"]}).status_code == 200


def test_every_documented_field_is_taken_and_no_other(tenant: Client, description: dict[str, Any]) -> None:
    fields = description["components"]["schemas"]["EventIn"]["properties"]
    for name in fields:
        response = tenant.post("/logs", json={"action": "x", name: None if name != "action" else "x"})
        ok = response.status_code == 202
        assert ok, (name, response.text)
    answer = tenant.get(f"/logs/{tenant.ingest({'action': 'x'})}", params={"wait": 20}).json()
    assert set(answer) <= set(description["components"]["schemas"]["EventOut"]["properties"])
