"""The two containers: what they may use, what they are told, and where their secrets are. One source for the CDK's
service stack and for the task definitions of `.aws/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from infra.aws.stages import Stage

_SETTINGS: Final = Path(__file__).parent / "settings.env"
USER: Final = "10001:10001"
"""The images' own."""
TMP: Final = "/tmp"  # noqa: S108 - a tmpfs of the container's own
TMP_MIB: Final = 128
TMP_OPTIONS: Final = ("rw", "noexec", "nosuid", "nodev")
OPEN_FILES: Final = 65_536
STOP_SECONDS: Final = 60
"""Both drain within 30 s."""
MONGODB_URL, OPENSEARCH_URL, SIGNING_KEY = "mongodb-url", "opensearch-url", "signing-key"


@dataclass(frozen=True, slots=True)
class Container:
    """`cpu` in 1/1,024 of a core; memory in MiB: `memory` is the limit, at which it is killed, `reserved` its place."""

    name: str
    port: int
    cpu: int
    memory: int
    reserved: int
    secrets: tuple[tuple[str, str], ...]
    """Settings with the name of the stage's parameter that holds each."""

    @property
    def repository(self) -> str:
        return f"ocelot-log-{self.name}"

    @property
    def service(self) -> str:
        return f"ocelot-log-{self.name}-service"

    @property
    def health_command(self) -> tuple[str, ...]:
        return ("CMD", "python", "-m", "core.alive", self.name)


API: Final = Container(
    name="api",
    port=8000,
    cpu=768,
    memory=1024,
    reserved=512,
    secrets=(("MONGODB_URL", MONGODB_URL), ("OPENSEARCH_URL", OPENSEARCH_URL), ("OCELOT_SIGNING_KEY", SIGNING_KEY)),
)
CONSUMER: Final = Container(
    name="consumer",
    port=8001,
    cpu=768,
    memory=1536,
    reserved=768,
    secrets=(("MONGODB_URL", MONGODB_URL), ("OPENSEARCH_URL", OPENSEARCH_URL)),
)
CONTAINERS: Final = (API, CONSUMER)
CLUSTER: Final = "ocelot-cluster"


def parameter(stage: str, name: str) -> str:
    """The name of a stage's parameter in the Parameter Store."""
    return f"/ocelot/{stage}/{name}"


def of_stage(stage: Stage) -> dict[str, str]:
    """What a stage settles of the settings' open values."""
    return {
        "OCELOT_STAGE": stage.name,
        "ARCHIVE_LOCK_DAYS": str(stage.lock_days),
        "OCELOT_TRUSTED_PROXIES": ",".join(stage.public_cidrs),
    }


def environment(values: Mapping[str, str]) -> dict[str, str]:
    """The settings with `values` filled in; those that are not among them stay open, as `${NAME}`."""
    lines = [line for line in _SETTINGS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {name: Template(value).safe_substitute(values) for name, _, value in (line.partition("=") for line in lines)}
