"""A deploy whose tasks, migration or smoke test fail leaves the services at what they ran before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.deploy import __main__ as command
from infra.deploy.__main__ import main, plan_of
from infra.deploy.aws import DeployFailed
from infra.deploy.release import Release
from infra.deploy.values import task_definition

ENVIRONMENT = {
    "AWS_REGION": "eu-west-1",
    "ECS_CLUSTER": "ocelot-cluster",
    "ECS_SERVICE_API": "ocelot-log-api-service",
    "ECS_SERVICE_CONSUMER": "ocelot-log-consumer-service",
    "IMAGE_TAG": "c0ffee",
    "OCELOT_PUBLIC_URL": "https://ocelot.example.com/",
    "OCELOT_STAGE": "development",
}
STRATEGY = [{"capacityProvider": "ocelot", "weight": 1}]


class Ecs:
    """As much of ECS as a deploy sees. A new task definition is up two looks later, unless it is among `sick`."""

    def __init__(self, *, sick: str = "", migration: int = 0) -> None:
        self.runs = {name: f"{name}:1" for name in ("ocelot-log-api-service", "ocelot-log-consumer-service")}
        self.wanted = dict(self.runs)
        self.looks = dict.fromkeys(self.runs, 0)
        self.registered: dict[str, Any] = {}
        self.calls: list[str] = []
        self.migrated: dict[str, Any] = {}
        self._sick = sick
        self._migration = migration

    def __call__(self, *arguments: str) -> Any:
        options = dict(zip(arguments[2::2], arguments[3::2], strict=True))
        self.calls.append(arguments[1])
        return getattr(self, "_" + arguments[1].replace("-", "_"))(options)

    def _get_caller_identity(self, _: dict[str, str]) -> Any:
        return {"Account": "111122223333"}

    def _register_task_definition(self, options: dict[str, str]) -> Any:
        definition = json.loads(options["--cli-input-json"])
        arn = f"{definition['family']}:2"
        self.registered[arn] = definition
        return {"taskDefinition": {"taskDefinitionArn": arn}}

    def _run_task(self, options: dict[str, str]) -> Any:
        self.migrated = options
        return {"tasks": [{"taskArn": "migration"}], "failures": []}

    def _describe_tasks(self, _: dict[str, str]) -> Any:
        stopped = self.calls.count("describe-tasks") > 1
        return {
            "tasks": [
                {"lastStatus": "STOPPED" if stopped else "RUNNING", "containers": [{"exitCode": self._migration}]}
            ]
        }

    def _update_service(self, options: dict[str, str]) -> Any:
        self.wanted[options["--service"]] = options["--task-definition"]
        self.looks[options["--service"]] = 0
        return {}

    def _describe_services(self, options: dict[str, str]) -> Any:
        name = options["--services"]
        self.looks[name] += 1
        wanted, runs = self.wanted[name], self.runs[name]
        if self.looks[name] > 2 and wanted != runs:
            if self._sick and self._sick in wanted:
                self.wanted[name] = wanted = runs  # the circuit breaker
            else:
                self.runs[name] = runs = wanted
        deployments = [{"status": "PRIMARY", "taskDefinition": wanted, "runningCount": 2, "desiredCount": 2}]
        if wanted != runs:
            deployments.append({"status": "ACTIVE", "taskDefinition": runs, "runningCount": 2, "desiredCount": 0})
        return {
            "services": [
                {
                    "status": "ACTIVE",
                    "taskDefinition": wanted,
                    "desiredCount": 2,
                    "deployments": deployments,
                    "capacityProviderStrategy": STRATEGY,
                }
            ]
        }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository's task definitions."""
    (tmp_path / ".aws").mkdir()
    for name in ("api", "consumer"):
        text = json.dumps(
            {
                "family": f"ocelot-log-{name}",
                "containerDefinitions": [
                    {"name": name, "image": "${IMAGE}", "environment": [{"name": "STAGE", "value": "${OCELOT_STAGE}"}]}
                ],
            }
        )
        (tmp_path / ".aws" / f"task-definition-{name}.json").write_text(text)
    return tmp_path


def release(ecs: Ecs, root: Path, answers: dict[str, int] | None = None) -> list[str]:
    """What the deploy says; what it waits for comes at once."""
    said: list[str] = []
    asked = Release(ecs, said.append, sleep=lambda _: None, get=lambda url: (answers or {}).get(url, 200))
    asked.run(plan_of(ENVIRONMENT, ecs, root))
    return said


def test_both_services_run_the_new_images_after_the_migration(root: Path) -> None:
    ecs = Ecs()
    said = release(ecs, root)
    assert set(ecs.runs.values()) == {"ocelot-log-api:2", "ocelot-log-consumer:2"}
    image = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/ocelot-log-api:c0ffee"
    container = ecs.registered["ocelot-log-api:2"]["containerDefinitions"][0]
    assert container == {
        "name": "api",
        "image": image,
        "environment": [{"name": "STAGE", "value": "development"}],
    }
    assert json.loads(ecs.migrated["--overrides"])["containerOverrides"] == [
        {"name": "consumer", "command": ["migrate"]}
    ]
    assert json.loads(ecs.migrated["--capacity-provider-strategy"]) == STRATEGY
    assert ecs.calls.index("run-task") < ecs.calls.index("update-service")
    assert said[-1] == "released: ocelot-log-consumer:2, ocelot-log-api:2"


