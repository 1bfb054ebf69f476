"""`ocelot dev`, `ocelot api`, `ocelot consumer`: running the service."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cli.operator import failed, home

_Reload = Annotated[bool, typer.Option("--reload", help="Start again when the code changes.")]


def dev(
    port: Annotated[int, typer.Option(envvar="PORT", help="Port of the API.")] = 8000,
) -> None:
    """Run the whole service on this machine: embedded stores, API and consumer. Ctrl-C stops it."""
    from infra.local.dev import DevFailed, run

    try:
        run(home(), port)
    except DevFailed as error:
        raise failed(str(error)) from None


def api(reload: _Reload = False) -> None:
    """Run the API against the configured backends."""
    if reload:
        _reloading("api.main")
    from api.main import serve

    serve()


def consumer(reload: _Reload = False) -> None:
    """Run the consumer against the configured backends."""
    if reload:
        _reloading("consumer.main")
    from consumer.main import serve

    serve()


def _reloading(module: str) -> None:
    """Become watchfiles, which runs `module` and starts it again at each change of the code."""
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise failed("--reload needs watchfiles: pip install 'ocelot[dev]'") from None
    command = f"{sys.executable} -m {module}"
    arguments = [sys.executable, "-m", "watchfiles", "--filter", "python", command, "api", "consumer", "core"]
    os.execv(sys.executable, arguments)  # noqa: S606 - no shell, and nothing of a user's in it
