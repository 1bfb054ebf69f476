"""Waiting for jobs."""

from __future__ import annotations

import time
from typing import Any

from tests.service import Client


def ended(client: Client, job_id: str, timeout: float = 200) -> dict[str, Any]:
    """The job once it has ended, however it has."""
    deadline = time.monotonic() + timeout
    while True:
        job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.2)
