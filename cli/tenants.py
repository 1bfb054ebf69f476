"""`ocelot tenant` and `ocelot token`: customers and their credentials."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import operator
from cli.durations import seconds
from cli.masking_rules import read_rules
from cli.recorded import record
from core import accounts, credentials, grants, instant, tenancy
from core.access import Role
from core.audit import Access, Trail
from core.placement import Period
from core.ports import ApiKey
from core.producer import producer
from core.tenant import Tenant, TenantStatus
from core.tenant_settings import MAX_RETENTION_DAYS, AccessAudit, Quotas
from core.wiring import Backends

tenant = typer.Typer(no_args_is_help=True, help="Customers.")
_Id = Annotated[str, typer.Argument(help="As `ocelot tenant list` shows it.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DAY = 86_400


@tenant.command("create")
def create_tenant(name: Annotated[str, typer.Argument(help="Its name, for people.")], as_json: _Json = False) -> None:
    """Create a tenant and its first API key (role admin), whose secret is shown this once."""

    async def work(backends: Backends) -> tuple[Tenant, ApiKey, str]:
        made = accounts.new_tenant(name)
        await record(backends, "ocelot tenant create", "ocelot.tenant.create", None, made.id, name=name)
        await backends.control.create_tenant(made)
        key = await credentials.create_key(backends.keys, made, "first", (Role.ADMIN.value,), created_by="operator")
        return made, *key

    made, key, secret = operator.with_backends(work)
    facts = {"tenant_id": made.id, "name": made.name, "client_id": key.id, "client_secret": secret}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for label, value in facts.items():
        typer.echo(f"{label:14} {value}")


@tenant.command("list")
def list_tenants(as_json: _Json = False) -> None:
    """List the tenants."""

    async def work(backends: Backends) -> list[Tenant]:
        return await backends.control.tenants()

    for each in operator.with_backends(work):
        facts = {"tenant_id": each.id, "status": each.status.value, "name": each.name}
        typer.echo(json.dumps(facts) if as_json else "  ".join(facts.values()))


@tenant.command("show")
def show_tenant(tenant_id: _Id) -> None:
    """Print all that is set for a tenant, as JSON."""

    async def work(backends: Backends) -> Tenant | None:
        return await backends.control.tenant(tenant_id)

    found = operator.with_backends(work)
    if found is None:
        raise operator.failed(f"no such tenant: {tenant_id}")
    typer.echo(json.dumps(_facts(found), indent=2, ensure_ascii=False))


@tenant.command("update")
def update_tenant(
    tenant_id: _Id,
    name: Annotated[str | None, typer.Option(help="Its name, for people.")] = None,
    retention_days: Annotated[
        int | None, typer.Option(min=1, max=MAX_RETENTION_DAYS, help="Days until events are archived and removed.")
    ] = None,
    index_period: Annotated[
        Period | None, typer.Option(help="One index a year, month or day, from the next midnight (UTC) on.")
    ] = None,
    access_audit: Annotated[
        AccessAudit | None, typer.Option(help="What becomes of a read that cannot be recorded.")
    ] = None,
    quarantine: Annotated[
        bool | None, typer.Option("--quarantine/--no-quarantine", help="Keep events that fail validation.")
    ] = None,
    masking: Annotated[
        Path | None, typer.Option(help="A file with its masking rules, as in the body of PUT /api/v1/masking.")
    ] = None,
    quota: Annotated[
        list[str] | None, typer.Option(help="Such as events_per_second=500, or =none; repeat for several.")
    ] = None,
) -> None:
    """Change what is set for a tenant; every process goes by it within 5 seconds."""
    quotas = dict(_quota(text) for text in quota or ())
    rules = None if masking is None else read_rules(masking)
    if name is not None and not 0 < len(name) <= 200:
        raise operator.failed("--name must have 1 to 200 characters")

    def make(old: Tenant) -> Tenant:
        return replace(
            old,
            name=old.name if name is None else name,
            retention_days=retention_days or old.retention_days,
            placements=tenancy.with_period(old.placements, index_period or old.placements[-1].period),
            access_audit=access_audit or old.access_audit,
            quarantine=old.quarantine if quarantine is None else quarantine,
            quotas=replace(old.quotas, **quotas),
            masking=old.masking if rules is None else rules,
        )

    _change(tenant_id, make)


@tenant.command("suspend")
def suspend_tenant(tenant_id: _Id) -> None:
    """Let a tenant's tokens and keys reach nothing; what it sent stays."""
    _change(tenant_id, lambda old: replace(old, status=TenantStatus.SUSPENDED))


