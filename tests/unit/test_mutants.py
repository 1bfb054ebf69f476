"""The trials of `make mutants` stay possible: each guard is where its trial says, and each test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.mutants.__main__ import PAGE, page
from tests.mutants.table import TRIALS, Trial

ROOT = Path(__file__).parents[2]


def test_there_are_enough_and_each_once() -> None:
    assert len(TRIALS) >= 20
    assert len({(trial.file, trial.old, trial.new, trial.test) for trial in TRIALS}) == len(TRIALS)
    assert {trial.suite for trial in TRIALS} == {"faults", "isolation", "attacks"}


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.guard)
def test_a_guard_is_where_its_trial_says(trial: Trial) -> None:
    source = (ROOT / trial.file).read_text(encoding="utf-8")
    assert source.count(trial.old) == 1
    ast.parse(source.replace(trial.old, trial.new))
    path, _, name = trial.test.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name.partition("[")[0] in names


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.mutants page"


def test_every_test_of_the_threat_model_exists() -> None:
    named = re.findall(r"`(tests/\w+/\w+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    rows = [line for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")][
        1:
    ]
    assert len(named) == len(rows) >= 30
    missing = []
    for path, name in named:
        source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).is_file() else ""
        if not re.search(rf"^(?:async )?def {name}\(", source, re.MULTILINE):
            missing.append(f"{path}::{name}")
    assert missing == []
