"""docs/reliability.md: every test that it names exists, and every test of tests/faults is named."""

from __future__ import annotations

import ast
import re

from tests.service import ROOT

NAMED = re.compile(r"`(tests/[a-z_/]+\.py)::(test_[a-z0-9_]+)`")


def names_in(path: str) -> set[str]:
    """The names of the test functions in a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_promises_and_tests_are_the_same() -> None:
    named = set(NAMED.findall((ROOT / "docs/reliability.md").read_text(encoding="utf-8")))
    assert len(named) > 20
    assert {(path, name) for path, name in named if name not in names_in(path)} == set()
    files = [f"tests/faults/{path.name}" for path in (ROOT / "tests/faults").glob("test_*.py")]
    assert {(path, name) for path in files for name in names_in(path)} - named == set()