@tenant.command("resume")
def resume_tenant(tenant_id: _Id) -> None:
    """End a suspension."""
    _change(tenant_id, lambda old: replace(old, status=TenantStatus.ACTIVE))


def token(
    tenant_id: Annotated[
        str | None, typer.Option("--tenant", "-t", help="Tenant id; default: the one of `ocelot dev`.")
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", "-r", help="A role or a permission set; repeat for several. [default: admin]"),
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it lives: 900s, 15m, 12h; a day at most.")] = "15m",
    subject: Annotated[str, typer.Option(help="Who it stands for, in the record.")] = "operator",
) -> None:
    """Print a token, signed with the configured key (an operator's command: it needs that key)."""
    from api.tokens import SigningKey, TokenIssuer
    from core.keys import signing_key_pem

    names = role or [Role.ADMIN.value]
    settings = operator.with_settings()
    roles, sets = frozenset({Role.PLATFORM}), frozenset[str]()
    if Role.PLATFORM.value in names:
        tenant_id = None
    else:
        tenant_id = tenant_id or operator.dev_tenant()
        roles, sets = _known(tenant_id, names)
    issuer = TokenIssuer(SigningKey(signing_key_pem(settings, SigningKey.generate)), settings.issuer, settings.audience)
    lifetime = _seconds(ttl)
    typer.echo(issuer.issue(subject=subject, tenant_id=tenant_id, roles=roles, lifetime=lifetime, sets=sets))


def _change(tenant_id: str, make: Callable[[Tenant], Tenant]) -> None:
    async def work(backends: Backends) -> Tenant:
        async with producer(backends.queue, backends.ledger) as commit:
            trail = Trail(commit)
            access = Access("ocelot.tenant.change", operator.actor(), metadata={"call": "ocelot tenant"})

            async def record(old: Tenant, new: Tenant) -> None:
                await trail.change(access, old, new)

            return await tenancy.change(backends.control, tenant_id, make, record)

    typer.echo(json.dumps(_facts(operator.with_backends(work)), indent=2, ensure_ascii=False))


def _facts(each: Tenant) -> dict[str, Any]:
    return {
        "tenant_id": each.id,
        "name": each.name,
        "status": each.status.value,
        "retention_days": each.retention_days,
        "quotas": asdict(each.quotas),
        "masking": [asdict(rule) for rule in each.masking],
        "index_period": each.placements[-1].period.value,
        "access_audit": each.access_audit.value,
        "quarantine": each.quarantine,
        "created_at": instant.to_text(each.created_at),
        "revision": each.revision,
    }


def _quota(text: str) -> tuple[str, int | None]:
    name, _, limit = text.partition("=")
    names = [field.name for field in fields(Quotas)]
    if name not in names or not (limit == "none" or re.fullmatch(r"[1-9][0-9]{0,15}", limit)):
        raise operator.failed(f"--quota must be NAME=NUMBER or NAME=none; the names are {', '.join(names)}")
    return name, None if limit == "none" else int(limit)


def _known(tenant_id: str, names: list[str]) -> tuple[frozenset[Role], frozenset[str]]:
    """The tenant's roles and permission sets of these names."""

    async def work(backends: Backends) -> Tenant | None:
        found = await backends.control.tenant(tenant_id)
        if found is not None:
            grants.check_known(found, names)
        return found

    if operator.with_backends(work) is None:
        raise operator.failed(f"no such tenant: {tenant_id}")
    return grants.split(names)


def _seconds(text: str) -> int:
    found = seconds(text)
    if found is None or not 1 <= found <= _DAY:
        raise operator.failed("--ttl must be 1s to 24h, such as 15m")
    return found
