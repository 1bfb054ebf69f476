"""`ocelot parked`: events that their own content kept from being stored or indexed."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from cli import operator
from cli.recorded import record
from core import envelope, instant
from core.envelope import Header, Record
from core.ports import Message, Parked
from core.wiring import Backends

parked = typer.Typer(no_args_is_help=True, help="Events set aside for a person.")
_Id = Annotated[str, typer.Argument(help="As `ocelot parked list` shows it.")]


@parked.command("list")
def list_parked(
    tenant_id: Annotated[str | None, typer.Option("--tenant", "-t", help="Of this tenant only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON each.")] = False,
) -> None:
    """List them, newest first."""

    async def work(backends: Backends) -> list[Parked]:
        return await backends.parking.listing(tenant_id, limit)

    for item in operator.with_backends(work):
        facts = _facts(item)
        typer.echo(json.dumps(facts) if as_json else "  ".join(str(value) for value in facts.values()))


@parked.command("show")
def show(parked_id: _Id) -> None:
    """Print the exact bytes of one."""
    typer.echo(_get(parked_id).body)


@parked.command("replay")
def replay(parked_id: _Id) -> None:
    """Queue one again, as it is; it leaves the list once it is queued."""

    async def work(backends: Backends) -> None:
        item = await _require(backends, parked_id)
        await record(backends, "ocelot parked replay", "ocelot.parked.replay", item.tenant_id, item.id)
        again = Record(item.tenant_id, item.placement, item.body, item.content)
        header = Header(
            id=f"replay-{item.id}-{item.parked_at}",
            producer=f"replay-{item.id}-{item.parked_at}",
            sequence=1,
            made_at=instant.now_us(),
            events={item.tenant_id: 1},
        )
        for error in await backends.queue.send([Message(envelope.pack(header, [again]))]):
            if error is not None:
                raise error
        # The consumer may have parked it again already: that parking is no longer this command's to remove.
        await backends.parking.remove(item.id, item.attempts)

    operator.with_backends(work)
    typer.echo(f"queued again: {parked_id}")


@parked.command("discard")
def discard(parked_id: _Id, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete one for good."""
    item = _get(parked_id)
    if not yes:
        typer.confirm(f"Delete parked event {item.id} of tenant {item.tenant_id} for good?", abort=True)

    async def work(backends: Backends) -> bool:
        await record(backends, "ocelot parked discard", "ocelot.parked.discard", item.tenant_id, item.id)
        return await backends.parking.remove(parked_id)

    operator.with_backends(work)
    typer.echo(f"discarded: {parked_id}")


def _get(parked_id: str) -> Parked:
    async def work(backends: Backends) -> Parked:
        return await _require(backends, parked_id)

    return operator.with_backends(work)


async def _require(backends: Backends, parked_id: str) -> Parked:
    item = await backends.parking.get(parked_id)
    if item is None:
        raise operator.failed(f"nothing is parked under {parked_id}")
    return item


def _facts(item: Parked) -> dict[str, str | int | None]:
    return {
        "id": item.id,
        "tenant_id": item.tenant_id,
        "parked_at": instant.to_text(item.parked_at),
        "reason": item.reason,
        "event_id": item.event_id,
        "attempts": item.attempts,
        "bytes": len(item.body),
        "detail": item.detail,
    }
