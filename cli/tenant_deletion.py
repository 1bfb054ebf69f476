"""`ocelot tenant delete` and `ocelot tenant deletion`: everything of a tenant goes, and the report of that stays."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from cli import operator
from cli.recorded import record
from core import deletion
from core.errors import NotFound
from core.ports import Tombstone
from core.tenant import Tenant, TenantStatus, for_system
from core.wiring import Backends

_POLL_SECONDS = 1.0
_Id = Annotated[str, typer.Argument(help="As `ocelot tenant list` shows it.")]


def delete_tenant(
    tenant_id: _Id,
    dry_run: Annotated[bool, typer.Option("--dry-run/--no-dry-run", help="Only tell what would go.")] = True,
    wait: Annotated[bool, typer.Option(help="Wait until it is done, and print the report.")] = True,
) -> None:
    """Delete a tenant and everything of it; `--no-dry-run` does it, and nobody can undo it."""
    settings = operator.with_settings()

    async def shown(backends: Backends) -> dict[str, Any]:
        return await deletion.preview(backends, for_system((await _tenant(backends, tenant_id)).id, "delete"))

    async def asked(backends: Backends) -> Tombstone:
        tenant = await _tenant(backends, tenant_id)
        scope = None if tenant.status is TenantStatus.DELETING else for_system(tenant.id, "delete")
        await record(backends, "ocelot tenant delete", "ocelot.tenant.delete", None, tenant.id)
        return await deletion.ask(backends, tenant, scope, operator.actor(), settings.job_keep)

    if dry_run:
        _print(operator.with_backends(shown) | {"dry_run": True})
        return
    begun = operator.with_backends(asked)
    if not wait:
        typer.echo(f"deleting: `ocelot tenant deletion {begun.tenant_id}` tells how far it is")
        return
    while (found := _found(tenant_id)).report is None:
        if found.error is not None:
            raise operator.failed(found.error)
        time.sleep(_POLL_SECONDS)
    _print(found.report)


def show_deletion(tenant_id: _Id) -> None:
    """Print how far a tenant's deletion is, or its report."""
    found = _found(tenant_id)
    _print(found.report or {"tenant_id": tenant_id, "stage": found.stage, "error": found.error})


def _found(tenant_id: str) -> Tombstone:
    async def work(backends: Backends) -> Tombstone | None:
        return await backends.tombstones.get(tenant_id)

    found = operator.with_backends(work)
    if found is None or found.person is not None:
        raise operator.failed(f"{tenant_id} was never asked to be deleted")
    return found


async def _tenant(backends: Backends, tenant_id: str) -> Tenant:
    tenant = await backends.control.tenant(tenant_id)
    if tenant is None:
        raise NotFound(f"no such tenant: {tenant_id}")
    return tenant


def _print(facts: dict[str, Any] | None) -> None:
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
