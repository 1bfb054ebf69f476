"""`ocelot erase`: removes one person's events, and prints the report."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli import context, jobs, options


def erase_command(
    user_id: Annotated[str, typer.Argument(help="As it is in the events, exactly.")],
    dry_run: Annotated[bool, typer.Option("--dry-run/--no-dry-run", help="Only tell how many would go.")] = True,
    wait: options.Wait = True,
    url: options.Url = None,
    token: options.AdminToken = None,
) -> None:
    """Erase one person's events from log, index and archive; `--no-dry-run` does it, and nobody can undo it."""
    with context.clear_errors():
        target = context.load(url, token)
        path = f"/erasures?dry_run={'true' if dry_run else 'false'}"
        answer = jobs.asked(target, "POST", path, {"user_id": user_id})
        if not dry_run:
            typer.echo(f"job {answer['id']}", err=True)
        if not dry_run and wait:
            answer = jobs.ended(target, answer["id"])
        if dry_run or wait:
            typer.echo(json.dumps(answer, indent=2))
