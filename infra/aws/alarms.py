"""What wakes somebody, and the page that they look at."""

from __future__ import annotations

from aws_cdk import Aws, Duration, aws_cloudwatch, aws_cloudwatch_actions, aws_ecs, aws_iam, aws_sns
from aws_cdk.aws_elasticloadbalancingv2 import HttpCodeElb, HttpCodeTarget
from constructs import Construct

from infra.aws import roles
from infra.aws.balancer import Balancer
from infra.aws.data import Data
from infra.aws.stages import Stage

_MINUTE = Duration.minutes(1)
_OVER = aws_cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD
_QUIET = aws_cloudwatch.TreatMissingData.NOT_BREACHING
_ALARM = aws_cloudwatch.TreatMissingData.BREACHING
Graphs = dict[str, list[aws_cloudwatch.IMetric]]
"""By title, what the page shows."""


class Alarms(Construct):
    def __init__(
        self,
        scope: Construct,
        id_: str,
        stage: Stage,
        data: Data,
        balancer: Balancer,
        api: aws_ecs.Ec2Service,
        consumer: aws_ecs.Ec2Service,
    ) -> None:
        super().__init__(scope, id_)
        self._stage = stage
        self.topic = self._topic(data)
        self._page(
            self._of_queue(data)
            | self._of_api(balancer)
            | {
                "CPU": [each.metric_cpu_utilization(period=_MINUTE) for each in (api, consumer)],
                "Memory": [each.metric_memory_utilization(period=_MINUTE) for each in (api, consumer)],
            }
            | self._of_index(stage)
        )

    def _topic(self, data: Data) -> aws_sns.Topic:
        topic = aws_sns.Topic(
            self, "Topic", topic_name=f"ocelot-{self._stage.name}-alarms", master_key=data.key, enforce_ssl=True
        )
        # A policy of one's own, such as the one that wants TLS, takes the place of the topic's default.
        topic.add_to_resource_policy(
            aws_iam.PolicyStatement(
                principals=[aws_iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                actions=["sns:Publish"],
                resources=[topic.topic_arn],
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            )
        )
        return topic

    def _of_queue(self, data: Data) -> Graphs:
        queue = data.queue
        age = queue.metric_approximate_age_of_oldest_message(period=_MINUTE, statistic="Maximum")
        waiting = queue.metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="Maximum")
        gone = queue.metric_number_of_messages_deleted(period=_MINUTE, statistic="Sum")
        letters = data.dead.metric_approximate_number_of_messages_visible(period=_MINUTE, statistic="Maximum")
        lag = aws_cloudwatch.MathExpression(
            expression="IF(gone > 0, 60 * waiting / gone, IF(waiting > 0, 3600, 0))",
            using_metrics={"waiting": waiting, "gone": gone},
            period=_MINUTE,
            label="seconds to work off the queue",
        )
        self._alarm("DeadLetters", letters, 0, 1, "A message was received 100 times and not taken: docs/aws.md")
        self._alarm("OldestMessage", age, 300, 5, "An accepted event has waited for its storing for five minutes")
        self._alarm("Lag", lag, 120, 5, "At its present pace the consumer needs over two minutes for what waits")
        return {"Events waiting": [waiting, letters], "Seconds": [age, lag]}

    def _of_api(self, balancer: Balancer) -> Graphs:
        own, target = balancer.balancer.metrics, balancer.target.metrics
        faults = aws_cloudwatch.MathExpression(
            # What found no task to go to is answered 503 and is not among those asked.
            expression="IF(FILL(asked, 0) + FILL(own, 0) > 0, "
            "100 * (FILL(own, 0) + FILL(theirs, 0)) / (FILL(asked, 0) + FILL(own, 0)), 0)",
            using_metrics={
                "own": own.http_code_elb(HttpCodeElb.ELB_5XX_COUNT, period=_MINUTE),
                "theirs": own.http_code_target(HttpCodeTarget.TARGET_5XX_COUNT, period=_MINUTE),
                "asked": own.request_count(period=_MINUTE),
            },
            period=_MINUTE,
            label="percent of answers that are 5xx",
        )
        unhealthy = target.unhealthy_host_count(period=_MINUTE, statistic="Maximum")
        self._alarm("Faults", faults, 1, 5, "More than one answer in a hundred is a 5xx")
        healthy = target.healthy_host_count(period=_MINUTE, statistic="Maximum")
        low = aws_cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
        # Where no task is left at all, there are no figures either.
        self._alarm("Down", healthy, 1, 2, "No task of the API is healthy: nobody is answered", how=low, without=_ALARM)
        self._alarm("Unhealthy", unhealthy, 0, 5, "A task of the API does not answer its health check")
        return {
            "API": [faults, unhealthy, healthy, own.request_count(period=_MINUTE)],
            "API: time to answer": [
                target.target_response_time(period=_MINUTE, statistic=statistic) for statistic in ("p50", "p99")
            ],
        }

    def _of_index(self, stage: Stage) -> Graphs:
        rejected = aws_cloudwatch.MathExpression(
            # Each counts from its node's start, so what is new is the difference.
            expression="DIFF(FILL(threads, 0) + FILL(primary, 0) + FILL(coordinating, 0) + FILL(replica, 0))",
            using_metrics={
                "threads": self._domain("ThreadpoolWriteRejected", "Sum"),
                "primary": self._domain("PrimaryWriteRejected", "Sum"),
                "coordinating": self._domain("CoordinatingWriteRejected", "Sum"),
                "replica": self._domain("ReplicaWriteRejected", "Sum"),
            },
            period=_MINUTE,
            label="writes that the index rejected",
        )
        red = self._domain("ClusterStatus.red", "Maximum")
        blocked = self._domain("ClusterIndexWritesBlocked", "Maximum")
        space = self._domain("FreeStorageSpace", "Minimum")
        heap = self._domain("JVMMemoryPressure", "Maximum")
        self._alarm("IndexRejections", rejected, 0, 5, "The index rejects writes: it is too small or too busy")
        self._alarm("IndexRed", red, 0, 2, "An index has lost a shard")
        self._alarm("IndexBlocked", blocked, 0, 2, "The domain takes no writes: its disks are nearly full")
        self._alarm("IndexHeap", heap, 92, 15, "The domain's heap is nearly full")
        low = aws_cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD
        mib = stage.domain.gib * 1024 * 0.2
        self._alarm("IndexSpace", space, mib, 15, "A data node has less than a fifth of its disk left", how=low)
        return {"Index": [rejected, red, blocked], "Index: heap and space": [heap, space]}

    def _domain(self, name: str, statistic: str) -> aws_cloudwatch.Metric:
        return aws_cloudwatch.Metric(
            namespace="AWS/ES",
            metric_name=name,
            dimensions_map={"DomainName": roles.domain_name(self._stage), "ClientId": Aws.ACCOUNT_ID},
            statistic=statistic,
            period=_MINUTE,
        )

    def _alarm(
        self,
        name: str,
        metric: aws_cloudwatch.IMetric,
        threshold: float,
        minutes: int,
        meaning: str,
        *,
        how: aws_cloudwatch.ComparisonOperator = _OVER,
        without: aws_cloudwatch.TreatMissingData = _QUIET,
    ) -> None:
        """Rings after `minutes` on end beyond the threshold; where nobody asks, no figures are no alarm, but for
        those that `without` any are."""
        alarm = aws_cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"ocelot-{self._stage.name}-{name}",
            alarm_description=meaning,
            metric=metric,
            threshold=threshold,
            evaluation_periods=minutes,
            comparison_operator=how,
            treat_missing_data=without,
        )
        action = aws_cloudwatch_actions.SnsAction(self.topic)
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)

    def _page(self, graphs: Graphs) -> None:
        page = aws_cloudwatch.Dashboard(self, "Dashboard", dashboard_name=f"ocelot-{self._stage.name}")
        widgets = [aws_cloudwatch.GraphWidget(title=title, left=metrics, width=12) for title, metrics in graphs.items()]
        for first, second in zip(widgets[::2], widgets[1::2], strict=True):
            page.add_widgets(first, second)
