"""compose.yaml: the published schema, and that what it refers to is there and what it promises is kept."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from infra.checks.tools import read_yaml, run

SERVED: Final = ("api", "consumer")
_BACKENDS: Final = {"mongodb", "opensearch", "elasticmq", "s3"}
_MONITORING: Final = {"prometheus", "grafana"}


def check(root: Path) -> list[str]:
    faults = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml", root=root)
    if faults:
        return faults
    file = read_yaml(root / "compose.yaml")
    services = file["services"]
    missing = ({*SERVED, *_BACKENDS, *_MONITORING}) - services.keys()
    faults = [f"no service {name}" for name in sorted(missing)]
    for name, service in services.items():
        faults += [f"{name}: {fault}" for fault in _references(root, file, service)]
    for name in set(SERVED) - missing:
        faults += [f"{name}: {fault}" for fault in _hardened(services[name])]
    faults += [
        f"{name}: is not of the profile monitoring"
        for name in _MONITORING - missing
        if services[name].get("profiles") != ["monitoring"]
    ]
    if "mongodb" in services and "--replSet" not in services["mongodb"]["command"]:
        faults.append("mongodb: is no replica set, so there are no change streams")
    return [f"compose.yaml: {fault}" for fault in faults]


def _references(root: Path, file: dict[str, Any], service: dict[str, Any]) -> list[str]:
    faults = []
    image = service["image"]
    if not re.search(r":[^/]+$", image) or image.endswith(":latest"):
        faults.append(f"the image {image} names no version")
    if "build" in service and not (root / service["build"]["dockerfile"]).is_file():
        faults.append(f"no {service['build']['dockerfile']}")
    depends = service.get("depends_on", [])
    faults += [f"depends on {each}, which is no service" for each in depends if each not in file["services"]]
    if isinstance(depends, dict):
        for each, how in depends.items():
            waits = how["condition"] == "service_healthy"
            if waits and each in file["services"] and "healthcheck" not in file["services"][each]:
                faults.append(f"waits for {each} to be healthy, which has no health check")
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        if source.startswith("."):
            if not (root / source).exists():
                faults.append(f"mounts {source}, which is not there")
        elif source not in file["volumes"]:
            faults.append(f"mounts the volume {source}, which is not declared")
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:"):
            faults.append(f"offers {port} to every machine")
    for each in service.get("env_file", []):
        path, needed = (each, True) if isinstance(each, str) else (each["path"], each.get("required", True))
        if needed and not (root / path).is_file():
            faults.append(f"reads {path}, which is not there")
    return faults


def _hardened(service: dict[str, Any]) -> list[str]:
    faults = []
    if service.get("read_only") is not True or not service.get("tmpfs"):
        faults.append("its root can be written to, or there is no temporary folder")
    if service.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in service.get("security_opt", []):
        faults.append("holds rights")
    if service.get("privileged") or service.get("user", "10001:10001") != "10001:10001":
        faults.append("runs as another than the image's user")
    if int(str(service.get("stop_grace_period", "0s")).removesuffix("s")) < 40:
        faults.append("is killed before it has drained")
    return faults
