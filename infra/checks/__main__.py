"""`python -m infra.checks [CHECK...]`: each check, then the faults planted for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infra.checks import compose, images, kubernetes, monitoring, rehearsal, shell, workflows
from infra.checks.planted import FAULTS, Check, unfound

ROOT: Final = Path(__file__).parents[2]
CHECKS: Final[dict[str, Check]] = {
    "images": images.check,
    "rehearsal": rehearsal.check,
    "compose": compose.check,
    "kubernetes": kubernetes.check,
    "monitoring": monitoring.check,
    "workflows": workflows.check,
    "shell": shell.check,
}


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        sys.stderr.write(f"no check {unknown[0]}; there are {', '.join(CHECKS)}\n")
        return 2
    chosen = {name: check for name, check in CHECKS.items() if not names or name in names}
    bad = 0
    for name, check in chosen.items():
        started = time.monotonic()
        faults = check(ROOT)
        bad += len(faults)
        _say(f"{'bad ' if faults else 'good'}  {name}  {time.monotonic() - started:.1f} s")
        for fault in faults:
            _say(f"      {fault}")
    if not bad:
        started = time.monotonic()
        planted = sum(fault.check in chosen for fault in FAULTS)
        faults = unfound(ROOT, chosen)
        bad = len(faults)
        found = f"{planted - bad} of {planted} planted faults are found"
        _say(f"{'bad ' if faults else 'good'}  {found}  {time.monotonic() - started:.1f} s")
        for fault in faults:
            _say(f"      {fault}")
    return 1 if bad else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
