"""Asking the service for what an operator's command does, and waiting for a job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import typer

from cli import context

_POLL_SECONDS = 1.0


def asked(
    target: context.Context,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
    params: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The answer; raises `UserError` for a refusal."""
    import httpx

    try:
        response = httpx.request(
            method, f"{target.api_url}/api/v1{path}", json=body, params=params, headers=target.headers, timeout=60
        )
    except httpx.TransportError as error:
        raise context.UserError(f"{target.api_url} does not answer: {error}") from None
    try:
        answer: Any = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise context.UserError(f"{target.api_url} answers {response.status_code}, and not as Ocelot does")
    if response.is_error:
        raise context.UserError(f"{answer.get('detail', 'refused')} ({answer.get('code', response.status_code)})")
    return answer


def awaited(target: context.Context, job_id: str) -> dict[str, Any]:
    """The result of a job once it is done, its progress told on the way; raises `UserError` when it ends otherwise."""
    shown = ""
    while True:
        job = asked(target, "GET", f"/jobs/{job_id}")
        line = f"{job['state']}: {job['done']} of {job['total'] if job['total'] is not None else '?'} events"
        if line != shown:
            typer.echo(line)
            shown = line
        if job["state"] == "done":
            result: dict[str, Any] = job["result"]
            return result
        if job["state"] in ("failed", "cancelled"):
            raise context.UserError(f"the job has {job['state']}: {job['error'] or 'nobody says why'}")
        time.sleep(_POLL_SECONDS)
