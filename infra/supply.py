"""What a deployment is made of: `make sbom` writes a CycloneDX 1.6 list, `make licences` the page of licences.

Both are made offline from requirements/runtime.txt, whose hashes every installation checks, and from what the installed
distributions say of themselves.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ROOT / "requirements" / "runtime.txt"
PAGE: Final = ROOT / "docs" / "licences.md"
SBOM: Final = ROOT / "build" / "sbom.cdx.json"
_ENTRY: Final = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ \\;]+)(?: ; (?P<marker>[^\\]+?))? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)
_CLASSIFIERS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_WORDS: Final = {
    "apache": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0", "apache-2.0": "Apache-2.0", "bsd": "BSD-3-Clause",
    "bsd-3-clause": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause", "mit": "MIT", "mit license": "MIT",
    "isc license": "ISC",
}  # fmt: skip
# Not installed on every platform, so they cannot be asked.
_ELSEWHERE: Final = {"colorama": "BSD-3-Clause", "uvloop": "MIT OR Apache-2.0"}
UNSUITED: Final = re.compile(r"\b(?:AGPL|GPL|LGPL|SSPL|BUSL|CC-BY-NC|Elastic)", re.IGNORECASE)
"""Licences that Ocelot, which is MIT, does not import."""


@dataclass(frozen=True, slots=True)
class Component:
    """One pinned distribution; `licence` is an SPDX expression, "" where nothing tells it."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    licence: str


def components() -> list[Component]:
    """Everything that the runtime's lock pins."""
    return list(_components(LOCK.read_text(encoding="utf-8")))


def _components(lock: str) -> Iterator[Component]:
    for entry in _ENTRY.finditer(lock):
        hashes = tuple(re.findall(r"sha256:([0-9a-f]{64})", entry["hashes"]))
        yield Component(entry["name"], entry["version"], entry["marker"] or "", hashes, licence_of(entry["name"]))


def licence_of(name: str) -> str:
    """What an installed distribution says of its licence, as SPDX."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return _ELSEWHERE.get(name, "")
    return _licence(told.json)


def _licence(told: Mapping[str, str | list[str]]) -> str:
    if expression := told.get("license_expression"):
        return str(expression)
    written = str(told.get("license") or "").strip()
    if spdx := _WORDS.get(written.lower()):
        return spdx
    classified = [c.rsplit(" :: ", 1)[1] for c in told.get("classifier", ()) if c.startswith("License :: ")]
    found = sorted({_CLASSIFIERS[each] for each in classified if each in _CLASSIFIERS})
    if found:
        return " OR ".join(found)
    return written if re.fullmatch(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*", written) else ""


def sbom() -> dict[str, Any]:
    """A CycloneDX 1.6 document; the same lock always gives the same one."""
    lock = LOCK.read_bytes()
    serial = hashlib.sha256(lock).hexdigest()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial[:8]}-{serial[8:12]}-5{serial[13:16]}-8{serial[17:20]}-{serial[20:32]}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": "ocelot", "name": "ocelot", "version": "0.1.0",
                "licenses": [{"license": {"id": "MIT"}}],
            },
        },
        "components": [_component(each) for each in components()],
    }  # fmt: skip


def _component(each: Component) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "library",
        "bom-ref": f"pkg:pypi/{each.name}@{each.version}",
        "name": each.name,
        "version": each.version,
        "purl": f"pkg:pypi/{each.name}@{each.version}",
        "licenses": [{"expression": each.licence}],
        "properties": [{"name": "ocelot:sha256", "value": digest} for digest in each.hashes],
    }
    if each.marker:
        made["properties"].append({"name": "ocelot:marker", "value": each.marker})
    return made


def page() -> str:
    """docs/licences.md."""
    rows = "".join(f"| {each.name} | {each.version} | {each.licence} |\n" for each in components())
    return (
        "# Licences\n\nWhat a deployment imports, from `requirements/runtime.txt`; made by `make licences`, and\n"
        "`make sbom` writes the same as CycloneDX 1.6 with every hash. Swagger UI (Apache-2.0) is vendored.\n\n"
        f"| distribution | version | licence |\n|---|---|---|\n{rows}"
    )


def main() -> None:
    """`sbom` or `licences`."""
    if sys.argv[1:] == ["sbom"]:
        SBOM.parent.mkdir(exist_ok=True)
        SBOM.write_text(json.dumps(sbom(), indent=1) + "\n", encoding="utf-8")
    elif sys.argv[1:] == ["licences"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        raise SystemExit("usage: python -m infra.supply sbom|licences")


if __name__ == "__main__":
    main()
