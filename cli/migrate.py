"""`ocelot migrate`: brings store and index to this version's layout, while processes of an older one work on."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, TypeVar

import typer

from cli.operator import failed, settings
from core import instant
from core.errors import OcelotError, Unavailable
from core.migration import LAYOUT, Migrator, Phase, Step, StepState
from core.wiring import open_migrator

T = TypeVar("T")
_PATIENCE: Final = 60.0
_RETRY: Final = 1.0

migrate = typer.Typer(
    invoke_without_command=True, help="Bring store and index to this version's layout, with everything running."
)


@migrate.callback()
def run(
    called: typer.Context,
    contract: Annotated[
        bool,
        typer.Option(
            "--contract", help="Also take away what only older versions used; refused while such a process is at work."
        ),
    ] = False,
) -> None:
    """Make every step that is missing; harmless when there is none."""
    if called.invoked_subcommand is not None:
        return

    async def work(migrator: Migrator) -> list[Step]:
        made = await migrator.expand()
        return made + (await migrator.contract() if contract else [])

    made = _with_migrator(work)
    for step in made:
        typer.echo(f"made  {step.id}  {step.title}")
    typer.echo(f"layout {LAYOUT}: {len(made)} steps made")


@migrate.command("status")
def status(
    check: Annotated[bool, typer.Option("--check", help="End with 1 if a step is missing that this version needs.")] = (
        False
    ),
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON each.")] = False,
) -> None:
    """List the steps, and which are made."""

    async def work(migrator: Migrator) -> list[StepState]:
        return await migrator.status()

    states = _with_migrator(work)
    for state in states:
        facts = _facts(state)
        typer.echo(json.dumps(facts) if as_json else "  ".join(facts.values()))
    if check and any(not state.is_done and state.step.phase is Phase.EXPAND for state in states):
        raise typer.Exit(1)


def _facts(state: StepState) -> dict[str, str]:
    at = "" if state.applied_at is None else instant.to_text(state.applied_at)
    return {
        "state": "made" if state.is_done else "missing",
        "phase": state.step.phase.value,
        "step": state.step.id,
        "at": at or "-",
        "title": state.step.title,
    }


def _with_migrator(work: Callable[[Migrator], Awaitable[T]]) -> T:
    """The result of `work`; waits a minute for stores that come up, or another migration that ends."""

    async def run() -> T:
        deadline = time.monotonic() + _PATIENCE
        async with open_migrator(settings()) as migrator:
            while True:
                try:
                    return await work(migrator)
                except Unavailable as error:
                    if time.monotonic() > deadline:
                        raise
                    typer.echo(f"ocelot: waiting: {error.message}", err=True)
                    await asyncio.sleep(_RETRY)

    try:
        return asyncio.run(run())
    except OcelotError as error:
        raise failed(error.message) from None
