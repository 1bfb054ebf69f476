"""The installed tools, and how a check runs one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

BIN: Final = Path(sys.executable).parent
"""Where `make infra-check` has installed all of them."""
WHEELS: Final = Path(sys.prefix) / "share" / "wheels"
"""What the images' requirements name, so that their RUN steps can be rehearsed offline."""
SCHEMAS: Final = Path(sys.prefix) / "share" / "schemas"


def run(tool: str, *arguments: str | Path, root: Path) -> list[str]:
    """What `tool` complains of, a line each; nothing when it ends well."""
    ended = subprocess.run(  # noqa: S603 - the project's own tools
        [BIN / tool, *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "NO_COLOR": "1"},
    )
    if ended.returncode == 0:
        return []
    said = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
    return [f"{tool}: {line}" for line in said or [f"exit code {ended.returncode}"]]


def output(tool: str, *arguments: str | Path, root: Path) -> str:
    """What `tool` prints; raises `ValueError` with what it complains of."""
    ended = subprocess.run([BIN / tool, *arguments], cwd=root, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode != 0:
        raise ValueError(f"{tool}: {' '.join(ended.stderr.split())}")
    return ended.stdout


def documents(text: str) -> Iterator[dict[str, Any]]:
    """The YAML documents of `text`."""
    for document in yaml.safe_load_all(text):
        if document is not None:
            yield document


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
