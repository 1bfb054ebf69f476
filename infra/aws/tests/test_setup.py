"""The function that sets up the domain: what it asks of it, and that CloudFormation always gets an answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from infra.aws.domain_setup import setup_index

ROLES = ["arn:aws:iam::000000000000:role/one", "arn:aws:iam::000000000000:role/two"]


class Domain:
    """A domain, and where CloudFormation wants its answer: what it was asked, and what it says."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.unsigned: list[str] = []
        self.policy: dict[str, Any] | None = None
        self.broken = False
        self.url = ""

    @property
    def answer(self) -> dict[str, Any]:
        (found,) = [body for _, path, body in self.asked if path == "/answer"]
        assert isinstance(found, dict)
        return found


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Domain]:
    found = Domain()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.asked.append((self.command, self.path, json.loads(data) if data else None))
            if self.path != "/answer" and "/es/aws4_request" not in self.headers.get("Authorization", ""):
                found.unsigned.append(self.path)
            missing = self.command == "GET" and found.policy is None
            broken = found.broken and self.path != "/answer"
            self.send_response(503 if broken else 404 if missing else 200)
            self.end_headers()
            self.wfile.write(json.dumps(found.policy or {}).encode())

        do_GET = do_PUT = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with serving(Handler) as found.url:
        monkeypatch.setenv("INDEX_URL", found.url)
        yield found


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def event(domain: Domain, kind: str) -> dict[str, Any]:
    place = {"StackId": "stack", "RequestId": "request", "LogicalResourceId": "Rights"}
    return place | {
        "RequestType": kind,
        "ResponseURL": f"{domain.url}/answer",
        "ResourceProperties": {"Roles": ROLES, "Version": "1"},
    }


def test_the_rights_and_the_lifecycle_are_written(domain: Domain) -> None:
    setup_index.handler(event(domain, "Create"), None)
    written = {path: body for method, path, body in domain.asked if method == "PUT"}
    assert written["/_plugins/_security/api/rolesmapping/ocelot"] == {"backend_roles": ROLES}
    (rights,) = written["/_plugins/_security/api/roles/ocelot"]["index_permissions"]
    assert rights["index_patterns"] == ["ocelot-logs-*"]
    policy = written["/_plugins/_ism/policies/ocelot-logs"]["policy"]
    assert policy["ism_template"][0]["index_patterns"] == ["ocelot-logs-*"]
    states = {state["name"]: state for state in policy["states"]}
    assert set(states) >= {
        policy["default_state"],
        *(t["state_name"] for s in states.values() for t in s["transitions"]),
    }
    assert not any("delete" in action for state in states.values() for action in state["actions"]), "retention's affair"
    assert domain.unsigned == []
    assert domain.answer["Status"] == "SUCCESS"


def test_a_policy_that_is_there_is_replaced_in_its_place(domain: Domain) -> None:
    domain.policy = {"_seq_no": 7, "_primary_term": 2}
    setup_index.handler(event(domain, "Update"), None)
    assert "/_plugins/_ism/policies/ocelot-logs?if_seq_no=7&if_primary_term=2" in [path for _, path, _ in domain.asked]


def test_nothing_is_undone_when_the_stack_goes(domain: Domain) -> None:
    setup_index.handler(event(domain, "Delete"), None)
    assert [path for _, path, _ in domain.asked] == ["/answer"]
    assert domain.answer["Status"] == "SUCCESS"


def test_a_domain_that_refuses_fails_the_deployment(domain: Domain) -> None:
    domain.broken = True
    setup_index.handler(event(domain, "Create"), None)
    assert domain.answer["Status"] == "FAILED"
    assert "503" in domain.answer["Reason"]
    assert domain.answer["LogicalResourceId"] == "Rights"
