"""The AWS command line, a call at a time."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Protocol


class DeployFailed(Exception):
    """The deploy cannot go on; one line for the person who called it."""


class Aws(Protocol):
    """Calls of `aws`."""

    def __call__(self, *arguments: str) -> Any:
        """What `aws ARGUMENTS` answers, read from JSON; None when it answers nothing. Raises `DeployFailed`."""
        ...


class CommandLine:
    """The installed `aws`; the account and its keys are what the environment says."""

    def __init__(self, region: str) -> None:
        self._region = region

    def __call__(self, *arguments: str) -> Any:
        command = ["aws", "--region", self._region, "--output", "json", *arguments]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        except FileNotFoundError:
            raise DeployFailed("the AWS command line is not installed: no `aws` on the PATH") from None
        if ended.returncode != 0:
            said = " ".join(ended.stderr.split()) or f"exit code {ended.returncode}"
            raise DeployFailed(f"aws {' '.join(arguments[:2])}: {said}")
        return json.loads(ended.stdout) if ended.stdout.strip() else None
