"""`ocelot usage`: what tenants used, for the operator who bills them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Final

import typer

from cli import operator
from core import instant
from core.errors import OcelotError
from core.ports.usage import Amounts, day_text, total
from core.tenant import for_system
from core.usage import days_of
from core.wiring import Backends

_DAY_US: Final = 86_400 * 1_000_000
_Row = tuple[str, Amounts]


def usage(
    tenant_id: Annotated[
        str | None, typer.Argument(help="A tenant's id, for its days; without it, every tenant's total.")
    ] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="The first day (UTC), as 2026-11-01; default: of this month.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="The day after the last; default: tomorrow.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each row.")] = False,
) -> None:
    """Print requests, events, bytes and reads: of a tenant by the day, or of all tenants together with their sums."""
    given = [(name, value) for name, value in (("from", from_), ("to", to)) if value is not None]
    try:
        first, end = days_of(given, instant.now_us() // _DAY_US)
    except OcelotError as error:
        raise operator.failed(error.message) from None

    async def days(backends: Backends) -> list[_Row]:
        assert tenant_id is not None  # noqa: S101 - chosen below
        if await backends.control.tenant(tenant_id) is None:
            raise operator.failed(f"no such tenant: {tenant_id}")
        found = await backends.usage.days(for_system(tenant_id, "usage"), first, end)
        return [(day_text(each.day), each.amounts) for each in found]

    async def tenants(backends: Backends) -> list[_Row]:
        rows = []
        for tenant in await backends.control.tenants():
            found = await backends.usage.days(for_system(tenant.id, "usage"), first, end)
            rows.append((tenant.id, total(each.amounts for each in found)))
        return rows

    rows = operator.with_backends(days if tenant_id else tenants)
    label = "day" if tenant_id else "tenant"
    if as_json:
        for name, amounts in rows:
            typer.echo(json.dumps({label: name, **asdict(amounts)}))
        return
    typer.echo(_line(f"{label} ({day_text(first)} to {day_text(end - 1)})", list(asdict(Amounts()))))
    for name, amounts in [*rows, ("total", total(amounts for _, amounts in rows))]:
        typer.echo(_line(name, [f"{value:,}" for value in asdict(amounts).values()]))


def _line(name: str, values: list[str]) -> str:
    return f"{name:34}" + "".join(f"{value:>18}" for value in values)
