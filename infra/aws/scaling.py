"""How many tasks there are: the API's by its requests and CPU, the consumer's by the backlog that each task has."""

from __future__ import annotations

from typing import Final

from aws_cdk import Duration, aws_ecs, aws_sqs
from aws_cdk.aws_applicationautoscaling import CfnScalingPolicy

from infra.aws import containers
from infra.aws.balancer import Balancer
from infra.aws.containers import CONSUMER
from infra.aws.stages import Stage

CPU_PERCENT: Final = 60
_Policy: Final = CfnScalingPolicy


def scale_api(service: aws_ecs.Ec2Service, balancer: Balancer, stage: Stage) -> None:
    tasks = service.auto_scale_task_count(min_capacity=stage.api.least, max_capacity=stage.api.most)
    slow, soon = Duration.minutes(5), Duration.minutes(1)
    tasks.scale_on_request_count(
        "Requests",
        requests_per_target=stage.requests_per_target,
        target_group=balancer.target,
        scale_in_cooldown=slow,
        scale_out_cooldown=soon,
    )
    tasks.scale_on_cpu_utilization(
        "Cpu", target_utilization_percent=CPU_PERCENT, scale_in_cooldown=slow, scale_out_cooldown=soon
    )


def scale_consumer(service: aws_ecs.Ec2Service, queue: aws_sqs.Queue, stage: Stage) -> None:
    """Target tracking over metric math, which the CDK's own method does not know: messages waiting, a running task."""
    tasks = service.auto_scale_task_count(min_capacity=stage.consumer.least, max_capacity=stage.consumer.most)
    # A second scalable target of the same service would be refused; the policy belongs to the one that is there.
    target = tasks.node.find_child("Target")
    _Policy(
        tasks,
        "Backlog",
        policy_name=f"ocelot-{stage.name}-backlog-per-task",
        policy_type="TargetTrackingScaling",
        scaling_target_id=target.scalable_target_id,
        target_tracking_scaling_policy_configuration=_Policy.TargetTrackingScalingPolicyConfigurationProperty(
            target_value=stage.backlog_per_task,
            scale_in_cooldown=300,
            scale_out_cooldown=60,
            customized_metric_specification=_Policy.CustomizedMetricSpecificationProperty(
                metrics=[
                    _metric(
                        "waiting", "AWS/SQS", "ApproximateNumberOfMessagesVisible", "Sum", QueueName=queue.queue_name
                    ),
                    _metric(
                        "running",
                        "ECS/ContainerInsights",
                        "RunningTaskCount",
                        "Average",
                        ClusterName=containers.CLUSTER,
                        ServiceName=CONSUMER.service,
                    ),
                    _Policy.TargetTrackingMetricDataQueryProperty(
                        id="backlog",
                        label="messages waiting for each task",
                        # With no task at all the whole backlog is one's.
                        expression="IF(running > 0, waiting / running, waiting)",
                        return_data=True,
                    ),
                ]
            ),
        ),
    )


def _metric(id_: str, namespace: str, name: str, stat: str, **dimensions: str) -> object:
    return _Policy.TargetTrackingMetricDataQueryProperty(
        id=id_,
        return_data=False,
        metric_stat=_Policy.TargetTrackingMetricStatProperty(
            stat=stat,
            metric=_Policy.TargetTrackingMetricProperty(
                namespace=namespace,
                metric_name=name,
                dimensions=[
                    _Policy.TargetTrackingMetricDimensionProperty(name=key, value=value)
                    for key, value in dimensions.items()
                ],
            ),
        ),
    )
