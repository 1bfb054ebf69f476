"""Faults that are planted in a copy of the tree, one at a time: each has to be found by its check."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Check = Callable[[Path], list[str]]


@dataclass(frozen=True, slots=True)
class Fault:
    """In `path`, `old` becomes `new`; the check then says something with `found` in it."""

    check: str
    path: str
    old: str
    new: str
    found: str


_CI: Final = ".github/workflows/ci-cd.yml"
_K8S: Final = "infra/k8s/base/"
_PRODUCTION: Final = "infra/k8s/overlays/production/kustomization.yaml"
_SOURCES: Final = "infra/monitoring/grafana/provisioning/datasources/prometheus.yml"
_RULES: Final = "infra/monitoring/rules/ocelot.yml"
_BOARD: Final = "infra/monitoring/grafana/dashboards/ocelot.json"

FAULTS: Final = (
    Fault("images", "Dockerfile.api", "USER 10001:10001", "USER root", "does not run as 10001:10001"),
    Fault("images", "Dockerfile.api", "USER 10001:10001\n", "USER 10001:10001\nRUN cd /tmp\n", "DL3003"),
    Fault("images", "Dockerfile.api", 'CMD ["api"]', "CMD api", "SIGTERM would reach a shell"),
    Fault("images", "Dockerfile.consumer", "--require-hashes ", "", "has no hash"),
    Fault("images", "Dockerfile.consumer", '"python", "-m", "core.alive"', '"curl", "-f"', "no health check by Python"),
    Fault("images", "Dockerfile.api", "org.opencontainers.image.revision", "revision", "image.revision"),
    Fault("images", "Dockerfile.api", "3.11-slim-trixie\n\n", "latest\n\n", "names no version"),
    Fault("images", ".dockerignore", "\n*\n", "\n", "does not start with *"),
    Fault("images", ".dockerignore", "!core\n", "!core\n!tests\n", ".dockerignore: sends tests"),
    Fault("images", "Dockerfile.api", "STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "is not stopped by SIGTERM"),
    Fault(
        "images",
        "Dockerfile.api",
        "    && mkdir -p /opt/home",
        "    && apt-get install -y curl",
        "uses what it need not",
    ),
    Fault("images", "Dockerfile.api", "RUN python -m pip uninstall", "RUN python -m pip list", "keeps pip"),
    Fault("rehearsal", "requirements/build.txt", "setuptools==", "setuptools>=", "RUN python -m venv /opt/build"),
    Fault("rehearsal", ".dockerignore", "!requirements/build.txt\n", "", "COPY requirements/build.txt"),
    # The whole of it, twice over: what is not copied or packed is seen when the container starts.
    Fault("rehearsal", "pyproject.toml", '"consumer*", "core*"', '"consumer*"', "does not start"),
    Fault("compose", "compose.yaml", "    image: mongo:8.0", "    imagee: mongo:8.0", "imagee"),
    Fault("compose", "compose.yaml", "prom/prometheus:v3.5.0", "prom/prometheus:latest", "names no version"),
    Fault("compose", "compose.yaml", "read_only: true", "read_only: false", "can be written to"),
    Fault("compose", "compose.yaml", "--replSet, rs0", "--quiet", "no replica set"),
    Fault("compose", "compose.yaml", "127.0.0.1:9200:9200", "9200:9200", "to every machine"),
    Fault("compose", "compose.yaml", "profiles: [monitoring]", "profiles: [other]", "not of the profile"),
    Fault("compose", "compose.yaml", "- infra/compose/settings.env", "- infra/compose/none.env", "which is not there"),
    Fault("compose", "compose.yaml", "cap_drop: [ALL]", "cap_drop: [NET_RAW]", "holds rights"),
    Fault("compose", "compose.yaml", "stop_grace_period: 40s", "stop_grace_period: 10s", "before it has drained"),
    Fault(
        "compose",
        "compose.yaml",
        "elasticmq: {condition: service_started}",
        "sqs: {condition: service_started}",
        "no service",
    ),
    Fault(
        "compose",
        "compose.yaml",
        "elasticmq: {condition: service_started}",
        "elasticmq: {condition: service_healthy}",
        "no health check",
    ),
    Fault(
        "compose",
        "compose.yaml",
        "- ./infra/compose/elasticmq.conf",
        "- ./infra/compose/queue.conf",
        "mounts ./infra/compose/queue.conf",
    ),
    Fault("compose", "compose.yaml", "  grafana: {}\n", "", "is not declared"),
    Fault("compose", "compose.yaml", "dockerfile: Dockerfile.api", "dockerfile: Dockerfile", "no Dockerfile"),
    Fault("workflows", _CI, "      - run: make lint", "      - run: make lint && echo $x", "SC2086"),
    Fault("workflows", _CI, "runs-on: ubuntu-24.04", "runs-on: ubuntu-24", "unknown"),
    Fault("workflows", _CI, "run: make lint", 'run: make lint && echo "${{ github.head_ref }}"', "template-injection"),
    Fault("workflows", _CI, "persist-credentials: false", "persist-credentials: true", "credential"),
    Fault("workflows", _CI, "timeout-minutes: 15", "timeout-minute: 15", "timeout-minute"),
    Fault("workflows", _CI, "@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4", "not pinned"),
    Fault("workflows", _CI, "      - run: make faults\n", "", "nothing runs `make faults`"),
    Fault("workflows", _CI, "      - run: make site\n", "", "nothing runs `make site`"),
    Fault("workflows", _CI, "github.event_name == 'push' && ", "", "on no branch of ours"),
    Fault("workflows", _CI, "run: python -m infra.deploy push", "run: echo", "does not deliver in this order"),
    Fault("workflows", _CI, "needs: [lint, test, live, infra]", "needs: [lint, test, live]", "without the job infra"),
    Fault(
        "workflows",
        _CI,
        "          ECS_CLUSTER: ${{ vars.ECS_CLUSTER }}\n",
        "",
        "not told ECS_CLUSTER",
    ),
    Fault("shell", ".ci/run", "log=$(mktemp)", "log=`mktemp`; cat $log", "SC2086"),
    Fault(
        "kubernetes", _K8S + "api.yaml", "terminationGracePeriodSeconds: 60", "terminationGracePeriod: 60", "unexpected"
    ),
    Fault("kubernetes", _K8S + "api.yaml", "path: /api/v1/ready", "path: /api/v1/health", "readinessProbe"),
    Fault(
        "kubernetes", _K8S + "api.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "written to"
    ),
    Fault("kubernetes", _K8S + "scaling.yaml", "maxReplicaCount: 20", "maxReplicas: 20", "maxReplicas"),
    Fault(
        "kubernetes", _K8S + "scaling.yaml", "name: ocelot-queue}\nspec", "name: other}\nspec", "not look at the queue"
    ),
    Fault("kubernetes", _K8S + "scaling.yaml", "type: aws-sqs-queue", "type: cpu", "does not go by the queue"),
    Fault("kubernetes", _K8S + "api.yaml", "GracePeriodSeconds: 60", "GracePeriodSeconds: 35", "before it has drained"),
    Fault("kubernetes", _K8S + "api.yaml", "drop: [ALL]", "drop: [NET_RAW]", "holds rights"),
    Fault("kubernetes", _K8S + "api.yaml", "runAsUser: 10001", "runAsUser: 0", "does not run as the image's user"),
    Fault("kubernetes", _K8S + "api.yaml", "limits: {memory: 1Gi}", "limits: {cpu: 1}", "has no limit of memory"),
    Fault("kubernetes", _K8S + "api.yaml", "targetPort: http", "targetPort: web", "which is not there"),
    Fault("kubernetes", _K8S + "api.yaml", "            - secretRef: {name: ocelot}\n", "", "not given the secrets"),
    Fault(
        "kubernetes",
        _K8S + "api.yaml",
        "- {name: tmp, mountPath: /tmp}\n",
        "- {name: tmp, mountPath: /t}\n",
        "nothing to write to",
    ),
    Fault(
        "kubernetes",
        _K8S + "api.yaml",
        "  selector: {matchLabels",
        "  replicas: 2\n  selector: {matchLabels",
        "says how many",
    ),
    Fault("kubernetes", _K8S + "migrate.yaml", "Name: ocelot-consumer", "Name: other", "account is not there"),
    Fault("kubernetes", _K8S + "kustomization.yaml", "part-of: ocelot", "name: ocelot-api", "with the services only"),
    Fault("kubernetes", _K8S + "migrate.yaml", "args: [migrate]", "args: [api]", "does not migrate"),
    Fault("kubernetes", _K8S + "network.yaml", ", ocelot-migrate]", "]", "no policy lets it reach the stores"),
    Fault("kubernetes", _K8S + "settings.env", "ON_START=false", "ON_START=true", "do not wait for it"),
    Fault("kubernetes", _K8S + "settings.env", "ON_START=false\n", "ON_START=false\nMONGODB_URL=x\n", "is a secret"),
    Fault(
        "kubernetes", _K8S + "monitoring.yaml", "port: health, path", "port: other, path", "nobody reads its metrics"
    ),
    Fault("kubernetes", _PRODUCTION, "newTag: 0.1.0", "newTag: latest", "names no version"),
    Fault("kubernetes", _K8S + "monitoring.yaml", "interval: 15s}", "every: 15s}", "every"),
    Fault(
        "kubernetes", _K8S + "disruption.yaml", "app.kubernetes.io/name: ocelot-api", "app: api", "disruption budgets"
    ),
    Fault("kubernetes", _K8S + "network.yaml", "policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]", "keeps out"),
    Fault("kubernetes", _K8S + "kustomization.yaml", "  - consumer.yaml\n", "", "consumer"),
    Fault("kubernetes", _K8S + "settings.env", "OCELOT_QUEUE=sqs\n", "", "OCELOT_QUEUE is missing"),
    Fault(
        "kubernetes", _K8S + "settings.env", "OCELOT_QUEUE=sqs\n", "OCELOT_QUEUE=sqs\nOCELOT_QEUE=sqs\n", "no setting"
    ),
    Fault("monitoring", _RULES, "== 0\n        for: 2m", "=== 0\n        for: 2m", "parse"),
    Fault("monitoring", _RULES, ' or absent(up{job=~".*ocelot-consumer"})', "", "count(ALERTS"),
    Fault("monitoring", _RULES, "> 0.02", "> 0.2", "OcelotServerErrors"),
    Fault("monitoring", _RULES, "max(ocelot_outbox_events) > 0 and", "max(ocelot_outbox) > 0 and", "ocelot_outbox"),
    Fault("monitoring", _RULES, "labels: {severity: page}", "labels: {severity: loud}", "somebody is to be woken"),
    Fault("monitoring", _RULES, "alert: OcelotBacklog", "alert: OcelotQueue", "OcelotQueue is never tested"),
    Fault("monitoring", _SOURCES, "http://prometheus:9090", "http://prom:9090", "does not know Prometheus"),
    Fault("monitoring", _BOARD, "ocelot_jobs_total", "ocelot_jobs_run_total", "no metric of docs/metrics.md"),
    Fault("monitoring", "infra/monitoring/prometheus.yml", "scrape_interval", "scrape_every", "scrape_every"),
)


def unfound(root: Path, checks: dict[str, Check]) -> list[str]:
    """Each fault that its check did not find, or that could not be planted."""
    faults = []
    with tempfile.TemporaryDirectory(prefix="ocelot-planted-") as folder:
        copy = Path(folder) / "tree"
        _copy(root, copy)
        for fault in FAULTS:
            if fault.check not in checks:
                continue
            path = copy / fault.path
            whole = path.read_text(encoding="utf-8")
            if fault.old not in whole:
                faults.append(f"{fault.path}: does not hold {fault.old!r}, so nothing was planted")
                continue
            path.write_text(whole.replace(fault.old, fault.new, 1), encoding="utf-8")
            said = checks[fault.check](copy)
            path.write_text(whole, encoding="utf-8")
            if not any(fault.found in line for line in said):
                faults.append(f"{fault.check} does not find {fault.new!r} in {fault.path}; it says {said or 'nothing'}")
    return faults


def _copy(root: Path, to: Path) -> None:
    """The repository's files as they are on the disk, without what git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout  # noqa: S603
    for name in listed.split("\0"):
        if name and (root / name).is_file() and not name.startswith(("tests/", "benchmarks/")):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, to / name)
