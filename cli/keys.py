"""`ocelot key`: the API keys of a tenant."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from cli import operator
from cli.durations import seconds
from cli.recorded import record
from core import credentials, grants, instant
from core.errors import NotFound
from core.networks import network
from core.ports import ApiKey
from core.tenant import Tenant, TenantScope, for_system
from core.wiring import Backends

key = typer.Typer(no_args_is_help=True, help="API keys of a tenant.")
_Tenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Tenant id; default: the one of `ocelot dev`.")]
_Key = Annotated[str, typer.Argument(metavar="CLIENT_ID", help="The key's id: ock_...")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_BY = "operator"
_PAGE = 500


@key.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for, for people.")],
    tenant_id: _Tenant = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", "-r", help="admin, writer, reader or a permission set; repeat for several."),
    ] = None,
    from_network: Annotated[
        list[str] | None, typer.Option("--network", "-n", help="A CIDR that it may be used from; repeat for several.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="How long it lives: 12h, 30d. [default: for good]")] = None,
    as_json: _Json = False,
) -> None:
    """Create a key, whose secret is shown this once."""
    roles = role or ["writer"]
    networks = [_network(text) for text in from_network or []]
    lives = None if expires is None else _seconds(expires, "--expires")

    async def work(backends: Backends, scope: TenantScope) -> tuple[ApiKey, str]:
        tenant = await _tenant(backends, scope)
        grants.check_known(tenant, roles)
        await credentials.check_room(backends.keys, scope)
        ends = None if lives is None else instant.now_us() + lives * 1_000_000
        call, action = "ocelot key create", "ocelot.key.create"
        await record(backends, call, action, scope.tenant_id, name=name, roles=roles, networks=networks)
        return await credentials.create_key(
            backends.keys, tenant, name, roles, created_by=_BY, networks=networks, expires_at=ends
        )

    made, secret = _with_scope(tenant_id, work)
    _show_secret(made, secret, as_json)


@key.command("list")
def list_keys(tenant_id: _Tenant = None, as_json: _Json = False) -> None:
    """List a tenant's keys, the newest first, revoked ones too."""

    async def work(backends: Backends, scope: TenantScope) -> list[ApiKey]:
        found: list[ApiKey] = []
        while True:
            page = await backends.keys.listing(scope, before=found[-1].id if found else None, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found

    for each in _with_scope(tenant_id, work):
        facts = _facts(each)
        if as_json:
            typer.echo(json.dumps(facts))
            continue
        ended = "revoked" if each.revoked_at is not None else "active"
        where = ",".join(each.networks) or "anywhere"
        typer.echo(
            "  ".join([each.id, ended, ",".join(each.roles), where, f"used {facts['used_at'] or 'never'}", each.name])
        )


@key.command("rotate")
def rotate(
    client_id: _Key,
    tenant_id: _Tenant = None,
    overlap: Annotated[str, typer.Option(help="How long the old secrets work on; 0 ends their tokens too.")] = "24h",
    as_json: _Json = False,
) -> None:
    """Give a key a new secret, which is shown this once."""
    lasts = _seconds(overlap, "--overlap")
    if lasts > credentials.MAX_OVERLAP:
        raise operator.failed(f"--overlap may be {credentials.MAX_OVERLAP // 86_400}d")

    async def work(backends: Backends, scope: TenantScope) -> tuple[ApiKey, str]:
        found = await _found(backends, scope, client_id)
        await record(backends, "ocelot key rotate", "ocelot.key.rotate", scope.tenant_id, found.id, overlap=lasts)
        return await credentials.rotate(backends.keys, backends.control, scope, found, lasts)

    made, secret = _with_scope(tenant_id, work)
    _show_secret(made, secret, as_json)


@key.command("revoke")
def revoke(client_id: _Key, tenant_id: _Tenant = None) -> None:
    """Revoke a key for good; within five seconds every process refuses what was issued for it."""

    async def work(backends: Backends, scope: TenantScope) -> None:
        found = await _found(backends, scope, client_id)
        await record(backends, "ocelot key revoke", "ocelot.key.revoke", scope.tenant_id, found.id)
        await credentials.revoke(backends.keys, backends.control, scope, found)

    _with_scope(tenant_id, work)
    typer.echo(f"{client_id} is revoked")


def _with_scope(tenant_id: str | None, work: Callable[[Backends, TenantScope], Awaitable[Any]]) -> Any:
    try:
        scope = for_system(tenant_id or operator.dev_tenant(), "operator")
    except ValueError as error:
        raise operator.failed(str(error)) from None
    return operator.with_backends(lambda backends: work(backends, scope))


async def _tenant(backends: Backends, scope: TenantScope) -> Tenant:
    tenant = await backends.control.tenant(scope.tenant_id)
    if tenant is None:
        raise NotFound(f"no such tenant: {scope.tenant_id}")
    return tenant


async def _found(backends: Backends, scope: TenantScope, client_id: str) -> ApiKey:
    found = await backends.keys.get(scope, client_id)
    if found is None:
        raise NotFound(f"the tenant {scope.tenant_id} has no such key: {client_id}")
    return found


def _network(text: str) -> str:
    try:
        return str(network(text))
    except ValueError as error:
        raise operator.failed(f"--network {text} {error}") from None


def _seconds(text: str, option: str) -> int:
    found = seconds(text)
    if found is None:
        raise operator.failed(f"{option} must be a length of time such as 12h or 30d")
    return found


def _show_secret(made: ApiKey, secret: str, as_json: bool) -> None:
    facts = {"client_id": made.id, "client_secret": secret, "roles": list(made.roles)}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for label, value in facts.items():
        typer.echo(f"{label:14} {value if isinstance(value, str) else ', '.join(value)}")


def _facts(each: ApiKey) -> dict[str, Any]:
    return {
        "client_id": each.id,
        "name": each.name,
        "roles": list(each.roles),
        "networks": list(each.networks),
        "created_by": each.created_by,
        **{
            name: None if at is None else instant.to_text(at)
            for name, at in (
                ("created_at", each.created_at),
                ("expires_at", each.expires_at),
                ("revoked_at", each.revoked_at),
                ("used_at", each.used_at),
            )
        },
    }
