"""The `ocelot` command. Each subcommand is a module; what is heavy is imported inside it, so that --help is quick."""

from __future__ import annotations

import typer

from cli import keys, stack, tenants
from cli.backup import backup_command, restore_command
from cli.erase_command import erase_command
from cli.import_command import import_command
from cli.migrate import migrate
from cli.parked import parked
from cli.quarantine import quarantine
from cli.reconcile_command import reconcile_command
from cli.reindex_command import reindex_command
from cli.retention import retention
from cli.search_command import search_command
from cli.tail_command import tail_command
from cli.tenant_deletion import delete_tenant, show_deletion
from cli.usage import usage

app = typer.Typer(
    name="ocelot",
    help="Ocelot: audit events go in by token and are found by search.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback shows local variables, among them tokens.
    pretty_exceptions_enable=False,
)
app.command("dev")(stack.dev)
app.command("api")(stack.api)
app.command("consumer")(stack.consumer)
tenants.tenant.command("delete")(delete_tenant)
tenants.tenant.command("deletion")(show_deletion)
app.add_typer(tenants.tenant, name="tenant")
app.add_typer(keys.key, name="key")
app.command("token")(tenants.token)
app.add_typer(parked, name="parked")
app.add_typer(migrate, name="migrate")
app.command("backup")(backup_command)
app.command("restore")(restore_command)
app.add_typer(quarantine, name="quarantine")
app.command("search")(search_command)
app.command("reindex")(reindex_command)
app.add_typer(retention, name="retention")
app.command("reconcile")(reconcile_command)
app.command("erase")(erase_command)
app.command("tail")(tail_command)
app.command("usage")(usage)
app.command("import")(import_command)

if __name__ == "__main__":
    app()