def test_a_failed_migration_changes_no_service(root: Path) -> None:
    ecs = Ecs(migration=1)
    with pytest.raises(DeployFailed, match="the migration failed"):
        release(ecs, root)
    assert "update-service" not in ecs.calls


@pytest.mark.parametrize("sick", ["ocelot-log-api", "ocelot-log-consumer"])
def test_tasks_that_stay_unhealthy_bring_both_services_back(root: Path, sick: str) -> None:
    ecs = Ecs(sick=f"{sick}:2")
    before = dict(ecs.runs)
    with pytest.raises(DeployFailed, match=rf"{sick}-service: its tasks do not become healthy; rolled back"):
        release(ecs, root)
    assert ecs.runs == ecs.wanted == before


def test_tasks_that_never_settle_are_not_waited_for_without_end(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = Ecs()
    monkeypatch.setattr("infra.deploy.release._STABLE_SECONDS", 5.0)
    monkeypatch.setitem(ecs.__dict__, "_describe_services", _restless(ecs))
    with pytest.raises(DeployFailed, match="not stable after 5 s"):
        release(ecs, root)
    assert set(ecs.wanted.values()) == {"ocelot-log-api-service:1", "ocelot-log-consumer-service:1"}


def _restless(ecs: Ecs) -> Any:
    described = Ecs._describe_services

    def describe(options: dict[str, str]) -> Any:
        answer = described(ecs, options)
        answer["services"][0]["deployments"][0]["runningCount"] = 1
        return answer

    return describe


def test_a_failed_smoke_test_brings_both_services_back(root: Path) -> None:
    ecs = Ecs()
    before = dict(ecs.runs)
    with pytest.raises(DeployFailed, match=r"smoke test: GET /api/v1/ready answers 503; rolled back"):
        release(ecs, root, {"https://ocelot.example.com/api/v1/ready": 503})
    assert ecs.runs == before


def test_an_interrupted_deploy_goes_back_as_well(root: Path) -> None:
    ecs = Ecs()
    before = dict(ecs.runs)

    def interrupted(_: str) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Release(ecs, lambda _: None, sleep=lambda _: None, get=interrupted).run(plan_of(ENVIRONMENT, ecs, root))
    assert ecs.runs == before


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_a_missing_variable_is_named_before_anything_is_done(root: Path, name: str) -> None:
    ecs = Ecs()
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    with pytest.raises(DeployFailed, match=rf"^{name}: is required$"):
        plan_of(environment, ecs, root)
    assert set(ecs.calls) <= {"get-caller-identity"}


def test_a_value_cannot_break_out_of_its_place(root: Path) -> None:
    text = task_definition("api", {"IMAGE": 'i", "privileged": true, "x": "', "OCELOT_STAGE": "a\nb\\"}, root)
    container = text["containerDefinitions"][0]
    assert sorted(container) == ["environment", "image", "name"]
    assert container["environment"][0]["value"] == "a\nb\\"


@pytest.mark.parametrize("there", [False, True])
def test_a_commits_image_is_pushed_once_and_latest_each_time(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """ECR refuses to move a commit's tag, and a second build of a commit is another image."""
    ran: list[str] = []
    monkeypatch.setattr(command, "_run", lambda *words, typed=None: ran.append(" ".join(words)) or "a-word")

    def aws(*arguments: str) -> Any:
        if arguments[0] == "sts":
            return {"Account": "111122223333"}
        assert arguments[:2] == ("ecr", "batch-get-image")
        assert arguments[-1] == "imageTag=c0ffee"
        return {"images": [{}] if there else [], "failures": []}

    command.push(ENVIRONMENT, aws)
    for name in ("api", "consumer"):
        image = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/ocelot-log-{name}"
        assert (f"docker push {image}:c0ffee" in ran) is not there
        assert (f"docker pull {image}:c0ffee" in ran) is there
        assert ran.index(f"docker tag {image}:c0ffee {image}:latest") < ran.index(f"docker push {image}:latest")


def test_the_command_says_what_is_wrong_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release"], {}) == 1
    assert capsys.readouterr().err == "deploy: AWS_REGION: is required\n"
    assert main(["else"], {}) == 2


def test_the_containers_that_a_deploy_overrides_are_named_so() -> None:
    definitions = Path(__file__).parents[2] / ".aws"
    for name in ("api", "consumer"):
        path = definitions / f"task-definition-{name}.json"
        if not path.exists():
            pytest.skip("the task definitions are not rendered")
        assert json.loads(path.read_text())["containerDefinitions"][0]["name"] == name
