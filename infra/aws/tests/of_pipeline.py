"""Who may deploy: one repository's environment, and what `infra.deploy` calls."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from infra.aws.containers import CONTAINERS
from infra.aws.tests.promises import change, promise, put
from infra.aws.tests.templates import Resource, Templates, listed

_P = "Properties"
_ROLE = "ocelot-STAGE-deploy"
_ISSUER = "token.actions.githubusercontent.com"
_DEPLOY = Path(__file__).parents[2] / "deploy"
# What `docker push` asks of a registry.
_PUSH = {
    "BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer", "InitiateLayerUpload", "UploadLayerPart",
    "CompleteLayerUpload", "PutImage",
}  # fmt: skip


def _called() -> set[str]:
    """The actions behind the calls of `infra.deploy`."""
    text = "".join(path.read_text(encoding="utf-8") for path in _DEPLOY.glob("*.py"))
    calls = set(re.findall(r'"(ec[rs])", "([a-z-]+)"', text))
    assert {("ecs", "run-task"), ("ecr", "get-login-password")} <= calls
    asked = calls - {("ecr", "get-login-password")}
    named = {f"{service}:{call.title().replace('-', '')}" for service, call in asked}
    return named | {f"ecr:{each}" for each in _PUSH} | {"ecr:GetAuthorizationToken"}


def _statement(action: str, how: dict[str, Any]) -> Any:
    """Changes the statements that allow `action`."""

    def plant(policy: Resource) -> None:
        for each in policy[_P]["PolicyDocument"]["Statement"]:
            if action in listed(each["Action"]):
                each.update(how)

    return change("IAM::Policy", plant)


def _more(policy: Resource) -> None:
    policy[_P]["PolicyDocument"]["Statement"].append({"Effect": "Allow", "Action": "ecs:*", "Resource": "x"})


@promise(
    change("IAM::Policy", _more),
    _statement("ecs:StopTask", {"Action": "ecs:DescribeTasks"}),
    _statement("iam:PassRole", {"Resource": "*"}),
    _statement("iam:PassRole", {"Condition": {}}),
    _statement("ecs:RunTask", {"Condition": {}}),
    _statement("ecs:UpdateService", {"Resource": "*"}),
    _statement("ecr:PutImage", {"Resource": "*"}),
)
def a_pipeline_may_do_what_a_deploy_calls_and_no_more(t: Templates) -> None:
    allowed = {action: each for each in t.statements(_ROLE.replace("STAGE", t.stage.name)) for action in _each(each)}
    assert set(allowed) == _called() | {"iam:PassRole"}
    assert {a for a, each in allowed.items() if listed(each["Resource"]) == ["*"]} == {
        "ecr:GetAuthorizationToken",
        "ecs:RegisterTaskDefinition",
    }
    own = {f"ocelot-{t.stage.name}-{each.name}-{kind}" for each in CONTAINERS for kind in ("task", "execution")}
    assert {each.rpartition("/")[2] for each in allowed["iam:PassRole"]["Resource"]} == own
    assert allowed["iam:PassRole"]["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    (cluster,) = allowed["ecs:RunTask"]["Condition"]["ArnEquals"].values()
    assert cluster.endswith(":cluster/ocelot-cluster")


def _each(statement: dict[str, Any]) -> list[str]:
    return listed(statement["Action"])


_TRUST = "Properties.AssumeRolePolicyDocument.Statement.0"


@promise(
    put("IAM::Role", f"{_TRUST}.Condition", {}, RoleName=_ROLE),
    put("IAM::Role", f"{_TRUST}.Condition.StringEquals", {f"{_ISSUER}:aud": "sts.amazonaws.com"}, RoleName=_ROLE),
    change("IAM::Role", lambda role: role.pop("Condition", None), RoleName=_ROLE),
)
def only_the_named_repositorys_environment_deploys(t: Templates) -> None:
    role = t.one("IAM::Role", RoleName=_ROLE.replace("STAGE", t.stage.name))
    (trust,) = t.plain(role[_P]["AssumeRolePolicyDocument"]["Statement"])
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Principal"]["Federated"].endswith(f":oidc-provider/{_ISSUER}")
    assert trust["Condition"] == {
        "StringEquals": {
            f"{_ISSUER}:aud": "sts.amazonaws.com",
            f"{_ISSUER}:sub": f"repo:<DeployFrom>:environment:{t.stage.name}",
        }
    }
    assert role["Condition"], "it is there when a repository is named"
    assert t.stacks["data"]["Parameters"]["DeployFrom"]["Default"] == ""
