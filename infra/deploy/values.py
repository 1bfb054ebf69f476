"""What a deploy is told by its environment, and the task definitions with that filled in."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Final

from infra.deploy.aws import DeployFailed

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = {"api": "ECS_SERVICE_API", "consumer": "ECS_SERVICE_CONSUMER"}
"""Each service and the variable that names it on ECS. The consumer goes first: it reads what an older API sends."""
ORDER: Final = ("consumer", "api")


def required(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    """The variables `names`; raises `DeployFailed` with one line naming each that is missing."""
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise DeployFailed("\n".join(f"{name}: is required" for name in missing))
    return {name: environment[name] for name in names}


def task_definition(service: str, values: Mapping[str, str], root: Path = ROOT) -> dict[str, Any]:
    """The task definition with every `${NAME}` filled in; raises `DeployFailed` with a line for each missing name."""
    text = (root / ".aws" / f"task-definition-{service}.json").read_text(encoding="utf-8")
    names = sorted(set(re.findall(r"\$\{(\w+)\}", text)))
    required(values, *names)
    # A value is put into JSON, so what JSON gives a meaning is escaped.
    filled: dict[str, Any] = json.loads(Template(text).substitute({n: json.dumps(values[n])[1:-1] for n in names}))
    return filled
