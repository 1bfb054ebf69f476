"""The `ocelot` command. Each subcommand is a module; what is heavy is imported inside it, so that --help is quick."""

from __future__ import annotations

import typer

from cli.import_command import import_command
from cli.search_command import search_command

app = typer.Typer(
    name="ocelot",
    help="Ocelot: audit events go in by token and are found by search.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback shows local variables, among them tokens.
    pretty_exceptions_enable=False,
)
app.command("import")(import_command)
app.command("search")(search_command)

if __name__ == "__main__":
    app()
