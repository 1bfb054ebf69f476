"""One release: new task definitions, the migration, both services, a smoke test; and back, if anything fails."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from infra.deploy.aws import Aws, DeployFailed
from infra.deploy.values import ORDER

_STABLE_SECONDS: Final = 1200.0
_MIGRATE_SECONDS: Final = 900.0
_POLL: Final = 10.0
SMOKE_PATHS: Final = ("/api/v1/health", "/api/v1/ready")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to run where: names of ECS services and filled-in task definitions, by `api` and `consumer`."""

    cluster: str
    services: dict[str, str]
    definitions: dict[str, dict[str, Any]]
    public_url: str


class Release:
    """Carries out a plan. `say` tells the user, `sleep` and `get` are the outside world."""

    def __init__(
        self,
        aws: Aws,
        say: Callable[[str], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        get: Callable[[str], int] | None = None,
    ) -> None:
        self._aws = aws
        self._say = say
        self._sleep = sleep
        self._get = get or _status

    def run(self, plan: Plan) -> None:
        """All of it; raises `DeployFailed` once the services are back at what they ran before."""
        before = {name: self._service(plan, name)["taskDefinition"] for name in ORDER}
        new = {name: self._register(plan.definitions[name]) for name in ORDER}
        self._migrate(plan, new["consumer"])
        try:
            for name in ORDER:
                self._update(plan, name, new[name])
            for name in ORDER:
                self._await_stable(plan, name, new[name])
            self._smoke(plan.public_url)
        except BaseException as fault:  # an interrupted deploy is rolled back as well
            self._back(plan, before)
            if isinstance(fault, DeployFailed):
                raise DeployFailed(f"{fault}; rolled back") from None
            raise
        self._say(f"released: {', '.join(new[name] for name in ORDER)}")

    def _service(self, plan: Plan, name: str) -> dict[str, Any]:
        answer = self._aws("ecs", "describe-services", "--cluster", plan.cluster, "--services", plan.services[name])
        found: list[dict[str, Any]] = [each for each in answer["services"] if each["status"] == "ACTIVE"]
        if not found:
            raise DeployFailed(f"no active service {plan.services[name]} in the cluster {plan.cluster}")
        return found[0]

    def _register(self, definition: dict[str, Any]) -> str:
        answer = self._aws("ecs", "register-task-definition", "--cli-input-json", json.dumps(definition))
        arn: str = answer["taskDefinition"]["taskDefinitionArn"]
        self._say(f"registered {arn}")
        return arn

    def _migrate(self, plan: Plan, definition: str) -> None:
        """`ocelot migrate` as a task of its own; nothing has changed yet for the services if it fails."""
        strategy = self._service(plan, "consumer").get("capacityProviderStrategy") or []
        placed = ["--capacity-provider-strategy", json.dumps(strategy)] if strategy else ["--launch-type", "EC2"]
        overrides = json.dumps({"containerOverrides": [{"name": "consumer", "command": ["migrate"]}]})
        command = ["ecs", "run-task", "--cluster", plan.cluster, "--task-definition", definition, *placed]
        answer = self._aws(*command, "--overrides", overrides, "--started-by", "ocelot-deploy")
        if answer.get("failures") or not answer.get("tasks"):
            reasons = ", ".join(each.get("reason", "unknown") for each in answer.get("failures", [])) or "no task"
            raise DeployFailed(f"the migration was not started: {reasons}")
        task = answer["tasks"][0]["taskArn"]
        self._say(f"migrating: {task}")
        waited = 0.0
        while (found := self._task(plan, task))["lastStatus"] != "STOPPED":
            if waited >= _MIGRATE_SECONDS:
                self._aws("ecs", "stop-task", "--cluster", plan.cluster, "--task", task)
                raise DeployFailed(f"the migration did not end within {_MIGRATE_SECONDS:.0f} s")
            self._sleep(_POLL)
            waited += _POLL
        codes = [container.get("exitCode") for container in found["containers"]]
        if codes != [0]:
            raise DeployFailed(f"the migration failed: {found.get('stoppedReason', 'no reason given')}, {codes}")

    def _task(self, plan: Plan, task: str) -> dict[str, Any]:
        answer = self._aws("ecs", "describe-tasks", "--cluster", plan.cluster, "--tasks", task)
        if not answer["tasks"]:
            raise DeployFailed(f"the migration's task {task} is gone")
        found: dict[str, Any] = answer["tasks"][0]
        return found

    def _update(self, plan: Plan, name: str, definition: str) -> None:
        service = plan.services[name]
        self._say(f"updating {service}")
        command = ["ecs", "update-service", "--cluster", plan.cluster, "--service", service]
        self._aws(*command, "--task-definition", definition)

    def _await_stable(self, plan: Plan, name: str, definition: str) -> None:
        """Until nothing but `definition` runs, in the number wanted. ECS's circuit breaker may end it sooner."""
        waited = 0.0
        while True:
            service = self._service(plan, name)
            primary = next(each for each in service["deployments"] if each["status"] == "PRIMARY")
            if primary["taskDefinition"] != definition or primary.get("rolloutState") == "FAILED":
                raise DeployFailed(f"{plan.services[name]}: its tasks do not become healthy")
            alone = len(service["deployments"]) == 1
            if alone and primary["runningCount"] == service["desiredCount"] == primary["desiredCount"]:
                self._say(f"{plan.services[name]} is stable")
                return
            if waited >= _STABLE_SECONDS:
                raise DeployFailed(f"{plan.services[name]}: not stable after {_STABLE_SECONDS:.0f} s")
            self._sleep(_POLL)
            waited += _POLL

    def _smoke(self, url: str) -> None:
        for path in SMOKE_PATHS:
            status = 0
            # A balancer takes some seconds to know its new targets.
            for _ in range(6):
                if (status := self._get(url.rstrip("/") + path)) == 200:
                    break
                self._sleep(_POLL)
            else:
                raise DeployFailed(f"smoke test: GET {path} answers {status or 'nothing'}")
        self._say("the smoke test passes")

    def _back(self, plan: Plan, before: dict[str, str]) -> None:
        """The services as they were. The migration stays: older processes work on what it made."""
        faults = []
        for act in (self._update, self._await_stable):
            for name in reversed(ORDER):
                try:
                    act(plan, name, before[name])
                except DeployFailed as fault:
                    faults.append(f"{plan.services[name]}: {fault}")
        if faults:
            raise DeployFailed("the way back failed, look at once: " + "; ".join(faults))


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the deployment's own address
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
