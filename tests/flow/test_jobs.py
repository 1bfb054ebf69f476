"""Jobs over HTTP: read by whoever may read, run again by whoever may start one."""

from __future__ import annotations

from typing import Any

import pytest

from core import instant
from core.access import Role
from core.ids import uuid7s
from core.jobs import Job, JobState, Progress
from tests.service import Client, Service


def put(running: Service, client: Client, **fields: Any) -> Job:
    """A job that has ended, put into the service's store."""
    assert client.tenant is not None
    now = instant.now_us()
    job = Job(
        id=uuid7s(now, 1)[0], tenant_id=client.tenant.id, asked_by="key:ana", created_at=now, updated_at=now,
        expires_at=now + 3_600_000_000, **{"kind": "export", "spec": {"format": "csv"}, **fields},
    )  # fmt: skip
    running.with_backends(lambda backends: backends.jobs.create(job, max_active=99))
    return job


def test_a_job_is_shown_without_its_checkpoint(running: Service, tenant: Client) -> None:
    progress = Progress(3, 9, {"key": "private"})
    job = put(running, tenant, state=JobState.FAILED, error="no such bucket", progress=progress, attempts=2)
    reader = running.client(tenant.tenant, Role.READER)
    shown = reader.get(f"/jobs/{job.id}")
    assert shown.status_code == 200
    assert "private" not in shown.text
    assert shown.json() == {
        "id": job.id, "kind": "export", "state": "failed", "spec": {"format": "csv"}, "done": 3, "total": 9,
        "result": None, "error": "no such bucket", "attempts": 2, "asked_by": "key:ana",
        "created_at": instant.to_text(job.created_at), "updated_at": instant.to_text(job.updated_at),
        "expires_at": instant.to_text(job.expires_at),
    }  # fmt: skip


def test_only_a_failed_job_runs_again(running: Service, tenant: Client) -> None:
    done = put(running, tenant, state=JobState.DONE)
    answer = tenant.post(f"/jobs/{done.id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_failed")


@pytest.mark.parametrize("job_id", ["9e6b5240-650a-40c8-9ee5-f81a3df236c5", "x", "0" * 36, "..%2f", "%00"])
def test_an_unknown_job_is_404(tenant: Client, job_id: str) -> None:
    for answer in (tenant.get(f"/jobs/{job_id}"), tenant.post(f"/jobs/{job_id}/retry")):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_who_may_not_read_sees_and_starts_nothing(running: Service, tenant: Client) -> None:
    job = put(running, tenant, state=JobState.FAILED)
    for client in (running.client(tenant.tenant, Role.WRITER), running.client(None, Role.PLATFORM)):
        assert client.get(f"/jobs/{job.id}").status_code == 403
        assert client.post(f"/jobs/{job.id}/retry").status_code == 403
    assert Client(running.url, None).get(f"/jobs/{job.id}").status_code == 401
    assert tenant.get(f"/jobs/{job.id}").json()["state"] == "failed"
