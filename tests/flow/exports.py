"""Waiting for exports that are made in the background."""

from __future__ import annotations

import time
from typing import Any

from tests.service import Client

ENDED = ("done", "failed", "cancelled")


def done(client: Client, export_id: str, timeout: float = 180) -> dict[str, Any]:
    """The export once it is done; fails when it ends otherwise."""
    deadline = time.monotonic() + timeout
    while True:
        answer = client.get(f"/exports/{export_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        if job["state"] in ENDED:
            assert job["state"] == "done", job
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.2)


def done_export(client: Client, **body: Any) -> dict[str, Any]:
    made = client.post("/exports", json=body)
    assert made.status_code == 202, made.text
    return done(client, made.json()["id"])


def link_of(job: dict[str, Any]) -> str:
    """The path of its link."""
    url: str = job["download"]["url"]
    assert url.startswith("/api/v1/downloads/")
    return url
