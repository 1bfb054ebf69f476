"""The task definitions for those who deploy by `aws ecs` alone: `.aws/task-definition-{api,consumer}.json`.

`python -m infra.aws.task_definitions write` makes the files, with `${NAME}` for what a deployment has to say;
`python -m infra.aws.task_definitions fill api --stage production --account ... --region ... --image ... --url ...`
prints one that `aws ecs register-task-definition --cli-input-json` takes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any, Final

from infra.aws import containers
from infra.aws.containers import CONTAINERS, Container
from infra.aws.stages import STAGES

FOLDER: Final = Path(__file__).parents[2] / ".aws"
_OPEN: Final = re.compile(r"\$\{[A-Z_]+\}")


def path_of(container: Container) -> Path:
    return FOLDER / f"task-definition-{container.name}.json"


def definition(container: Container) -> dict[str, Any]:
    """The task definition, as ECS's API takes it, with what differs between deployments open."""
    role = f"arn:aws:iam::${{AWS_ACCOUNT_ID}}:role/ocelot-${{OCELOT_STAGE}}-{container.name}"
    parameters = "arn:aws:ssm:${AWS_REGION}:${AWS_ACCOUNT_ID}:parameter"
    return {
        "family": f"ocelot-log-{container.name}",
        "networkMode": "bridge",
        "requiresCompatibilities": ["EC2"],
        "executionRoleArn": f"{role}-execution",
        "taskRoleArn": f"{role}-task",
        "containerDefinitions": [
            {
                "name": container.name,
                "image": "${IMAGE}",
                "essential": True,
                "command": [container.name],
                "cpu": container.cpu,
                "memory": container.memory,
                "memoryReservation": container.reserved,
                "user": containers.USER,
                "privileged": False,
                "readonlyRootFilesystem": True,
                "stopTimeout": containers.STOP_SECONDS,
                "portMappings": [{"containerPort": container.port, "hostPort": 0, "protocol": "tcp"}],
                "environment": [{"name": n, "value": v} for n, v in containers.environment({}).items()],
                "secrets": [
                    {"name": name, "valueFrom": parameters + containers.parameter("${OCELOT_STAGE}", secret)}
                    for name, secret in container.secrets
                ],
                "healthCheck": {
                    "command": list(container.health_command),
                    "interval": 10,
                    "timeout": 5,
                    "retries": 3,
                    "startPeriod": 90,
                },
                "linuxParameters": {
                    "capabilities": {"drop": ["ALL"]},
                    "initProcessEnabled": True,
                    "tmpfs": [
                        {
                            "containerPath": containers.TMP,
                            "size": containers.TMP_MIB,
                            "mountOptions": list(containers.TMP_OPTIONS),
                        }
                    ],
                },
                "dockerSecurityOptions": ["no-new-privileges"],
                "ulimits": [{"name": "nofile", "softLimit": containers.OPEN_FILES, "hardLimit": containers.OPEN_FILES}],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": f"/ocelot/${{OCELOT_STAGE}}/{container.name}",
                        "awslogs-region": "${AWS_REGION}",
                        "awslogs-stream-prefix": container.name,
                        # A log that cannot be written must not stop the service.
                        "mode": "non-blocking",
                        "max-buffer-size": "8388608b",
                    },
                },
            }
        ],
    }


def text(container: Container) -> str:
    return json.dumps(definition(container), indent=2) + "\n"


def write() -> None:
    """Write both files; `infra/aws/settings.env` is to be fresh."""
    FOLDER.mkdir(exist_ok=True)
    for each in CONTAINERS:
        path_of(each).write_text(text(each), encoding="utf-8")


def filled(container: Container, values: Mapping[str, str]) -> dict[str, Any]:
    """The task definition with every value in its place; raises `ValueError` naming those that are missing."""
    quoted = {name: json.dumps(value)[1:-1] for name, value in values.items()}
    made = Template(text(container)).safe_substitute(quoted)
    if missing := sorted(set(_OPEN.findall(made))):
        raise ValueError(f"not given: {', '.join(missing)}")
    found: dict[str, Any] = json.loads(made)
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.aws.task_definitions")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write")
    fill = commands.add_parser("fill")
    fill.add_argument("container", choices=[each.name for each in CONTAINERS])
    fill.add_argument("--stage", required=True, choices=list(STAGES))
    for name in ("account", "region", "image", "url"):
        fill.add_argument(f"--{name}", required=True)
    given = parser.parse_args(arguments)
    if given.command == "write":
        write()
        return 0
    chosen = next(each for each in CONTAINERS if each.name == given.container)
    values = containers.of_stage(STAGES[given.stage]) | {
        "AWS_ACCOUNT_ID": given.account,
        "AWS_REGION": given.region,
        "IMAGE": given.image,
        "OCELOT_PUBLIC_URL": given.url,
    }
    sys.stdout.write(json.dumps(filled(chosen, values), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
