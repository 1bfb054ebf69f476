"""Who may do what: a role for each container to run by, one to start it by, and the one that sets up the index."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Aws, aws_iam
from constructs import Construct

from infra.aws import containers
from infra.aws.containers import Container
from infra.aws.nag import accept_each
from infra.aws.stages import Stage

_QUEUE_OF = {
    "api": ("sqs:SendMessage", "sqs:GetQueueAttributes"),
    # It sends as well: that a job has ended is an event of its tenant's log.
    "consumer": (
        "sqs:SendMessage",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
    ),
}
_IN_NETWORK = "service-role/AWSLambdaVPCAccessExecutionRole"
_DEAD = ("sqs:GetQueueUrl", "sqs:GetQueueAttributes")
_INDEX_OF = {
    "api": ("es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut"),
    "consumer": ("es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut", "es:ESHttpDelete"),
}
# An export's file is read and removed by the API; archived events are written, locked and dropped by the consumer.
# Nobody may lift a lock (s3:BypassGovernanceRetention) or remove a version (s3:DeleteObjectVersion).
_ARCHIVE_OF = {
    "api": ("s3:GetObject", "s3:DeleteObject"),
    "consumer": (
        "s3:GetObject",
        "s3:PutObject",
        "s3:PutObjectRetention",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
    ),
}


def arn(service: str, resource: str, *, regional: bool = True) -> str:
    """The ARN of something of this account by its name, so that no stack waits for another."""
    place = f"{Aws.REGION}:{Aws.ACCOUNT_ID}" if regional else ":"
    return f"arn:{Aws.PARTITION}:{service}:{place}:{resource}"


def bucket_name(stage: Stage) -> str:
    return f"ocelot-{stage.name}-archive-{Aws.ACCOUNT_ID}-{Aws.REGION}"


def queue_name(stage: Stage) -> str:
    return f"ocelot-{stage.name}-events"


def domain_name(stage: Stage) -> str:
    return f"ocelot-{stage.name}"


def task_role(scope: Construct, stage: Stage, container: Container, key: str) -> aws_iam.Role:
    """What the container's own code may do. `key` is the ARN of the stage's key."""
    queue, bucket = queue_name(stage), arn("s3", bucket_name(stage), regional=False)
    role = aws_iam.Role(
        scope,
        f"{container.name.title()}Task",
        role_name=f"ocelot-{stage.name}-{container.name}-task",
        description=f"Ocelot's {container.name} at work",
        assumed_by=_tasks(),
    )
    allow(role, _QUEUE_OF[container.name], [arn("sqs", queue)])
    allow(role, _DEAD, [arn("sqs", f"{queue}-dead")])
    allow(role, _INDEX_OF[container.name], [f"{arn('es', f'domain/{domain_name(stage)}')}/*"])
    allow(role, _ARCHIVE_OF[container.name], [f"{bucket}/archive/*"])
    # Of the whole bucket, which holds nothing else: who may not list is answered 403 for a file that is not there, and
    # a condition on the prefix is not met by asking for a file.
    allow(role, ("s3:ListBucket",), [bucket])
    allow(role, ("kms:Decrypt", "kms:GenerateDataKey"), [key])
    accept_each(
        role,
        "AwsSolutions-IAM5",
        (f"Resource::{arn('es', f'domain/{domain_name(stage)}')}/*", f"Resource::{bucket}/archive/*"),
        "The wildcards are the paths of one domain and the objects of one prefix; an index's name and an object's key "
        "are made of a tenant's id, so none can be listed here. The domain's own role bounds the indices.",
    )
    return role


def execution_role(scope: Construct, stage: Stage, container: Container, key: str) -> aws_iam.Role:
    """What ECS may do to start the container: fetch its image, hand it its secrets, open its log."""
    role = aws_iam.Role(
        scope,
        f"{container.name.title()}Execution",
        role_name=f"ocelot-{stage.name}-{container.name}-execution",
        description=f"Starts Ocelot's {container.name}",
        assumed_by=_tasks(),
    )
    allow(role, ("ecr:GetAuthorizationToken",), ["*"])
    layers = ("ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage")
    allow(role, layers, [arn("ecr", f"repository/{container.repository}")])
    names = [containers.parameter(stage.name, name) for _, name in container.secrets]
    allow(role, ("ssm:GetParameters",), [arn("ssm", f"parameter{name}") for name in names])
    allow(role, ("kms:Decrypt",), [key])
    log = arn("logs", f"log-group:/ocelot/{stage.name}/{container.name}:*")
    allow(role, ("logs:CreateLogStream", "logs:PutLogEvents"), [log])
    accept_each(
        role,
        "AwsSolutions-IAM5",
        ("Resource::*", f"Resource::{log}"),
        "ecr:GetAuthorizationToken is of no resource by AWS's definition; the other is the streams of one log.",
    )
    return role


def setup_role(scope: Construct, stage: Stage) -> aws_iam.Role:
    """The domain's master user: what maps the task roles and writes the lifecycle, and nothing at any other time."""
    role = aws_iam.Role(
        scope,
        "IndexSetup",
        role_name=f"ocelot-{stage.name}-index-setup",
        description="Sets up the OpenSearch domain's roles and lifecycle",
        assumed_by=aws_iam.ServicePrincipal("lambda.amazonaws.com"),
        managed_policies=[aws_iam.ManagedPolicy.from_aws_managed_policy_name(_IN_NETWORK)],
    )
    paths = [f"{arn('es', f'domain/{domain_name(stage)}')}/_plugins/{plugin}/*" for plugin in ("_security", "_ism")]
    allow(role, ("es:ESHttpGet", "es:ESHttpPut"), paths)
    accept_each(
        role,
        "AwsSolutions-IAM4",
        (f"Policy::arn:{Aws.PARTITION}:iam::aws:policy/{_IN_NETWORK}",),
        "AWS's own policy for a function in a network: its interfaces and its log, which no narrower one could name.",
    )
    accept_each(
        role,
        "AwsSolutions-IAM5",
        (f"Resource::{path}" for path in paths),
        "The paths of two plugins' settings of one domain, and nothing of its events.",
    )
    return role


def allow(role: aws_iam.Role, actions: Sequence[str], resources: Sequence[str]) -> None:
    role.add_to_policy(aws_iam.PolicyStatement(actions=list(actions), resources=list(resources)))


def _tasks() -> aws_iam.PrincipalBase:
    """ECS for this account's tasks, and not for another's that would name our role."""
    return aws_iam.ServicePrincipal(
        "ecs-tasks.amazonaws.com",
        conditions={
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": f"arn:{Aws.PARTITION}:ecs:{Aws.REGION}:{Aws.ACCOUNT_ID}:*"},
        },
    )
