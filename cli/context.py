"""Where the commands talk to, and how they tell a user what went wrong: one line on stderr, never a traceback."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from core.errors import OcelotError

FAILED = 1
MISUSED = 2
INTERRUPTED = 130


class UserError(Exception):
    """Something that the user can put right; the message says what. `exit_code` is 1, or 2 for wrong arguments."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Context:
    """An Ocelot and a token for it. `tenant_id` only tells runs apart: what counts is the token."""

    api_url: str
    token: str = field(repr=False)
    tenant_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def home() -> Path:
    """The folder of the running stack and of the commands' own notes."""
    return Path(os.environ.get("OCELOT_HOME") or ".ocelot")


def load(url: str | None, token: str | None) -> Context:
    """Where to talk to: what is given, else `dev.json` of a running `ocelot dev`; raises `UserError`."""
    dev = _dev_json() if url is None or token is None else {}
    api_url, found = url or dev.get("api_url"), token or dev.get("token")
    if not api_url or not found:
        raise UserError(
            f"no Ocelot to talk to: start one with `ocelot dev` ({home() / 'dev.json'} is not there), "
            "or give --url and --token (OCELOT_URL, OCELOT_TOKEN)",
            MISUSED,
        )
    if url is not None and token is None and dev.get("api_url") != url.rstrip("/"):
        # The token of the local stack is nobody else's to see.
        raise UserError("--url names another Ocelot than the one running here: give its --token too", MISUSED)
    parts = urlsplit(api_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"not an http:// or https:// URL: {api_url}", MISUSED)
    if not found.isascii() or any(c.isspace() for c in found):
        raise UserError("the token has characters that no token has", MISUSED)
    return Context(api_url.rstrip("/"), found, _tenant_of(found))


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turns what a user can put right into one line on stderr and an exit code."""
    try:
        yield
    except (UserError, OcelotError) as error:
        print(f"ocelot: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code if isinstance(error, UserError) else FAILED) from None
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _dev_json() -> dict[str, str]:
    path = home() / "dev.json"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error.__class__.__name__}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} is not what `ocelot dev` writes")
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _tenant_of(token: str) -> str:
    """The tenant that a token names, unverified (the server verifies); a digest where it names none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["tenant"])
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        return "token-" + hashlib.sha256(token.encode()).hexdigest()[:16]
