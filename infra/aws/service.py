"""What runs: the cluster on instances, the API behind its load balancer, the consumer, and how each grows."""

from __future__ import annotations

from typing import Any

from aws_cdk import (
    CfnParameter,
    Duration,
    RemovalPolicy,
    Stack,
    aws_ecs,
    aws_logs,
)
from constructs import Construct

from infra.aws import containers
from infra.aws.alarms import Alarms
from infra.aws.balancer import Balancer
from infra.aws.capacity import capacity
from infra.aws.containers import API, CONSUMER, CONTAINERS
from infra.aws.data import Data
from infra.aws.network import Network
from infra.aws.scaling import scale_api, scale_consumer
from infra.aws.stages import Stage
from infra.aws.tasks import Task


class Service(Stack):
    def __init__(self, scope: Construct, id_: str, stage: Stage, network: Network, data: Data, **kwargs: Any) -> None:
        super().__init__(scope, id_, **kwargs)
        self.stage = stage
        self.tag = CfnParameter(
            self,
            "ImageTag",
            description="Tag of both images, as the pipeline pushed them: the commit",
            allowed_pattern="[A-Za-z0-9_][A-Za-z0-9._-]{0,127}",
        )
        self.domain = CfnParameter(
            self,
            "DomainName",
            description="Name by which clients reach the API, such as ocelot.example.com",
            allowed_pattern="[a-z0-9-]+(\\.[a-z0-9-]+)+",
        )
        self.certificate = CfnParameter(
            self,
            "CertificateArn",
            description="ARN of the certificate of that name, in AWS Certificate Manager",
            allowed_pattern="arn:aws[a-z-]*:acm:.+",
        )
        self.cluster = self._cluster(network)
        self.capacity = capacity(self, stage, network)
        self.cluster.add_asg_capacity_provider(self.capacity)
        self.tasks = {each.name: Task(self, each.name.title(), stage, each, data, self) for each in CONTAINERS}
        api = self._service(self.tasks[API.name], grace=Duration.seconds(120))
        consumer = self._service(self.tasks[CONSUMER.name])
        balancer = Balancer(self, "Balancer", stage, network, data.logs, api, self.certificate.value_as_string)
        scale_api(api, balancer, stage)
        scale_consumer(consumer, data.queue, stage)
        Alarms(self, "Alarms", stage, data, balancer, api, consumer)

    @property
    def public_url(self) -> str:
        return f"https://{self.domain.value_as_string}"

    @property
    def image_tag(self) -> str:
        return str(self.tag.value_as_string)

    def log_group(self, name: str) -> aws_logs.LogGroup:
        days = {30: aws_logs.RetentionDays.ONE_MONTH, 365: aws_logs.RetentionDays.ONE_YEAR}
        return aws_logs.LogGroup(
            self,
            f"{name.title()}Log",
            log_group_name=f"/ocelot/{self.stage.name}/{name}",
            retention=days[self.stage.log_days],
            removal_policy=RemovalPolicy.RETAIN if self.stage.protected else RemovalPolicy.DESTROY,
        )

    def _cluster(self, network: Network) -> aws_ecs.Cluster:
        return aws_ecs.Cluster(
            self,
            "Cluster",
            cluster_name=containers.CLUSTER,
            vpc=network.vpc,
            # The consumer's scaling asks it for the number of tasks.
            container_insights_v2=aws_ecs.ContainerInsights.ENABLED,
        )

    def _service(self, task: Task, *, grace: Duration | None = None) -> aws_ecs.Ec2Service:
        """How many tasks it has is the scaling's alone: a number here would undo it at each deployment."""
        container = task.container
        return aws_ecs.Ec2Service(
            self,
            f"{container.name.title()}Service",
            service_name=container.service,
            cluster=self.cluster,
            task_definition=task.definition,
            min_healthy_percent=100,
            max_healthy_percent=200,
            health_check_grace_period=grace,
            circuit_breaker=aws_ecs.DeploymentCircuitBreaker(enable=True, rollback=True),
            capacity_provider_strategies=[
                aws_ecs.CapacityProviderStrategy(capacity_provider=self.capacity.capacity_provider_name, weight=1)
            ],
            placement_strategies=[
                aws_ecs.PlacementStrategy.spread_across("attribute:ecs.availability-zone"),
                aws_ecs.PlacementStrategy.spread_across_instances(),
            ],
            availability_zone_rebalancing=aws_ecs.AvailabilityZoneRebalancing.ENABLED,
            enable_ecs_managed_tags=True,
            propagate_tags=aws_ecs.PropagatedTagSource.SERVICE,
        )
