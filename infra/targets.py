"""What each place to run sets: the whole catalogue of settings, once a place, written by `make docs`.

A place differs from the defaults only where it is named here; secrets are never written, they come from the place's own
store of secrets. A new setting is in every place by being in `core.settings.Settings`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.settings_page import settings

HOME: Final = "/var/lib/ocelot"
"""The images' folder for what a process makes itself; nothing else of a container can be written to, but /tmp."""


@dataclass(frozen=True, slots=True)
class Target:
    """One place to run: the file of its settings, what differs there, and which settings come as secrets."""

    path: Path
    head: str
    differs: dict[str, str]
    secrets: frozenset[str]

    def values(self) -> Iterator[tuple[str, str]]:
        """Each setting of the file with its value; blank for none."""
        for setting in settings():
            if setting.name not in self.secrets:
                yield setting.name, self.differs.get(setting.name, setting.default or "")

    def text(self) -> str:
        return self.head + "".join(f"{name}={value}\n" for name, value in self.values())


def _secret_names() -> frozenset[str]:
    return frozenset(setting.name for setting in settings() if setting.secret)


COMPOSE: Final = Target(
    path=Path("infra/compose/settings.env"),
    head="# Every setting of the services of compose.yaml. What is to differ goes into compose.env, beside that file.\n"
    "# Made by `make docs` from core/settings.py and infra/targets.py.\n",
    differs={
        "OCELOT_QUEUE": "sqs",
        "SQS_QUEUE_URL": "http://elasticmq:9324/000000000000/ocelot",
        "SQS_ENDPOINT_URL": "http://elasticmq:9324",
        "OCELOT_HOME": HOME,
        "MONGODB_URL": "mongodb://mongodb:27017/?replicaSet=rs0&w=majority&journal=true",
        "OPENSEARCH_URL": "http://opensearch:9200",
        "OCELOT_INDEX_REPLICAS": "0",
        "ARCHIVE_URL": "s3://ocelot-archive/events",
        "ARCHIVE_ENDPOINT_URL": "http://s3:7070",
        "OCELOT_PUBLIC_URL": "http://localhost:8000",
    },
    secrets=frozenset(),
)
KUBERNETES: Final = Target(
    path=Path("infra/k8s/base/settings.env"),
    head="# Every setting that is no secret; an overlay says what differs there. The secret `ocelot` has the rest.\n"
    "# Made by `make docs` from core/settings.py and infra/targets.py.\n",
    # The job `ocelot-migrate` does it; a pod that comes first waits for it.
    differs={"OCELOT_QUEUE": "sqs", "OCELOT_HOME": HOME, "OCELOT_MIGRATE_ON_START": "false"},
    secrets=_secret_names(),
)
AWS: Final = Target(
    path=Path("infra/aws/settings.env"),
    head="# Every setting of both containers on AWS that is no secret; infra/aws/containers.py fills in ${...}.\n"
    "# Made by `make docs` from core/settings.py and infra/targets.py.\n",
    differs={
        "OCELOT_QUEUE": "sqs",
        "SQS_QUEUE_URL": "https://sqs.${AWS_REGION}.amazonaws.com/${AWS_ACCOUNT_ID}/ocelot-${OCELOT_STAGE}-events",
        "AWS_REGION": "${AWS_REGION}",
        "OCELOT_HOME": HOME,
        "OPENSEARCH_AUTH": "sigv4",
        "ARCHIVE_URL": "s3://ocelot-${OCELOT_STAGE}-archive-${AWS_ACCOUNT_ID}-${AWS_REGION}/archive",
        "ARCHIVE_LOCK_DAYS": "${ARCHIVE_LOCK_DAYS}",
        "OCELOT_PUBLIC_URL": "${OCELOT_PUBLIC_URL}",
        "OCELOT_TRUSTED_PROXIES": "${OCELOT_TRUSTED_PROXIES}",
        # With what is in flight twice over, at its worst, the container stays well below its limit.
        "OCELOT_MAX_IN_FLIGHT_BYTES": str(128 * 1024 * 1024),
        "OCELOT_MAX_TENANT_IN_FLIGHT_BYTES": str(32 * 1024 * 1024),
    },
    secrets=_secret_names(),
)
TARGETS: Final = (COMPOSE, KUBERNETES, AWS)
