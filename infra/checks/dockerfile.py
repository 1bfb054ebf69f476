"""As much of a Dockerfile as ours use, read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    text: str


@dataclass(slots=True)
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)


class Dockerfile:
    """Its stages; raises `ValueError` for what is not understood."""

    def __init__(self, text: str) -> None:
        self.stages: list[Stage] = []
        defaults: dict[str, str] = {}
        uncommented = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
        for line in re.sub(r"\\\n\s*", " ", uncommented).splitlines():
            if not line.strip():
                continue
            name, _, rest = line.strip().partition(" ")
            rest = rest.strip()
            if name == "ARG" and not self.stages:
                key, _, value = rest.partition("=")
                defaults[key] = value
            elif name == "FROM":
                base, _, stage = rest.partition(" AS ")
                for key, value in defaults.items():
                    base = base.replace(f"${{{key}}}", value)
                self.stages.append(Stage(base, stage.strip()))
            elif self.stages and name.isupper():
                self.stages[-1].instructions.append(Instruction(name, rest))
            else:
                raise ValueError(f"not understood: {line}")


def sent(root: Path) -> list[PurePosixPath]:
    """The files that `docker build` is sent, by .dockerignore: `*`, then exceptions, then exclusions."""
    rules = [
        line for line in (root / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in ("", "#")
    ]
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    left = [rule.removeprefix("**/") for rule in rules if rule.startswith("**/")]
    files = []
    for top in kept:
        found = [root / top] if (root / top).is_file() else sorted((root / top).rglob("*"))
        files += [path.relative_to(root) for path in found if path.is_file()]
    return [
        PurePosixPath(path) for path in files if not any(fnmatch(part, rule) for part in path.parts for rule in left)
    ]
