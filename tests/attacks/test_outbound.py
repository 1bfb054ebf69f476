"""No URL that a tenant or a stranger writes makes the service call anybody."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.tokens import SigningKey
from core.keys import signing_key_pem
from tests.attacks.forged import Forge
from tests.attacks.test_description import DESCRIPTION
from tests.attacks.wire import exchange
from tests.figures import tally
from tests.service import Client, Service

_URL_LIKE = re.compile(r"ur[li]$|ur[li]_|webhook|callback|endpoint|redirect|^host$|href", re.IGNORECASE)


class Trap:
    """A port that counts who calls."""

    def __init__(self) -> None:
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap()
    with httpx.Client() as client, pytest.raises(httpx.HTTPError):
        client.get(f"http://127.0.0.1:{made.port}/")
    assert made.calls == 1, "the trap catches nothing"
    made.calls = 0
    yield made
    made.close()


def _members(schema: Any, name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        yield name, schema
        for key, part in schema.get("properties", {}).items():
            yield from _members(part, key)
        for word in ("items", "additionalProperties"):
            yield from _members(schema.get(word), name)
        for word in ("anyOf", "oneOf", "allOf"):
            for part in schema.get(word, []):
                yield from _members(part, name)


def test_no_request_has_a_member_that_is_a_url() -> None:
    """Whoever adds one (of a webhook, say) checks addresses when connecting, after redirects too, and says so here."""
    inputs = {
        name: schema for name, schema in DESCRIPTION["components"]["schemas"].items()
        if name.endswith("In") or name in ("EventIn", "BulkEventIn")
    }  # fmt: skip
    assert len(inputs) > 20
    found = [
        (title, name)
        for title, schema in inputs.items()
        for name, part in _members(schema)
        if _URL_LIKE.search(name) or part.get("format") in ("uri", "url", "iri", "hostname", "uri-reference")
    ]
    parameters = [
        parameter["name"]
        for methods in DESCRIPTION["paths"].values() for operation in methods.values()
        for parameter in operation.get("parameters", ())
        if _URL_LIKE.search(parameter["name"]) or parameter["schema"].get("format") in ("uri", "url")
    ]  # fmt: skip
    assert (found, parameters) == ([], [])


def test_nothing_that_is_written_is_called(request: pytest.FixtureRequest, running: Service, trap: Trap) -> None:
    client = running.tenant("outbound")
    tried = 0
    for url in (f"http://127.0.0.1:{trap.port}/x", f"http://localhost:{trap.port}/x", f"//127.0.0.1:{trap.port}/x",
                f"http://2130706433:{trap.port}/x", f"http://[::ffff:127.0.0.1]:{trap.port}/x",
                f"gopher://127.0.0.1:{trap.port}/_x", f"mongodb://127.0.0.1:{trap.port}/x"):  # fmt: skip
        tried += len(_written(running, client, url))
    client.complete()
    assert trap.calls == 0
    tally(request, "outbound", "places that hold a URL", tried=tried, called=trap.calls)


def _written(running: Service, client: Client, url: str) -> list[httpx.Response]:
    """Every place that takes a text, with the URL in it."""
    assert client.tenant is not None
    forge = Forge(signing_key_pem(running.settings, SigningKey.generate), client.tenant.id)
    schemas: list[dict[str, Any]] = [
        {"$ref": url}, {"$schema": url}, {"$id": url}, {"$dynamicRef": url},
        {"properties": {"a": {"$ref": f"{url}#/a"}}},
        {"type": "object", "properties": {"a": {"type": "string", "format": "uri"}}},
    ]  # fmt: skip
    answers = [
        *(client.put("/catalogue", json={"mode": "off", "actions": {"a": {"schema": schema}}}) for schema in schemas),
        client.post("/logs", json={"action": url, "message": url, "source": url, "metadata": {"$ref": url}}),
        client.post("/searches", json={"name": url, "query": f"q={url}"}),
        client.post("/exports", json={"search": {"query": {"field": "user_id", "equals": url}}, "callback": url}),
        client.get("/logs/export", params={"user_id": url}),
        client.post("/viewer-links", json={"filter": {"field": "user_id", "equals": url}, "label": url}),
        client.put("/masking", json={"rules": [{"by": "path", "match": url, "action": "remove"}]}),
        client.put("/facets", json={"facets": [{"name": "u", "path": url, "type": "keyword"}]}),
        client.post("/keys", json={"name": url, "roles": ["reader"], "networks": [url]}),
        client.get(f"/logs/{httpx.URL('', params={'u': url}).query.decode()[2:]}"),
        client.get("/logs", headers={"Origin": url, "Referer": url, "X-Forwarded-Host": url, "X-Original-URL": url}),
    ]  # fmt: skip
    tokens = [
        forge.token({"jku": url}, key=forge.other), forge.token({"x5u": url}, key=forge.other),
        forge.token({"kid": url}), forge.token(iss=url), forge.token({"jku": url, "kid": "other"}),
    ]  # fmt: skip
    answers += [httpx.get(f"{running.url}/api/v1/logs", headers={"Authorization": f"Bearer {t}"}) for t in tokens]
    assert [answer.status_code for answer in answers if answer.status_code >= 500] == []
    exchange(running.api.port, f"GET {url} HTTP/1.1\r\nHost: {url}\r\nConnection: close\r\n\r\n".encode(), silence=3)
    return answers
