"""What holds events and outlives any deployment: queue, index, archive, images' repositories; and who may use them."""

from __future__ import annotations

from typing import Any

from aws_cdk import Aws, Duration, RemovalPolicy, Stack, aws_ecr, aws_iam, aws_kms, aws_s3, aws_sqs, aws_ssm
from constructs import Construct

from infra.aws import containers, roles
from infra.aws.containers import CONTAINERS
from infra.aws.index import Index
from infra.aws.nag import accept
from infra.aws.network import Network
from infra.aws.pipeline import Pipeline
from infra.aws.stages import Stage

MAX_RECEIVES = 100
"""Dead letters are for what cannot be decoded: an outage of hours must not make any."""


class Data(Stack):
    def __init__(self, scope: Construct, id_: str, stage: Stage, network: Network, **kwargs: Any) -> None:
        super().__init__(scope, id_, **kwargs)
        self._kept = RemovalPolicy.RETAIN if stage.protected else RemovalPolicy.DESTROY
        self.key = self._key(stage)
        self.task_roles = {c.name: roles.task_role(self, stage, c, self.key.key_arn) for c in CONTAINERS}
        self.execution_roles = {c.name: roles.execution_role(self, stage, c, self.key.key_arn) for c in CONTAINERS}
        self.queue, self.dead = self._queues(stage)
        self.logs = self._log_bucket(stage)
        self.archive = self._archive(stage)
        for container in CONTAINERS:
            self._repository(container.repository)
        Pipeline(self, "Pipeline", stage)
        self.index = Index(self, "Index", stage, network, self.key, list(self.task_roles.values()))
        # No secret, since requests are signed; in the Parameter Store because the setting could hold a password.
        aws_ssm.StringParameter(
            self,
            "IndexUrl",
            parameter_name=containers.parameter(stage.name, containers.OPENSEARCH_URL),
            string_value=f"https://{self.index.domain.attr_domain_endpoint}",
            description="URL of Ocelot's OpenSearch domain",
        )

    def _key(self, stage: Stage) -> aws_kms.Key:
        key = aws_kms.Key(
            self,
            "Key",
            alias=f"alias/ocelot-{stage.name}",
            description="Ocelot: queue, index, archive, secrets",
            enable_key_rotation=True,
            removal_policy=self._kept,
        )
        # Alarms are published to a topic that is encrypted with this key.
        key.add_to_resource_policy(
            aws_iam.PolicyStatement(
                principals=[aws_iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["kms:Decrypt", "kms:GenerateDataKey"],
                resources=["*"],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        return key

    def _queues(self, stage: Stage) -> tuple[aws_sqs.Queue, aws_sqs.Queue]:
        """SQS's own retention is at its most: what no consumer takes in 14 days is lost, hence the alarm on its age."""
        name = roles.queue_name(stage)
        common: dict[str, Any] = {
            "encryption": aws_sqs.QueueEncryption.KMS,
            "encryption_master_key": self.key,
            # A data key serves an hour: at 5 minutes the calls to KMS would cost more than the messages.
            "data_key_reuse": Duration.hours(1),
            "enforce_ssl": True,
            "retention_period": Duration.days(14),
            "removal_policy": self._kept,
        }
        dead = aws_sqs.Queue(self, "Dead", queue_name=f"{name}-dead", **common)
        queue = aws_sqs.Queue(
            self,
            "Events",
            queue_name=name,
            visibility_timeout=Duration.seconds(120),
            receive_message_wait_time=Duration.seconds(20),
            dead_letter_queue=aws_sqs.DeadLetterQueue(queue=dead, max_receive_count=MAX_RECEIVES),
            **common,
        )
        return queue, dead

    def _archive(self, stage: Stage) -> aws_s3.Bucket:
        """Locks are put on each archived file by the consumer (`ARCHIVE_LOCK_DAYS`), since exports are to go sooner."""
        after = aws_s3.Transition
        return aws_s3.Bucket(
            self,
            "Archive",
            bucket_name=roles.bucket_name(stage),
            versioned=True,
            object_lock_enabled=True,
            encryption=aws_s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            block_public_access=aws_s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=aws_s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            server_access_logs_bucket=self.logs,
            server_access_logs_prefix="archive/",
            removal_policy=self._kept,
            lifecycle_rules=[
                aws_s3.LifecycleRule(
                    id="colder",
                    transitions=[
                        after(storage_class=aws_s3.StorageClass.INFREQUENT_ACCESS, transition_after=Duration.days(30)),
                        after(
                            storage_class=aws_s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
                            transition_after=Duration.days(90),
                        ),
                    ],
                ),
                # What was removed or replaced is a version for a while, and then gone: an erasure is complete then.
                aws_s3.LifecycleRule(
                    id="gone",
                    noncurrent_version_expiration=Duration.days(30),
                    expired_object_delete_marker=True,
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                ),
            ],
        )

    def _log_bucket(self, stage: Stage) -> aws_s3.Bucket:
        """Who asked the load balancer and the archive for what. The former writes to no bucket with a KMS key."""
        bucket = aws_s3.Bucket(
            self,
            "Logs",
            bucket_name=f"ocelot-{stage.name}-logs-{Aws.ACCOUNT_ID}-{Aws.REGION}",
            encryption=aws_s3.BucketEncryption.S3_MANAGED,
            block_public_access=aws_s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=aws_s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            removal_policy=self._kept,
            lifecycle_rules=[aws_s3.LifecycleRule(id="gone", expiration=Duration.days(stage.log_days))],
        )
        bucket.add_to_resource_policy(
            aws_iam.PolicyStatement(
                principals=[aws_iam.ServicePrincipal("logdelivery.elasticloadbalancing.amazonaws.com")],
                actions=["s3:PutObject"],
                resources=[bucket.arn_for_objects(f"balancer/AWSLogs/{Aws.ACCOUNT_ID}/*")],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        accept(
            bucket, "AwsSolutions-S1", "It holds the access logs itself: a log of the logs would have to end somewhere."
        )
        return bucket

    def _repository(self, name: str) -> None:
        """A commit's tag is never moved; `latest` is."""
        aws_ecr.Repository(
            self,
            name.title().replace("-", ""),
            repository_name=name,
            image_scan_on_push=True,
            encryption=aws_ecr.RepositoryEncryption.KMS,
            encryption_key=self.key,
            image_tag_mutability=aws_ecr.TagMutability.IMMUTABLE_WITH_EXCLUSION,
            image_tag_mutability_exclusion_filters=[aws_ecr.ImageTagMutabilityExclusionFilter.wildcard("latest")],
            removal_policy=self._kept,
            lifecycle_rules=[
                aws_ecr.LifecycleRule(
                    rule_priority=1,
                    description="images without a tag",
                    tag_status=aws_ecr.TagStatus.UNTAGGED,
                    max_image_age=Duration.days(7),
                ),
                aws_ecr.LifecycleRule(
                    rule_priority=2,
                    description="all but the last 100",
                    tag_status=aws_ecr.TagStatus.ANY,
                    max_image_count=100,
                ),
            ],
        )
