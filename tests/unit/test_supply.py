"""What a deployment imports: pinned, hashed, licensed to suit, and listed as it is."""

from __future__ import annotations

import ast
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from infra.supply import PAGE, UNSUITED, components, page, sbom

ROOT = Path(__file__).parents[2]
PRODUCT = ("api", "cli", "consumer", "core", "infra")


def test_every_requirement_is_listed_with_hashes_and_a_licence() -> None:
    found = components()
    lock = (ROOT / "requirements" / "runtime.txt").read_text(encoding="utf-8")
    assert [each.name for each in found] == re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)
    assert [each.name for each in found if not each.licence or not each.hashes] == []
    assert sum(len(each.hashes) for each in found) == lock.count("--hash=sha256:")


def test_no_licence_binds_who_imports_it() -> None:
    assert [(each.name, each.licence) for each in components() if UNSUITED.search(each.licence)] == []
    assert all(UNSUITED.search(text) for text in ("GPL-2.0-only", "AGPL-3.0", "LGPL-3.0-or-later", "SSPL-1.0"))


def test_what_is_installed_is_what_is_pinned() -> None:
    other = {}
    for each in components():
        try:
            other[each.name] = (version(each.name), each.version)
        except PackageNotFoundError:
            assert each.marker, f"{each.name} is pinned for every platform and not here"
    assert {name: pair for name, pair in other.items() if pair[0] != pair[1]} == {}


def test_the_list_is_cyclonedx_and_always_the_same() -> None:
    made = sbom()
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["serialNumber"])
    refs = [each["bom-ref"] for each in made["components"]]
    assert len(set(refs)) == len(refs) == len(components())
    assert made == sbom()


def test_the_page_of_licences_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make licences"


# Code that ought not to be in a service, beside what ruff and bandit find --------------------------------------------


FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "pickle", "marshal", "shelve", "yaml.load", "yaml.full_load",
    "yaml.unsafe_load", "os.system", "os.popen",
    "verify=False", "shell=True", "random.choice", "assert_hostname=False", "verify_certs=False",
    "verify_signature=False", "algorithms=None", "tempfile.mktemp",
}  # fmt: skip


def used(tree: ast.AST) -> set[str]:
    """What of `FORBIDDEN` the code calls, imports or passes."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = str(getattr(node, "module", ""))
            found |= {module, *(alias.name.split(".")[0] for alias in node.names)}
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call):
            found.add(ast.unparse(node.func))
            found |= {f"{word.arg}={ast.unparse(word.value)}" for word in node.keywords}
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            found |= {f"{key.value}={ast.unparse(value)}" for key, value in pairs if isinstance(key, ast.Constant)}
    return found & FORBIDDEN


def test_no_code_runs_text_or_trusts_anybody() -> None:
    paths = [path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 200
    found = {str(path): names for path in paths if (names := used(ast.parse(path.read_text(encoding="utf-8"))))}
    assert found == {}


@pytest.mark.parametrize(
    "code",
    ["eval(x)", "import pickle", "from yaml import load", "f(verify=False)", "run(c, shell=True)", "os.system(c)",
     "jwt.decode(t, k, algorithms=None)", "options = {'verify_signature': False}"],
)  # fmt: skip
def test_such_code_is_seen(code: str) -> None:
    assert used(ast.parse(code))
