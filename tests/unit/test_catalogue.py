"""What is written down for users is all there and is true: settings, make targets, requirements, vendored files."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from core.access import Permission
from core.settings import Settings, load
from infra import settings_page, targets

ROOT = Path(__file__).parents[2]
ALIASES = [field.alias or name for name, field in Settings.model_fields.items()]
REQUIRED = {
    "OCELOT_QUEUE": "file",
    "MONGODB_URL": "mongodb://user:hidden@127.0.0.1",
    "OPENSEARCH_URL": "http://127.0.0.1:9200",
}
LOCKS = {name: ROOT / "requirements" / f"{name}.txt" for name in ("runtime", "dev", "build", "infra", "aws", "docs")}


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# Settings ------------------------------------------------------------------------------------------------------------


def test_every_setting_is_in_the_example_once_and_nothing_else_is() -> None:
    named = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", text(".env.example"), re.MULTILINE)
    assert named == ALIASES


def test_every_setting_is_on_the_page_once_and_nothing_else_is() -> None:
    named = re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \|", text("docs/settings.md"), re.MULTILINE)
    assert named == ALIASES


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.alias and field.description)] == []


@pytest.mark.parametrize(
    ("path", "made"), [(settings_page.ENV_EXAMPLE, settings_page.env_example), (settings_page.PAGE, settings_page.page)]
)
def test_the_settings_files_are_fresh(path: Path, made: object) -> None:
    assert callable(made)
    assert text(str(path)) == made(), "stale: run `make docs`"


def test_the_examples_defaults_are_the_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ALIASES:
        monkeypatch.delenv(name, raising=False)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    bare = load()
    for name, value in re.findall(r"^#([A-Z][A-Z0-9_]*)=(.+)$", text(".env.example"), re.MULTILINE):
        monkeypatch.setenv(name, value)
    assert load().model_dump() == bare.model_dump()


def test_the_example_asks_for_exactly_what_is_required() -> None:
    blank = re.findall(r"^([A-Z][A-Z0-9_]*)=(.*)$", text(".env.example"), re.MULTILINE)
    assert dict(blank) == dict.fromkeys(REQUIRED, "")


def test_no_secret_has_a_default() -> None:
    secrets = [setting for setting in settings_page.settings() if setting.secret]
    assert {"MONGODB_URL", "OPENSEARCH_URL", "OCELOT_SIGNING_KEY"} <= {setting.name for setting in secrets}
    assert [setting.name for setting in secrets if setting.default is not None] == []


def test_all_files_are_written_under_the_root_that_is_given(tmp_path: Path) -> None:
    settings_page.write(tmp_path)
    assert (tmp_path / ".env.example").read_text(encoding="utf-8") == text(".env.example")
    assert (tmp_path / "docs" / "settings.md").read_text(encoding="utf-8") == text("docs/settings.md")
    for target in targets.TARGETS:
        assert (tmp_path / target.path).read_text(encoding="utf-8") == text(str(target.path)), "stale: run `make docs`"


# Make ----------------------------------------------------------------------------------------------------------------


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", text("Makefile"), re.MULTILINE)
    assert phony is not None
    # A make above this one would hand its own flags down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    help_text = subprocess.run(
        ["make", "-C", str(ROOT), "help"], check=True, capture_output=True, text=True, env=environment
    ).stdout
    assert re.findall(r"^  make (\S+)", help_text, re.MULTILINE) == phony[1].split()


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    assert pages
    named = {
        (path.name, target)
        for path in pages
        for target in re.findall(r"(?:`|^\s*)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named
    assert [(page, target) for page, target in sorted(named) if target not in targets] == []


# Requirements --------------------------------------------------------------------------------------------------------


def locked(path: Path) -> dict[str, list[Version]]:
    versions: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        versions.setdefault(name, []).append(Version(version))
    return versions


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_has_hashes_and_no_address(lock: str) -> None:
    lines = LOCKS[lock].read_text(encoding="utf-8")
    assert "://" not in lines
    assert re.findall(r"^\s*(?:-i|-f|--(?!hash=)\S+)", lines, re.MULTILINE) == []
    entries = re.split(r"^(?=[a-z])", lines, flags=re.MULTILINE)[1:]
    assert len(entries) > (0 if lock == "build" else 15)
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_locks_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    extras = project["optional-dependencies"]
    asked = {
        "runtime": project["dependencies"],
        "dev": [*project["dependencies"], *extras["embedded"], *extras["dev"]],
    }
    for lock, dependencies in asked.items():
        versions = locked(LOCKS[lock])
        for dependency in map(Requirement, dependencies):
            if dependency.name == project["name"]:
                continue
            found = versions.get(canonicalize_name(dependency.name), [])
            assert found, f"{dependency} is not in {LOCKS[lock].name}: run `make requirements`"
            assert all(dependency.specifier.contains(version, prereleases=True) for version in found), dependency


def test_the_tests_run_on_the_versions_of_the_images() -> None:
    dev = locked(LOCKS["dev"])
    assert {name: dev.get(name) for name in locked(LOCKS["runtime"])} == locked(LOCKS["runtime"])
    assert locked(LOCKS["build"]) == {"setuptools": dev["setuptools"]}


def test_the_images_hold_no_development_tool_and_no_embedded_server() -> None:
    assert not {"mypy", "osmem-server", "pytest", "secantusdb", "setuptools"} & locked(LOCKS["runtime"]).keys()


# Vendored files ------------------------------------------------------------------------------------------------------


def test_the_vendored_pages_are_as_published() -> None:
    folder = ROOT / "api" / "static" / "swagger"
    sums = [line.split() for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()]
    assert {name for _, name in sums} >= {"swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"}
    assert {path.name for path in folder.iterdir()} == {name for _, name in sums} | {
        "README.md",
        "SHA256SUMS",
        "start.js",
    }
    changed = [name for digest, name in sums if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest]
    assert changed == []


# The public surface ---------------------------------------------------------------------------------------------------


def _codes_in_source() -> set[str]:
    """Every `code` that can reach a client: class attributes, `code=` arguments and literal problems."""
    found: set[str] = set()
    for folder in ("api", "core"):
        for path in (ROOT / folder).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            found |= set(re.findall(r'\bcode(?:: [^=]+)? ?= ?"([a-z0-9_]+)"', source))
    source = text("api/middleware.py") + text("api/main.py") + text("api/routes/logs.py") + text("api/problems.py")
    found |= set(re.findall(r'"(not_found|method_not_allowed|all_refused|internal|bad_request)"', source))
    # Never leave the process: a start-up error, and a damaged message of the queue.
    return found - {"bad_settings", "undecodable_envelope"}


def test_every_error_code_is_in_its_page_and_nothing_else_is() -> None:
    written = set(re.findall(r"^\| `([a-z0-9_]+)` \|", text("docs/errors.md"), re.MULTILINE))
    assert written == _codes_in_source()


def test_every_metric_is_in_its_page_and_nothing_else_is() -> None:
    from core import telemetry

    made = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in telemetry.REGISTRY.collect()
        if family.name.startswith("ocelot_")
    }
    assert set(re.findall(r"^\| `(ocelot_[a-z_]+)` \|", text("docs/metrics.md"), re.MULTILINE)) == made


def _operations() -> dict[str, dict[str, Any]]:
    from api.main import create_service

    paths = create_service(Settings.model_validate(REQUIRED)).openapi()["paths"]
    return {
        f"{method.upper()} {path}": operation for path, found in paths.items() for method, operation in found.items()
    }


def test_every_route_is_in_its_page_with_its_roles_and_nothing_else_is() -> None:
    rows = dict(re.findall(r"^\| `([A-Z]+ /[^`]+)` \| ([^|]+) \|", text("docs/api.md"), re.MULTILINE))
    named = {route: set(re.findall(r"admin|writer|reader|viewer|platform", needs)) for route, needs in rows.items()}
    assert named == {route: set(operation.get("x-roles", ())) for route, operation in _operations().items()}


def test_every_operation_declares_its_permission() -> None:
    """`api.openapi.needs` in its `openapi_extra`; then its row in tests/isolation/test_roles.py."""
    permissions = {*(permission.value for permission in Permission), "none"}
    assert [route for route, found in _operations().items() if found.get("x-permission") not in permissions] == []


def test_every_command_is_in_the_readme() -> None:
    from cli.main import app

    named = {c.name for c in app.registered_commands} | {g.name for g in app.registered_groups}
    readme = text("README.md")
    assert {name for name in named if not re.search(rf"ocelot {name}\b", readme)} == {"dev"}
    assert "make dev" in readme


def test_no_file_holds_both_sides_of_a_merge() -> None:
    folders = ["api", "cli", "consumer", "core", "infra", "docs", "tests", "requirements", ".aws", ".ci", ".github"]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
    marks = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
    assert [str(path) for path in files if path.is_file() and marks.search(path.read_bytes())] == []
