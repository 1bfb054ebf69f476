"""`ocelot tail`: the command's arguments."""

from __future__ import annotations

from cli import context, options


def tail_command(
    q: options.Words = None,
    filters: options.Filters = None,
    json_: options.Json = False,
    url: options.Url = None,
    token: options.ReaderToken = None,
) -> None:
    """Follow audit events as they are stored: ocelot tail --filter outcome=denied"""
    with context.clear_errors():
        from cli import searching, tailing

        target = context.load(url, token)
        asked = searching.parameters(q, filters or [], {})
        tailing.follow(target, asked, tailing.print_line if json_ else tailing.row_printer())
