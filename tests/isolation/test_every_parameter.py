"""Each parameter, header and text of a body that the description knows, with what is the other tenant's put into it.

A parameter that is added is tried by itself. What each route means is looked at in test_tenants.py; here, that nothing
of the other's comes back, and that all of it is as it was afterwards.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import httpx
import pytest

from core.placement import read_alias
from tests.figures import tally
from tests.flow.exports import done_export
from tests.isolation.test_tenants import NAMING_HEADERS
from tests.service import Client, Service
from tests.streams import Follower

# By a path's parameter, what of the other's it would name. Beside it two more of all values stand there, and a
# parameter or a text gets the next one of all. (A download's link is for whoever has it: it is none of them.)
NAMED_BY = {
    "event_id": "event", "search_id": "search", "key_id": "key", "hold_id": "hold", "link_id": "viewer link",
    "export_id": "export and job", "job_id": "export and job", "tenant_id": "tenant",
}  # fmt: skip


@dataclass
class Theirs:
    """What the other tenant has: `values` are put into requests, and `mark`, which is in all of it, is never sent."""

    client: Client
    mark: str
    values: dict[str, str] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)
    """Where it is read again."""

    def held(self) -> list[Any]:
        answers = [self.client.get(path) for path in self.paths]
        assert {answer.status_code for answer in answers} == {200}
        return [_lasting(answer.json()) for answer in answers]


def _lasting(value: Any) -> Any:
    """Without what moves by itself."""
    if not isinstance(value, dict):
        return value
    return {
        k: _lasting(v) for k, v in value.items() if k not in ("watermark", "download", "last_used_at", "updated_at")
    }


@pytest.fixture(scope="module")
def mine(running: Service) -> Client:
    client = running.tenant("asks")
    client.ingest({"action": "own"})
    return client


@pytest.fixture(scope="module")
def theirs(running: Service) -> Theirs:
    client, mark = running.tenant("is asked for"), f"Theirs{secrets.token_hex(8)}Alone"
    assert client.tenant is not None
    event = {"action": "held", "user_id": "ana", "message": mark, "trace_id": "t-1", "metadata": {"of": mark}}
    ids = [client.ingest(event | {"request_id": f"r-{n}"}) for n in range(5)]
    client.found(5, action="held")
    listed = client.get("/logs", params={"action": "held", "limit": 2})
    ana = {"field": "user_id", "equals": "ana"}
    search = client.post("/searches", json={"name": mark, "query": "action=held"}).json()["id"]
    key = client.post("/keys", json={"name": mark, "roles": ["reader"]}).json()
    hold = client.post("/holds", json={"search": {"query": ana}, "reason": mark}).json()["id"]
    viewer = client.post("/viewer-links", json={"filter": ana, "label": mark}).json()
    export = done_export(client, format="ndjson")
    assert client.put("/permission-sets/theirs", json={"permissions": ["logs:view"]}).status_code == 200
    with Follower(client) as follower:
        follower.started()
        ids.append(client.ingest(event))
        follower.events(1)
        place = follower.last_id
    client.found(6, action="held")
    values = {
        "tenant": client.tenant.id, "event": ids[0], "etag": client.get(f"/logs/{ids[0]}").headers["ETag"],
        "cursor": listed.json()["next_cursor"], "search": search, "key": key["client_id"], "hold": hold,
        "viewer link": viewer["id"], "export and job": export["id"],
        "place in a stream": place, "index": read_alias(client.tenant.id),
        "indices": f"*,{read_alias(client.tenant.id)}",
    }  # fmt: skip
    paths = [
        f"/searches/{search}", f"/keys/{values['key']}", f"/holds/{hold}", f"/exports/{export['id']}", "/viewer-links",
        f"/jobs/{export['id']}", "/permission-sets", "/facets", "/masking", "/catalogue",
        *(f"/logs/{event_id}" for event_id in ids),
    ]  # fmt: skip
    return Theirs(client, mark, values, paths)


def test_nothing_of_the_other_comes_back_by_any_parameter(
    request: pytest.FixtureRequest, running: Service, mine: Client, theirs: Theirs
) -> None:
    before, tried = theirs.held(), 0
    theirs.client.complete()
    until = theirs.client.get("/logs").json()["watermark"]["complete_through"]
    described = httpx.get(f"{running.url}/api/v1/openapi.json", timeout=60).json()
    values = cycle(theirs.values.values())
    naming = dict.fromkeys(NAMING_HEADERS, theirs.values["tenant"])
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            # An export up to now would wait each time until it is complete.
            given = {"received_to": until} if path.endswith("/logs/export") else {}
            for url, arguments in _requests(path, operation, theirs.values, values):
                arguments["params"] = given | arguments.get("params", {})
                headers = naming | arguments.pop("headers", {})
                shown = _answer(mine, method, running.url + url, headers=headers, **arguments)
                assert theirs.mark not in shown, (method, url, arguments)
                tried += 1
    assert theirs.held() == before
    assert tried > 300
    tally(request, "isolation", "parameters, headers and texts that hold the other's", tried=tried, crossed=0)


def _requests(
    path: str, operation: dict[str, Any], named: dict[str, str], values: Iterator[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each place of an operation that takes a text, with one of the values in it."""
    body = _example(operation)
    places = [parameter for parameter in operation.get("parameters", ()) if parameter["in"] != "path"]
    own = named.get(NAMED_BY.get(path.partition("{")[2].partition("}")[0], ""), "")
    for value in [own or next(values), next(values), next(values)][: 3 if "{" in path else 1]:
        yield _filled(path, value), body
    for parameter in places:
        where = "params" if parameter["in"] == "query" else "headers"
        yield _filled(path, own or next(values)), {**body, where: {parameter["name"]: next(values)}}
    if "json" in body:
        for changed in _changed(body["json"], values):
            yield _filled(path, own or next(values)), {"json": changed}


def _filled(path: str, value: str) -> str:
    start, end = path.find("{"), path.find("}")
    return path if start < 0 else path[:start] + httpx.QueryParams({"v": value}).__str__()[2:] + path[end + 1 :]


def _example(operation: dict[str, Any]) -> dict[str, Any]:
    """A body that the description itself gives, as an argument."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" in content:
        return {"json": content["example"]}
    examples = list(content.get("examples", {}).values())
    return {"json": examples[0]["value"]} if examples else {}


def _changed(value: Any, values: Iterator[str]) -> Iterator[Any]:
    """`value` with one of its texts replaced, for each."""
    if isinstance(value, str):
        yield next(values)
    elif isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            for other in _changed(part, values):
                copy = json.loads(json.dumps(value))
                copy[key] = other
                yield copy


def _answer(client: Client, method: str, url: str, **arguments: Any) -> str:
    """Head and body; of a stream without an end its first piece."""
    with client.stream(method, url, **arguments) as answer:
        assert answer.status_code < 500 or answer.status_code == 503, (method, url)
        endless = answer.headers.get("Content-Type", "").startswith("text/event-stream")
        body = next(answer.iter_text(), "") if endless else answer.read().decode("utf-8", "replace")
    return f"{answer.headers}\n{body}"
