"""`ocelot tail`: the command's arguments."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import context


def tail_command(
    q: Annotated[str | None, typer.Argument(help="Words to find, in any event's text.")] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", "-F", help="field=value; repeat it for more; !value is not, value* a prefix."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="The events as stored, one a line.")] = False,
    url: Annotated[
        str | None, typer.Option(envvar="OCELOT_URL", help="Ocelot's URL; default: the one running.")
    ] = None,
    token: Annotated[str | None, typer.Option(envvar="OCELOT_TOKEN", help="A token with the reader role.")] = None,
) -> None:
    """Follow audit events as they are stored: ocelot tail --filter outcome=denied"""
    with context.clear_errors():
        from cli import searching, tailing

        target = context.load(url, token)
        asked = searching.parameters(q, filters or [], {})
        tailing.follow(target, asked, tailing.print_line if json_ else tailing.row_printer())
