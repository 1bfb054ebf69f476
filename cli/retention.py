"""`ocelot retention`: archives and removes old events, lists the archive, brings events back."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import context, jobs, options
from cli.jobs import asked

retention = typer.Typer(help="Old events: archive and remove them, see the archive, bring them back.")
_PAGE = "1000"


@retention.command()
def cleanup(
    before: Annotated[str, typer.Option(help="received_at before this: RFC 3339, or back from now: -90d.")],
    remove: Annotated[bool, typer.Option("--remove", help="Do it; without this, only tell what would go.")] = False,
    wait: options.Wait = True,
    url: options.Url = None,
    token: options.AdminToken = None,
) -> None:
    """Archive every event received before a moment, then remove it; what a legal hold covers stays."""
    with context.clear_errors():
        target = context.load(url, token)
        params = {"before": before, "dry_run": "false" if remove else "true"}
        answer = asked(target, "DELETE", "/logs/cleanup", params=params)
        if not remove:
            typer.echo(f"{_count(answer)} events were received before {answer['before']}; nothing is removed")
            for hold in answer["holds"]:
                typer.echo(f"  {_count(hold)} stay: hold {hold['id']} ({hold['reason']})")
            return
        typer.echo(f"job {answer['job']['id']}")
        if wait:
            result = jobs.ended(target, answer["job"]["id"])
            held = "all are" if result["held"] is None else f"{result['held']} are"
            typer.echo(f"{result['archived']} events archived in {result['files']} files and removed; {held} held")


@retention.command()
def restore(
    from_: Annotated[str, typer.Option("--from", help="received_at from here on: RFC 3339, or back from now: -120d.")],
    to: Annotated[str, typer.Option("--to", help="The end, not included; as --from.")],
    keep_days: Annotated[int, typer.Option(help="Days after which they go again.")] = 7,
    wait: options.Wait = True,
    url: options.Url = None,
    token: options.AdminToken = None,
) -> None:
    """Bring archived events back into store and index, for some days."""
    with context.clear_errors():
        target = context.load(url, token)
        body = {"received_from": from_, "received_to": to, "keep_days": keep_days}
        job_id = jobs.started(target, "/logs/restore", body)
        if wait:
            result = jobs.ended(target, job_id)
            typer.echo(
                f"{result['restored']} events are back until {result['until']}; {result['conflicts']} were sent again "
                f"otherwise since, {result['failed']} are not taken"
            )


@retention.command()
def archive(url: options.Url = None, token: options.AdminToken = None) -> None:
    """List the files of the archive."""
    with context.clear_errors():
        target = context.load(url, token)
        params = {"limit": _PAGE}
        while True:
            page = asked(target, "GET", "/archive", params=params)
            for each in page["data"]:
                span = f"{each['received_from']}  {each['received_to']}"
                typer.echo(f"{span}  {each['events']:>9}  {each['state']:<8}  {each['sha256']}  {each['file']}")
            if page["next_cursor"] is None:
                return
            params = {"limit": _PAGE, "cursor": page["next_cursor"]}


def _count(counted: dict[str, object]) -> str:
    return f"{'' if counted['events_relation'] == 'exact' else 'at least '}{counted['events']}"
