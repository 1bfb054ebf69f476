"""`ocelot reconcile`: compares a tenant's index with the store and closes its gap."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import context, jobs, options

DIFFERS = 3


def reconcile_command(
    from_: Annotated[
        str | None, typer.Option("--from", help="received_at from here on: RFC 3339, or back from now: -30d.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="The end, not included; as --from.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what differs and change nothing.")] = False,
    url: options.Url = None,
    token: options.AdminToken = None,
) -> None:
    """Index what the store has and the index lacks, and remove from the index what the store lacks.

    Exit code 0: they agree now. 3: something still differs. 1: it could not be done.
    """
    with context.clear_errors():
        target = context.load(url, token)
        bounds = {"received_from": from_, "received_to": to}
        asked = {name: value for name, value in bounds.items() if value is not None} | {"dry_run": dry_run}
        result = jobs.ended(target, jobs.started(target, "/logs/index/reconcile", asked))
        for line in _report(result):
            typer.echo(line)
        if result["left"]:
            raise typer.Exit(DIFFERS)


def _report(result: dict[str, Any]) -> list[str]:
    lines = [
        f"compared {result['compared']} events",
        f"not in the index: {result['not_indexed']}, indexed now: {result['indexed']}, "
        f"refused by the index: {result['refused']}",
        f"not in the store: {result['not_stored']}, removed from the index: {result['removed']}",
    ]
    for kind in ("not_indexed", "not_stored", "refused"):
        lines += [f"  {kind.replace('_', ' ')}: {event_id}" for event_id in result[f"ids_{kind}"]]
    return lines
