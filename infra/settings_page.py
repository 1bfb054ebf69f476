"""Writes `.env.example`, `docs/settings.md` and the settings of each place to run, from `core.settings.Settings`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.settings import Settings

ROOT: Final = Path(__file__).parents[1]
ENV_EXAMPLE: Final = Path(".env.example")
PAGE: Final = Path("docs/settings.md")

_MIB: Final = 1024 * 1024
_ENV_HEAD: Final = """\
# Every setting of Ocelot. Copy this file to .env, fill in what is required, and load it into the shell:
#   set -a; . ./.env; set +a
# A line that is commented out shows the default. `make dev` needs none of this.
# Made by `make docs` from core/settings.py.
"""
_PAGE_HEAD: Final = """\
# Settings

Ocelot is configured by environment variables alone. Each process checks them all when it starts and stops with one
line for each mistake; secrets are never printed. `make dev` sets the required ones itself, to the embedded stack.

This page and [`.env.example`](../.env.example) are made by `make docs` from `core/settings.py`.

| variable | default | values | meaning |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable as a reader sees it; `default` is None when there is none."""

    name: str
    meaning: str
    required: bool
    secret: bool
    default: str | None
    values: str


def settings() -> Iterator[Setting]:
    """Every setting, in the order of `Settings`."""
    schema = Settings.model_json_schema(by_alias=True)
    for name, shape in schema["properties"].items():
        default = shape.get("default")
        typed = next((option for option in shape.get("anyOf", ()) if option["type"] != "null"), shape)
        yield Setting(
            name=name,
            meaning=shape["description"],
            required=name in schema["required"],
            secret=typed.get("format") == "password",
            default=None if default is None else _plain(default),
            values=_values(typed),
        )


def env_example() -> str:
    """The text of `.env.example`: required variables blank, the others commented out at their defaults."""
    entries = []
    for setting in settings():
        notes = [note for note in ("required" if setting.required else "", setting.values) if note]
        note = f" ({'; '.join(notes)})" if notes else ""
        line = f"{setting.name}={setting.default or ''}"
        entries.append(f"# {setting.meaning}{note}\n{line if setting.required else '#' + line}\n")
    return "\n".join([_ENV_HEAD, *entries])


def page() -> str:
    """The text of `docs/settings.md`."""
    return _PAGE_HEAD + "".join(
        f"| `{setting.name}` | {_default(setting)} | {_cell(setting.values)} | {_cell(setting.meaning)} |\n"
        for setting in settings()
    )


def write(root: Path = ROOT) -> None:
    """Write all files under `root`."""
    from infra.targets import TARGETS

    made = [(ENV_EXAMPLE, env_example()), (PAGE, page()), *((target.path, target.text()) for target in TARGETS)]
    for path, text in made:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def _default(setting: Setting) -> str:
    if setting.required:
        return "**required**"
    if setting.default is None:
        return ""
    size = int(setting.default) if setting.name.endswith("_BYTES") else 0
    return f"`{setting.default}`" + (f" ({size // _MIB} MiB)" if size >= _MIB else "")


def _values(shape: dict[str, Any]) -> str:
    parts = []
    if "enum" in shape:
        parts.append(", ".join(shape["enum"]))
    if "minimum" in shape and "maximum" in shape:
        parts.append(f"{_plain(shape['minimum'])} to {_plain(shape['maximum'])}")
    elif "minimum" in shape:
        parts.append(f"at least {_plain(shape['minimum'])}")
    elif "exclusiveMinimum" in shape:
        top = f", at most {_plain(shape['maximum'])}" if "maximum" in shape else ""
        parts.append(f"more than {_plain(shape['exclusiveMinimum'])}{top}")
    if "pattern" in shape:
        parts.append(f"matches {shape['pattern']}")
    if shape.get("format") == "password":
        parts.append("secret")
    return ", ".join(parts)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    from infra.aws import task_definitions

    write()
    task_definitions.write()
    sys.stdout.write(f"{ENV_EXAMPLE}, {PAGE} and the settings of every place to run are written\n")
