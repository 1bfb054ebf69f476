"""`python -m infra.deploy push | release`: see the package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.deploy.aws import Aws, CommandLine, DeployFailed
from infra.deploy.release import Plan, Release
from infra.deploy.values import ROOT, SERVICES, required, task_definition

_USAGE = "usage: python -m infra.deploy push|release"


def plan_of(environment: Mapping[str, str], aws: Aws, root: Path = ROOT) -> Plan:
    """What the environment asks for; raises `DeployFailed` with a line for each variable that is missing."""
    names = ("AWS_REGION", "ECS_CLUSTER", *SERVICES.values(), "IMAGE_TAG", "OCELOT_PUBLIC_URL")
    values = {**environment, **required(environment, *names)}
    values.setdefault("AWS_ACCOUNT_ID", aws("sts", "get-caller-identity")["Account"])
    registry = registry_of(values)
    return Plan(
        cluster=values["ECS_CLUSTER"],
        services={name: values[variable] for name, variable in SERVICES.items()},
        definitions={
            name: task_definition(
                name, {**values, "IMAGE": f"{registry}/ocelot-log-{name}:{values['IMAGE_TAG']}"}, root
            )
            for name in SERVICES
        },
        public_url=values["OCELOT_PUBLIC_URL"],
    )


def registry_of(values: Mapping[str, str]) -> str:
    """The address of the account's images."""
    return f"{values['AWS_ACCOUNT_ID']}.dkr.ecr.{values['AWS_REGION']}.amazonaws.com"


def push(environment: Mapping[str, str], aws: Aws) -> None:
    """Both images, built and tagged IMAGE_TAG on this machine, to ECR under that tag and `latest`.

    A commit's tag is never moved there: where it is already, from an earlier try, that image is the one released.
    """
    values = {**environment, **required(environment, "AWS_REGION", "IMAGE_TAG")}
    values.setdefault("AWS_ACCOUNT_ID", aws("sts", "get-caller-identity")["Account"])
    registry = registry_of(values)
    region = values["AWS_REGION"]
    word = _run("aws", "--region", region, "ecr", "get-login-password")
    _run("docker", "login", "--username", "AWS", "--password-stdin", registry, typed=word)
    for name in SERVICES:
        repository, tag = f"ocelot-log-{name}", values["IMAGE_TAG"]
        image, latest = f"{registry}/{repository}:{tag}", f"{registry}/{repository}:latest"
        found = aws("ecr", "batch-get-image", "--repository-name", repository, "--image-ids", f"imageTag={tag}")
        if found["images"]:
            _run("docker", "pull", image)
            _say(f"{image} is there already")
        else:
            _run("docker", "tag", f"{repository}:{tag}", image)
            _run("docker", "push", image)
            _say(f"pushed {image}")
        _run("docker", "tag", image, latest)
        _run("docker", "push", latest)
        _say(f"pushed {latest}")


def _run(*command: str, typed: str | None = None) -> str:
    try:
        ended = subprocess.run(command, input=typed, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise DeployFailed(f"{command[0]}: is not installed") from None
    if ended.returncode != 0:
        raise DeployFailed(f"{' '.join(command[:2])}: {' '.join(ended.stderr.split())}")
    return ended.stdout.strip()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    if list(arguments) not in (["push"], ["release"]):
        sys.stderr.write(_USAGE + "\n")
        return 2
    try:
        aws = CommandLine(required(environment, "AWS_REGION")["AWS_REGION"])
        if arguments[0] == "push":
            push(environment, aws)
        else:
            Release(aws, _say).run(plan_of(environment, aws))
    except DeployFailed as fault:
        sys.stderr.write(f"deploy: {fault}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
