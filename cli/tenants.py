"""`ocelot tenant` and `ocelot token`: customers and their credentials."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli import operator
from cli.durations import seconds
from core import accounts, credentials, grants
from core.access import Role
from core.ports import ApiKey
from core.tenant import Tenant
from core.wiring import Backends

tenant = typer.Typer(no_args_is_help=True, help="Customers.")
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_DAY = 86_400


@tenant.command("create")
def create_tenant(name: Annotated[str, typer.Argument(help="Its name, for people.")], as_json: _Json = False) -> None:
    """Create a tenant and its first API key (role admin), whose secret is shown this once."""

    async def work(backends: Backends) -> tuple[Tenant, ApiKey, str]:
        made = await accounts.create_tenant(backends.control, name)
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
