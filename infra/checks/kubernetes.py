"""infra/k8s: each overlay as kustomize builds it, against the published schemas, and what it promises."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate

from infra.checks.promises import Objects, promises
from infra.checks.tools import SCHEMAS, documents, output, read_json

OVERLAYS: Final = ("development", "production")
VERSIONS: Final = ("1.33", kubernetes_validate.latest_version())
"""The oldest Kubernetes that is meant to work, and the newest with a published schema."""


def check(root: Path) -> list[str]:
    faults = []
    for overlay in OVERLAYS:
        try:
            built = list(documents(output("kustomize", "build", f"infra/k8s/overlays/{overlay}", root=root)))
        except ValueError as error:
            faults.append(f"{overlay}: {error}")
            continue
        for one in built:
            faults += [
                f"{overlay}: {one['kind']} {one['metadata'].get('name')}: {fault}" for fault in schema_faults(one)
            ]
        faults += [f"{overlay}: {fault}" for fault in promises(Objects(built), _settings(root))]
    return faults


def schema_faults(one: dict[str, Any]) -> list[str]:
    """Against the schema of Kubernetes, or of the project whose kind it is."""
    return list(_schema_faults(json.dumps(one, sort_keys=True)))


@cache
def _schema_faults(text: str) -> tuple[str, ...]:
    """Of an object in JSON: the same one comes again in every tree with a planted fault."""
    one = json.loads(text)
    group, _, version = one["apiVersion"].rpartition("/")
    published = SCHEMAS / f"{group}_{version}_{one['kind']}.json"
    if published.exists():
        found = jsonschema.Draft202012Validator(read_json(published)).iter_errors(one)
        return tuple(f"{'.'.join(map(str, error.absolute_path))}: {error.message}"[:300] for error in found)
    faults = []
    for each in VERSIONS:
        try:
            kubernetes_validate.validate(one, each, strict=True)
        except kubernetes_validate.ValidationError as error:
            faults.append(f"{each}: {'.'.join(map(str, error.path))}: {error.message}"[:300])
        except kubernetes_validate.SchemaNotFoundError as error:
            faults.append(f"{each}: {error.message}"[:300])
    return tuple(faults)


def _settings(root: Path) -> set[str]:
    """The catalogue, from its page."""
    page = (root / "docs/settings.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]*)` \|", page, re.MULTILINE))
