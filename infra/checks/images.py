"""The images: hadolint, and what hadolint does not know that they promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from infra.checks.dockerfile import Dockerfile
from infra.checks.tools import run

FILES: Final = ("Dockerfile.api", "Dockerfile.consumer")
_LABELS: Final = ("title", "description", "version", "revision", "created", "licenses", "base.name")
_TOOLS: Final = re.compile(r"\b(apt-get|apk|curl|wget|gcc|build-essential|git)\b")


def check(root: Path) -> list[str]:
    """Faults of both Dockerfiles and of .dockerignore."""
    faults = [f"{name}: {fault}" for name in FILES for fault in _one(root, name)]
    ignored = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    if rules[0] != "*":
        faults.append(".dockerignore: does not start with *, so new files are sent")
    faults += [f".dockerignore: sends {path}" for path in ("tests", ".env", ".git", ".") if f"!{path}" in rules]
    return faults


def _one(root: Path, name: str) -> list[str]:
    faults = run("hadolint", name, root=root)
    file = Dockerfile((root / name).read_text(encoding="utf-8"))
    service = name.partition(".")[2]
    final = file.stages[-1]
    said = {each.name: each.text for each in final.instructions}
    if said.get("USER") != "10001:10001":
        faults.append("does not run as 10001:10001")
    if said.get("ENTRYPOINT") != '["ocelot"]' or said.get("CMD") != f'["{service}"]':
        faults.append("does not start the service itself (exec form), so SIGTERM would reach a shell")
    if said.get("STOPSIGNAL") != "SIGTERM":
        faults.append("is not stopped by SIGTERM")
    if f'CMD ["python", "-m", "core.alive", "{service}"]' not in said.get("HEALTHCHECK", ""):
        faults.append("has no health check by Python")
    missing = [label for label in _LABELS if f"org.opencontainers.image.{label}=" not in said.get("LABEL", "")]
    faults += [f"has no label org.opencontainers.image.{label}" for label in missing]
    if "pip uninstall" not in " ".join(each.text for each in final.instructions if each.name == "RUN"):
        faults.append("keeps pip in the result")
    for stage in file.stages:
        for each in stage.instructions:
            if each.name == "ADD" or (each.name == "RUN" and _TOOLS.search(each.text)):
                faults.append(f"uses what it need not: {each.name} {each.text[:60]}")
            for install in re.findall(r"pip (?:--python \S+ )?install[^&]*", each.text) if each.name == "RUN" else []:
                if (
                    not ("--require-hashes" in install and "--only-binary :all:" in install)
                    and "--no-index" not in install
                ):
                    faults.append(f"installs what has no hash, or builds it: {install.strip()[:80]}")
        if ":" not in stage.base or stage.base.endswith(":latest"):
            faults.append(f"is based on {stage.base}, which names no version")
    return faults
