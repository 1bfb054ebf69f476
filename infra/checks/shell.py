"""Every shell script of the repository: shellcheck."""

from __future__ import annotations

from pathlib import Path

from infra.checks.tools import run


def check(root: Path) -> list[str]:
    scripts = [path.relative_to(root) for path in (root / ".ci").iterdir() if path.is_file()]
    scripts += [path.relative_to(root) for path in (root / "infra").rglob("*.sh")]
    return [
        fault
        for script in scripts
        for fault in run(
            "shellcheck", "--enable=all", "--exclude=SC2249,SC2250,SC2310,SC2311,SC2312", script, root=root
        )
    ]
