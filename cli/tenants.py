"""`ocelot tenant` and `ocelot token`: customers and their credentials."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer

from cli import operator
from core import accounts
from core.access import Role
from core.ports import ApiKey
from core.tenant import Tenant
from core.wiring import Backends

tenant = typer.Typer(no_args_is_help=True, help="Customers.")
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@tenant.command("create")
def create_tenant(name: Annotated[str, typer.Argument(help="Its name, for people.")], as_json: _Json = False) -> None:
    """Create a tenant and its first API key (role admin), whose secret is shown this once."""

    async def work(backends: Backends) -> tuple[Tenant, ApiKey, str]:
        made = await accounts.create_tenant(backends.control, name)
        return made, *await accounts.create_key(backends.control, made, "first", (Role.ADMIN,))

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


def token(
    tenant_id: Annotated[
        str | None, typer.Option("--tenant", "-t", help="Tenant id; default: the one of `ocelot dev`.")
    ] = None,
    role: Annotated[
        list[Role] | None, typer.Option("--role", "-r", help="Repeat for several. [default: admin]")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it lives: 900s, 15m, 12h; a day at most.")] = "15m",
    subject: Annotated[str, typer.Option(help="Who it stands for, in the record.")] = "operator",
) -> None:
    """Print a token, signed with the configured key (an operator's command: it needs that key)."""
    from api.tokens import SigningKey, TokenIssuer
    from core.keys import signing_key_pem

    roles = role or [Role.ADMIN]
    settings = operator.with_settings()
    if Role.PLATFORM in roles:
        tenant_id = None
    else:
        tenant_id = tenant_id or operator.dev_tenant()
        _require_tenant(tenant_id)
    issuer = TokenIssuer(SigningKey(signing_key_pem(settings, SigningKey.generate)), settings.issuer, settings.audience)
    typer.echo(issuer.issue(subject=subject, tenant_id=tenant_id, roles=roles, lifetime=_seconds(ttl)))


def _require_tenant(tenant_id: str) -> None:
    async def work(backends: Backends) -> Tenant | None:
        return await backends.control.tenant(tenant_id)

    if operator.with_backends(work) is None:
        raise operator.failed(f"no such tenant: {tenant_id}")


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([smhd]?)", text)
    seconds = int(match[1]) * _UNITS[match[2] or "s"] if match else 0
    if not 1 <= seconds <= _UNITS["d"]:
        raise operator.failed("--ttl must be 1s to 24h, such as 15m")
    return seconds
