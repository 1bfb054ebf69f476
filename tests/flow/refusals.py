"""What every suite of bad input needs: a request of exact bytes, and the shape that every refusal has."""

from __future__ import annotations

from typing import Any

import httpx

from tests.service import Client

NDJSON = "application/x-ndjson"
MIB = 1024 * 1024
NAMED = (
    "action", "timestamp", "severity", "outcome", "message", "user_id", "session_id", "ip_address", "user_agent",
    "resource_type", "resource_id", "request_id", "trace_id", "source", "tags",
)  # fmt: skip
FREE = ("metadata", "before_state", "after_state")


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"] == f"urn:ocelot:problem:{code}"
    assert body["request_id"] == response.headers["X-Request-Id"]
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in response.text
    return body


def post(client: Client, path: str, body: Any, kind: str = "application/json", **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=body, headers={"Content-Type": kind} | given)


def one(fields: str, action: bool = True) -> bytes:
    """An event of these members, written as JSON."""
    return ("{" + ('"action":"x",' if action else "") + fields + "}").encode("utf-8", "surrogateescape")


def nested(depth: int, opening: str = '{"a":', closing: str = "}") -> str:
    return opening * depth + "1" + closing * depth
