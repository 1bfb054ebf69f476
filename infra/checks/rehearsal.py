"""Runs the RUN steps of both Dockerfiles in a clean virtual environment, and then what the images start.

What is checked: that the hashed requirements install as wheels, that the project's own wheel is built and installed
without an index, that the service starts from there alone, and that the health check runs.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path, PurePosixPath

from infra.checks.dockerfile import Dockerfile, Stage, sent
from infra.checks.images import FILES
from infra.checks.tools import WHEELS


class _Failed(Exception):
    pass


def check(root: Path) -> list[str]:
    """Faults of the rehearsal; the first stage, which both share, is run once."""
    files = {name: Dockerfile((root / name).read_text(encoding="utf-8")) for name in FILES}
    first = [file.stages[0].instructions for file in files.values()]
    if first[0] != first[1]:
        return ["the first stages of the Dockerfiles differ"]
    with tempfile.TemporaryDirectory(prefix="ocelot-image-") as folder:
        place = Path(folder)
        try:
            subprocess.run([sys.executable, "-m", "venv", place / "clean"], check=True, capture_output=True)  # noqa: S603
            _stage(root, place, files[FILES[0]].stages[0])
            return [f"{name}: {fault}" for name, file in files.items() for fault in _result(root, place, file, name)]
        except _Failed as fault:
            return [str(fault)]


def _stage(root: Path, place: Path, stage: Stage) -> None:
    """COPY and RUN of a stage, under `place` instead of under /."""
    files = sent(root)
    at = place / "src"
    at.mkdir(parents=True, exist_ok=True)
    for each in stage.instructions:
        if each.name == "COPY" and "--from" not in each.text:
            *sources, target = each.text.split()
            for source in sources:
                _copy(root, files, source, at, target)
        elif each.name == "RUN":
            command = re.sub(r"(?<=[\s=])/(opt|src)\b", rf"{place}/\1", f" {each.text}")
            _run(["/bin/sh", "-c", command], at, place, f"RUN {each.text[:100]}")


def _copy(root: Path, files: list[PurePosixPath], source: str, at: Path, target: str) -> None:
    found = [Path(str(path)) for path in files if str(path) == source or str(path).startswith(f"{source}/")]
    if not found:
        raise _Failed(f"COPY {source}: .dockerignore keeps it back, or it is not there")
    for path in found:
        if str(path) == source:
            to = at / target / path.name if target.endswith("/") else at / target
        else:
            to = at / target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, to)


def _result(root: Path, place: Path, file: Dockerfile, name: str) -> list[str]:
    """What the last stage leaves, started."""
    service = name.partition(".")[2]
    _stage(root, place, file.stages[-1])
    faults = []
    said = {each.name: each.text for each in file.stages[-1].instructions}
    command = json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"])
    started = _start([place / "opt/ocelot/bin" / command[0], *command[1:]], place)
    if started.returncode != 1 or not started.stderr.startswith(f"ocelot {service}: OCELOT_QUEUE: is required"):
        faults.append(f"does not start: exit code {started.returncode}, {started.stderr.strip()[-300:]}")
    health = json.loads(said["HEALTHCHECK"].partition("CMD ")[2])
    asked = _start([place / "opt/ocelot/bin" / health[0], *health[1:]], place)
    if asked.returncode != 1 or not asked.stderr.startswith(f"{service}: "):
        faults.append(f"the health check does not run: exit code {asked.returncode}, {asked.stderr.strip()[-300:]}")
    packages = place / "opt/ocelot/lib"
    unwanted = ("pip", "setuptools", "pytest", "tests", "secantus")
    faults += [f"holds {each}" for each in unwanted if list(packages.glob(f"python*/site-packages/{each}"))]
    if list((place / "clean/lib").glob("python*/site-packages/pip")):
        faults.append("keeps pip in the result")
    # The second image's last stage finds it as the first's did.
    subprocess.run([sys.executable, "-m", "venv", "--clear", place / "clean"], check=True, capture_output=True)  # noqa: S603
    return faults


def _start(command: list[str | Path], place: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{place}/opt/ocelot/bin:/usr/bin:/bin", "PORT": "1", "OCELOT_CONSUMER_PORT": "1"}
    return subprocess.run(  # noqa: S603
        command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def _run(command: list[str], at: Path, place: Path, what: str) -> None:
    # Offline: the wheels that the requirements name lie beside the tools.
    environment = {
        "PATH": f"{place}/clean/bin:/usr/bin:/bin",
        "HOME": str(place),
        "PIP_NO_CACHE_DIR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(WHEELS),
    }
    ended = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode != 0:
        last = " ".join((ended.stderr or ended.stdout).split())[-300:]
        raise _Failed(f"{what}: exit code {ended.returncode}: {last}")
