"""`write`: the two files of docs/. `run`: both against the stack of `make dev`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from infra.tryout.files import contents
from infra.tryout.runner import run_http, run_postman

ROOT = Path(__file__).parents[2]


def write() -> None:
    for path, text in contents().items():
        (ROOT / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path} is written\n")


def run() -> None:
    """Make every request; ends with 1 when one was answered otherwise than its file says."""
    facts_file = Path(os.environ.get("OCELOT_HOME", ".ocelot")) / "dev.json"
    if not facts_file.exists():
        raise SystemExit(f"{facts_file} is not there: start `make dev` first")
    facts = {name: value for name, value in json.loads(facts_file.read_text()).items() if isinstance(value, str)}
    bad = 0
    for path, runner in (("docs/ocelot.postman_collection.json", run_postman), ("docs/ocelot.http", run_http)):
        sys.stdout.write(f"{path}\n")
        for ran in runner((ROOT / path).read_text(encoding="utf-8"), facts):
            bad += not ran.good
            told = "" if ran.good else f"  expected {ran.expected}: {ran.text[:300]}"
            sys.stdout.write(f"  {ran.status} {ran.name}{told}\n")
    if bad:
        raise SystemExit(f"{bad} requests were answered otherwise than they should")


if __name__ == "__main__":
    {"write": write, "run": run}[sys.argv[1]]()
