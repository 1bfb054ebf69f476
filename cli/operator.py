"""What an operator's commands act on: the configured backends, or those of the running `ocelot dev`."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import typer

from core.errors import OcelotError
from core.settings import Settings, load
from core.wiring import Backends, open_backends

T = TypeVar("T")


def home() -> Path:
    """The folder of the embedded stack."""
    return Path(os.environ.get("OCELOT_HOME", ".ocelot"))


def settings() -> Settings:
    """The settings of the environment; where `MONGODB_URL` is not set, those of the running `ocelot dev`."""
    facts = home() / "dev.json"
    if "MONGODB_URL" not in os.environ and facts.exists():
        for name, value in json.loads(facts.read_text())["environment"].items():
            os.environ.setdefault(name, value)
        os.environ["OCELOT_HOME"] = str(facts.parent.resolve())
    return load()


def with_backends(work: Callable[[Backends], Awaitable[T]]) -> T:
    """The result of `work` on the open backends; an error ends the command with one line."""

    async def run() -> T:
        async with open_backends(settings()) as backends:
            return await work(backends)

    try:
        return asyncio.run(run())
    except OcelotError as error:
        raise failed(error.message) from None


def actor() -> str:
    """Who runs the command, as far as the machine knows: what the access audit names."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"operator:{user}@{socket.gethostname()}"


def failed(message: str) -> typer.Exit:
    """End the command with this line on standard error."""
    typer.echo(f"ocelot: {message}", err=True)
    return typer.Exit(1)


def with_settings() -> Settings:
    """The settings, or one line on standard error for each mistake."""
    try:
        return settings()
    except OcelotError as error:
        raise failed(error.message) from None


def dev_tenant() -> str:
    """The first tenant of the running `ocelot dev`."""
    facts = home() / "dev.json"
    if not facts.exists():
        raise failed("name a tenant with --tenant (no `ocelot dev` runs here)")
    tenant_id: str = json.loads(facts.read_text())["tenant_id"]
    return tenant_id
