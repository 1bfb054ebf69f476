"""Options that several commands have, each described once."""

from __future__ import annotations

from typing import Annotated

import typer


def _token(role: str) -> object:
    return typer.Option(envvar="OCELOT_TOKEN", help=f"A token with the {role} role.")


Url = Annotated[str | None, typer.Option(envvar="OCELOT_URL", help="Ocelot's URL; default: the one running.")]
AdminToken = Annotated[str | None, _token("admin")]
WriterToken = Annotated[str | None, _token("writer")]
ReaderToken = Annotated[str | None, _token("reader")]
Wait = Annotated[bool, typer.Option(help="Wait until it is done.")]
Words = Annotated[str | None, typer.Argument(help="Words to find, in any event's text.")]
Filters = Annotated[
    list[str] | None,
    typer.Option("--filter", "-F", help="field=value; repeat it for more; !value is not, value* a prefix."),
]
Json = Annotated[bool, typer.Option("--json", help="The events as stored, one a line.")]
