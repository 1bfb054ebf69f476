"""`ocelot reindex`: rebuilds a tenant's index from the store, and waits for the end."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import context, jobs, options


def reindex_command(
    from_: Annotated[
        str, typer.Option("--from", help="received_at from here on: RFC 3339, or back from now: -30d.")
    ] = "1970-01-01T00:00:00Z",
    to: Annotated[str | None, typer.Option("--to", help="The end, not included; as --from.")] = None,
    wait: options.Wait = True,
    url: options.Url = None,
    token: options.AdminToken = None,
) -> None:
    """Rebuild a tenant's index from the store; searches and writes go on meanwhile."""
    with context.clear_errors():
        target = context.load(url, token)
        asked = {"received_from": from_} | ({"received_to": to} if to is not None else {})
        job_id = jobs.started(target, "/logs/index/bulk", asked)
        if wait:
            result = jobs.ended(target, job_id)
            typer.echo(
                f"indices {', '.join(result['placements']) or 'none'}: {result['indexed']} events, "
                f"{result['reduced']} of them reduced, {result['failed']} refused by the index"
            )
