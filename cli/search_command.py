"""`ocelot search`: the command's arguments."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import context, options


def search_command(
    q: options.Words = None,
    filters: options.Filters = None,
    from_: Annotated[str | None, typer.Option("--from", help="RFC 3339, or back from now: -24h, -7d.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="The end, not included; as --from.")] = None,
    sort: Annotated[str | None, typer.Option(help="timestamp or received_at; - before it: newest first.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many events.")] = 50,
    all_: Annotated[bool, typer.Option("--all", help="Every event that matches.")] = False,
    json_: options.Json = False,
    url: options.Url = None,
    token: options.ReaderToken = None,
) -> None:
    """Search audit events: ocelot search 'denied bucket' --filter source=s3.amazonaws.com --from -24h"""
    with context.clear_errors():
        from cli import searching

        target = context.load(url, token)
        asked = searching.parameters(q, filters or [], {"from": from_, "to": to, "sort": sort})
        found = searching.pages(target, asked, None if all_ else limit)
        if json_:
            searching.print_lines(found)
        else:
            searching.print_tables(found)
