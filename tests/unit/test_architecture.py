"""Rules about who uses what, read from the source: those that import-linter cannot say."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("api", "cli", "consumer", "core", "infra")
DRIVERS = {
    "aiobotocore", "beanie", "boto3", "botocore", "bson", "mongomock", "mongomock_motor", "motor", "obstore",
    "opensearchpy", "pymongo", "sqlite3",
}  # fmt: skip
GPL_DISTRIBUTION = "secantusdb"


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Full names of the imported modules, by statement or by name (`import_module("x")`, `__import__("x")`)."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                names.add(str(node.args[0].value))
    return names


def roots(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for name in imported(tree)}


def mentions(tree: ast.AST, name: str) -> bool:
    """Whether the code imports, calls, passes or looks up `name`, or imports a star that may hold it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name in (name, "*") for alias in node.names):
            return True
        if isinstance(node, ast.Name) and node.id == name:
            return True
        if isinstance(node, ast.Attribute) and node.attr == name:
            return True
        if isinstance(node, ast.Constant) and node.value == name:
            return True
    return False


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def test_the_systems_own_scope_is_made_by_consumer_and_cli_alone() -> None:
    strays = [
        str(path.relative_to(ROOT))
        for path in sources("api", "core", "infra")
        if path != ROOT / "core" / "tenant.py" and mentions(parsed(path), "for_system")
    ]
    assert strays == []


def test_drivers_are_imported_by_adapters_alone() -> None:
    # A function of AWS Lambda's is no process of the service's, and has what is there.
    excepted = (ROOT / "core" / "adapters", ROOT / "infra" / "aws" / "domain_setup")
    strays = {
        str(path.relative_to(ROOT)): found
        for path in sources(*PRODUCT)
        if not any(map(path.is_relative_to, excepted)) and (found := roots(parsed(path)) & DRIVERS)
    }
    assert strays == {}


def test_no_file_holds_both_sides_of_a_merge() -> None:
    """Any file's: those of documents stop no compiler."""
    ends = tuple(mark * 7 + " " for mark in "<>")
    known = {path for name in ("*.md", "*.py", "*.toml", "*.yaml", "*.yml") for path in ROOT.glob(name)}
    known |= {path for name in ("docs", "infra", ".github", ".aws", ".ci") for path in (ROOT / name).rglob("*")}
    known |= {*sources(*PRODUCT, "benchmarks", "tests"), ROOT / "Makefile", ROOT / ".env.example"}
    texts = {path: path.read_bytes() for path in known if path.is_file()}
    assert len(texts) > 300
    broken = [path for path, text in texts.items() if any(b"\n" + end.encode() in b"\n" + text for end in ends)]
    assert broken == []


def test_no_gpl_server_is_ever_imported() -> None:
    gpl = {module for module, owners in packages_distributions().items() if GPL_DISTRIBUTION in map(str.lower, owners)}
    assert gpl, "the embedded store is not installed, so its modules are not known"
    strays = {
        str(path.relative_to(ROOT)): found
        for path in sources(*PRODUCT, "benchmarks", "tests")
        if (found := roots(parsed(path)) & gpl)
    }
    assert strays == {}


@pytest.mark.parametrize(
    "code",
    [
        "from core.tenant import for_system",
        "from core.tenant import for_system as mint",
        "from core.tenant import *",
        "import core.tenant\ncore.tenant.for_system('t', 'r')",
        "getattr(tenant, 'for_system')",
    ],
)
def test_every_way_to_the_systems_scope_is_seen(code: str) -> None:
    assert mentions(ast.parse(code), "for_system")


@pytest.mark.parametrize(
    "code",
    [
        "import motor",
        "import motor.motor_asyncio as m",
        "from motor.motor_asyncio import AsyncIOMotorClient",
        "def late():\n    import motor",
        "import importlib\nimportlib.import_module('motor.core')",
        "__import__('motor')",
    ],
)
def test_every_way_of_importing_is_seen(code: str) -> None:
    assert "motor" in roots(ast.parse(code))


def test_a_name_alone_is_no_import() -> None:
    assert roots(ast.parse("find_spec('motor')\nx = 'motor'\nfrom . import motor")) == set()
