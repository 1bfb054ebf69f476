"""The Postman collection and the `.http` file: fresh, whole, and in an order in which they can work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.tryout.files import contents, http_file, postman
from infra.tryout.steps import description, steps, streams

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return description()


@pytest.mark.parametrize("path", ["docs/ocelot.postman_collection.json", "docs/ocelot.http"])
def test_the_files_are_fresh(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == contents()[path], "stale: run `make collections`"


def test_every_operation_is_in_both_but_those_that_do_not_end(described: dict[str, Any]) -> None:
    operations = {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods}
    found = steps(described)
    assert len(found) == len(operations) - len(streams(described))
    assert len({step.key for step in found}) == len(found)
    assert [item["name"] for item in json.loads(postman(described))["item"]] == [step.name for step in found]
    assert http_file(described).count("\n### ") == len(found)


def test_nothing_is_named_before_it_is_made(described: dict[str, Any]) -> None:
    made: set[str] = set()
    for step in steps(described):
        assert step.needs <= made, step.name
        made |= set(step.saves)
    assert {"event_id", "tenant_id", "client_secret"} <= made


def test_deletions_come_last_and_streams_are_told(described: dict[str, Any]) -> None:
    paths = dict(described["paths"])
    gone = {"delete": paths["/api/v1/logs/{event_id}"]["get"] | {"summary": "Delete it"}}
    live = {"get": paths["/api/v1/health"]["get"] | {"summary": "Follow", "responses": {
        "200": {"content": {"text/event-stream": {"example": "data: {}\n\n"}}}}}}  # fmt: skip
    more = described | {"paths": {"/api/v1/it/{event_id}": gone, "/api/v1/live": live} | paths}
    methods = [step.method for step in steps(more)]
    assert methods.index("DELETE") == len(methods) - methods.count("DELETE")
    assert "Follow" not in [step.name for step in steps(more)]
    for text in (postman(more), http_file(more)):
        assert "GET /api/v1/live" in text
        assert "ocelot tail" in text
