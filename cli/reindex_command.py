"""`ocelot reindex`: rebuilds a tenant's index from the store, and waits for the end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import context

_POLL_SECONDS = 1.0


def reindex_command(
    from_: Annotated[
        str, typer.Option("--from", help="received_at from here on: RFC 3339, or back from now: -30d.")
    ] = "1970-01-01T00:00:00Z",
    to: Annotated[str | None, typer.Option("--to", help="The end, not included; as --from.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is done.")] = True,
    url: Annotated[
        str | None, typer.Option(envvar="OCELOT_URL", help="Ocelot's URL; default: the one running.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="OCELOT_TOKEN", help="A token with the admin role.")] = None,
) -> None:
    """Rebuild a tenant's index from the store; searches and writes go on meanwhile."""
    with context.clear_errors():
        target = context.load(url, token)
        asked = {"received_from": from_} | ({"received_to": to} if to is not None else {})
        job = _asked(target, "POST", "/logs/index/bulk", asked)["job"]
        typer.echo(f"job {job['id']}")
        if wait:
            _await(target, job["id"])


def _await(target: context.Context, job_id: str) -> None:
    import time

    shown = ""
    while True:
        job = _asked(target, "GET", f"/jobs/{job_id}")
        line = f"{job['state']}: {job['done']} of {job['total'] if job['total'] is not None else '?'} events"
        if line != shown:
            typer.echo(line)
            shown = line
        if job["state"] == "done":
            result = job["result"]
            typer.echo(
                f"indices {', '.join(result['placements']) or 'none'}: {result['indexed']} events, "
                f"{result['reduced']} of them reduced, {result['failed']} refused by the index"
            )
            return
        if job["state"] in ("failed", "cancelled"):
            raise context.UserError(f"the job has {job['state']}: {job['error'] or 'nobody says why'}")
        time.sleep(_POLL_SECONDS)


def _asked(target: context.Context, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    import httpx

    try:
        response = httpx.request(
            method, f"{target.api_url}/api/v1{path}", json=body, headers=target.headers, timeout=60
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
