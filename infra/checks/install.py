"""Installs what pip does not: tools written in Go, schemas of what Kubernetes does not know, the images' wheels.

Each tool is a module of its own in infra/tools, built from exactly what its go.sum names. The schemas come from the
modules of the projects that publish them, compared with the digests below.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from infra.checks.tools import BIN, SCHEMAS, WHEELS

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = {
    "actionlint": ("github.com/rhysd/actionlint/cmd/actionlint", ""),
    "kustomize": ("sigs.k8s.io/kustomize/kustomize/v5", ""),
    # It finds no targets, so what finds them stays out: half of the build.
    "promtool": ("github.com/prometheus/prometheus/cmd/promtool", "remove_all_sd"),
}
PUBLISHED: Final = {
    "github.com/kedacore/keda/v2@v2.17.2": (
        "h1:xlrcK5TKABJF9PebK79sgL07s/csGjL3H4m72OkZXxk=",
        ["config/crd/bases/keda.sh_scaledobjects.yaml", "config/crd/bases/keda.sh_triggerauthentications.yaml"],
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.84.0": (
        "h1:XXm7lKizTnnxeSwI01wjNAapKzw/4XAPdpcZqjRKgRU=",
        [
            "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
            "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        ],
    ),
}
_ENVIRONMENT: Final = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"}


def build(tool: str) -> None:
    package, tags = TOOLS[tool]
    folder = ROOT / "infra" / "tools" / tool
    _go("build", "-tags", tags, "-trimpath", "-ldflags=-s -w", "-o", str(BIN / tool), package, at=folder)


def download() -> None:
    """The wheels of the images, each compared with its hash."""
    for name in ("build", "runtime"):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
        ]
        command += ["--only-binary", ":all:", "--dest", str(WHEELS), "-r", str(ROOT / "requirements" / f"{name}.txt")]
        subprocess.run(command, check=True)  # noqa: S603


def fetch(module: str) -> None:
    """Write the schemas of `module`'s kinds as JSON; raises `SystemExit` for another module than the one reviewed."""
    digest, paths = PUBLISHED[module]
    found = json.loads(_go("mod", "download", "-json", module, at=BIN))
    if found["Sum"] != digest:
        raise SystemExit(f"{module}: is {found['Sum']}, not {digest}")
    SCHEMAS.mkdir(parents=True, exist_ok=True)
    for path in paths:
        described = yaml.safe_load((Path(found["Dir"]) / path).read_text(encoding="utf-8"))["spec"]
        for version in described["versions"]:
            name = f"{described['group']}_{version['name']}_{described['names']['kind']}.json"
            schema = strict(version["schema"]["openAPIV3Schema"])
            # What every object has, and the published schema leaves to Kubernetes.
            schema["properties"]["metadata"] = {"type": "object"}
            (SCHEMAS / name).write_text(json.dumps(schema), encoding="utf-8")


def strict(schema: Any) -> Any:
    """An OpenAPI schema of a custom resource as a JSON schema that takes no unknown field, as the API server's."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: strict(each) for name, each in value.items()} if key == "properties" else strict(value)
        for key, value in schema.items()
    }
    if "properties" in made and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.pop("nullable", False) and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


def _go(*arguments: str, at: Path) -> str:
    environment = {**os.environ, **_ENVIRONMENT}
    ended = subprocess.run(  # noqa: S603
        [BIN / "go", *arguments], cwd=at, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if ended.returncode != 0:
        raise SystemExit(f"go {' '.join(arguments)}: exit code {ended.returncode}")
    return ended.stdout


if __name__ == "__main__":
    download()
    for each in PUBLISHED:
        fetch(each)
    for each in TOOLS:
        sys.stdout.write(f"building {each}\n")
        sys.stdout.flush()
        build(each)
