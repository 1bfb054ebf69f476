"""The pipeline: actionlint (with shellcheck inside), zizmor, the published schema, and what the pipeline promises."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from infra.checks.tools import BIN, read_yaml, run

FILE: Final = ".github/workflows/ci-cd.yml"
_PINNED: Final = re.compile(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*$")
_RUN: Final = (
    "make lint",
    "make site",
    "make audit",
    "make test",
    "make isolation",
    "make attacks",
    "make faults",
    "make infra-check",
    "docker compose up",
    "make docker-build-all",
)


def check(root: Path) -> list[str]:
    faults = run("actionlint", "-no-color", "-shellcheck", BIN / "shellcheck", FILE, root=root)
    faults += run(
        "zizmor", "--offline", "--persona=pedantic", "--no-progress", "--quiet", ".github/workflows", root=root
    )
    faults += run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", FILE, root=root)
    text = (root / FILE).read_text(encoding="utf-8")
    for use in re.findall(r"uses: (.+)$", text, re.MULTILINE):
        if not _PINNED.match(use):
            faults.append(f"{use}: is not pinned by a commit with its version beside it")
    if faults:
        return faults
    return [f"{FILE}: {fault}" for fault in _promises(root, read_yaml(root / FILE)["jobs"])]


def _promises(root: Path, jobs: dict[str, Any]) -> list[str]:
    commands = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    faults = [f"nothing runs `{command}`" for command in _RUN if not any(c.startswith(command) for c in commands)]
    for name, job in jobs.items():
        for step in job["steps"]:
            kept = step.get("with", {}).get("persist-credentials") is not False
            if step.get("uses", "").startswith("actions/checkout@") and kept:
                faults.append(f"{name}: leaves its credential in the working tree")
    deliver = jobs["deliver"]
    faults += [
        f"delivers without the job {name}" for name in jobs if name != "deliver" and name not in deliver["needs"]
    ]
    if "refs/heads/main" not in deliver["if"] or "event_name == 'push'" not in deliver["if"]:
        faults.append("delivers what is on no branch of ours")
    steps = deliver["steps"]
    order = [
        "docker-build-all",
        "sbom-action",
        "scan-action",
        "configure-aws-credentials",
        "deploy push",
        "deploy release",
    ]
    places = [
        next((n for n, step in enumerate(steps) if what in step.get("run", "") + step.get("uses", "")), -1)
        for what in order
    ]
    if -1 in places or places != sorted(places):
        faults.append(f"does not deliver in this order: {', '.join(order)}")
    else:
        given = steps[places[-1]].get("env", {}).keys() | deliver["env"].keys()
        faults += [f"the deploy is not told {name}" for name in sorted(_asked(root) - given)]
    return faults


def _asked(root: Path) -> set[str]:
    """The variables that a deploy needs: the task definitions' and its own."""
    texts = [path.read_text(encoding="utf-8") for path in (root / ".aws").glob("task-definition-*.json")]
    names = {name for text in texts for name in re.findall(r"\$\{(\w+)\}", text)}
    return {"ECS_CLUSTER", "ECS_SERVICE_API", "ECS_SERVICE_CONSUMER"} | names - {"IMAGE", "AWS_ACCOUNT_ID"}
