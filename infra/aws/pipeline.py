"""The role that a pipeline on GitHub takes by OIDC: what `infra.deploy` calls, and nothing else."""

from __future__ import annotations

from typing import Any

from aws_cdk import Aws, CfnCondition, CfnOutput, CfnParameter, CfnResource, Duration, Fn, Stack, aws_iam
from constructs import Construct

from infra.aws import containers, roles
from infra.aws.containers import CONSUMER, CONTAINERS
from infra.aws.nag import accept_each
from infra.aws.stages import Stage

_ISSUER = "token.actions.githubusercontent.com"
_PUSH = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
)


class Pipeline(Construct):
    """Only made when the stack is told which repository may deploy; the issuer is made by hand, once an account."""

    def __init__(self, scope: Construct, id_: str, stage: Stage) -> None:
        super().__init__(scope, id_)
        repository = CfnParameter(
            Stack.of(self),
            "DeployFrom",
            description="Repository on GitHub whose pipeline deploys, such as example/ocelot; empty: none",
            default="",
            allowed_pattern="([A-Za-z0-9-]+/[A-Za-z0-9._-]+)?",
        )
        wanted = CfnCondition(
            self, "Wanted", expression=Fn.condition_not(Fn.condition_equals(repository.value_as_string, ""))
        )
        self.role = self._role(stage, repository.value_as_string)
        for each in self.role.node.find_all():
            if isinstance(each, CfnResource):
                each.cfn_options.condition = wanted
        CfnOutput(
            Stack.of(self),
            "DeployRole",
            value=self.role.role_arn,
            description="AWS_ROLE_ARN of the pipeline's environment",
            condition=wanted,
        )

    def _role(self, stage: Stage, repository: str) -> aws_iam.Role:
        role = aws_iam.Role(
            self,
            "Deploy",
            role_name=f"ocelot-{stage.name}-deploy",
            description="Pushes images and releases them",
            # A release that waits for all that it may wait for, and then goes back, takes longer than one hour.
            max_session_duration=Duration.hours(2),
            assumed_by=aws_iam.WebIdentityPrincipal(
                _of_account(f"oidc-provider/{_ISSUER}"),
                # Of one repository, and there of the environment alone, which says who may deploy to it.
                {
                    "StringEquals": {
                        f"{_ISSUER}:aud": "sts.amazonaws.com",
                        f"{_ISSUER}:sub": f"repo:{repository}:environment:{stage.name}",
                    }
                },
            ),
        )
        self._may(role, stage)
        return role

    def _may(self, role: aws_iam.Role, stage: Stage) -> None:
        cluster = roles.arn("ecs", f"cluster/{containers.CLUSTER}")
        tasks = roles.arn("ecs", f"task/{containers.CLUSTER}/*")
        migrates = roles.arn("ecs", f"task-definition/ocelot-log-{CONSUMER.name}:*")
        services = [roles.arn("ecs", f"service/{containers.CLUSTER}/{each.service}") for each in CONTAINERS]
        passed = [
            _of_account(f"role/ocelot-{stage.name}-{each.name}-{kind}")
            for each in CONTAINERS
            for kind in ("task", "execution")
        ]
        roles.allow(role, ("ecr:GetAuthorizationToken", "ecs:RegisterTaskDefinition"), ["*"])
        roles.allow(role, _PUSH, [roles.arn("ecr", f"repository/{each.repository}") for each in CONTAINERS])
        roles.allow(role, ("ecs:DescribeServices", "ecs:UpdateService"), services)
        roles.allow(role, ("ecs:DescribeTasks", "ecs:StopTask"), [tasks])
        _allow_if(role, "ecs:RunTask", [migrates], {"ArnEquals": {"ecs:cluster": cluster}})
        _allow_if(role, "iam:PassRole", passed, {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}})
        accept_each(
            role,
            "AwsSolutions-IAM5",
            ("Resource::*", f"Resource::{tasks}", f"Resource::{migrates}"),
            "Two calls that AWS defines for no resource; tasks of one cluster, whose ids are made when they start; and "
            "the revisions of one task definition, of which each release makes another.",
        )


def _of_account(resource: str) -> str:
    return f"arn:{Aws.PARTITION}:iam::{Aws.ACCOUNT_ID}:{resource}"


def _allow_if(role: aws_iam.Role, action: str, resources: list[str], conditions: dict[str, Any]) -> None:
    role.add_to_policy(aws_iam.PolicyStatement(actions=[action], resources=resources, conditions=conditions))
