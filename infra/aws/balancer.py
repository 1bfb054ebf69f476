"""The load balancer of the API: TLS, health, and what is kept of each request."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, Stack, aws_ec2, aws_ecs, aws_s3
from aws_cdk import aws_elasticloadbalancingv2 as elb
from constructs import Construct

from infra.aws.containers import API
from infra.aws.network import Network
from infra.aws.stages import Stage

IDLE_SECONDS = 60
"""The API keeps idle connections for longer (`OCELOT_KEEP_ALIVE`), and a stream's heartbeat comes sooner."""


class Balancer(Construct):
    def __init__(
        self,
        scope: Construct,
        id_: str,
        stage: Stage,
        network: Network,
        logs: aws_s3.Bucket,
        api: aws_ecs.Ec2Service,
        certificate: str,
    ) -> None:
        super().__init__(scope, id_)
        self.balancer = elb.ApplicationLoadBalancer(
            self,
            "Balancer",
            load_balancer_name=f"ocelot-{stage.name}",
            vpc=network.vpc,
            internet_facing=True,
            vpc_subnets=aws_ec2.SubnetSelection(subnet_type=aws_ec2.SubnetType.PUBLIC),
            security_group=network.balancer,
            drop_invalid_header_fields=True,
            desync_mitigation_mode=elb.DesyncMitigationMode.STRICTEST,
            idle_timeout=Duration.seconds(IDLE_SECONDS),
            deletion_protection=stage.protected,
        )
        for name, value in (("enabled", "true"), ("bucket", logs.bucket_name), ("prefix", "balancer")):
            self.balancer.set_attribute(f"access_logs.s3.{name}", value)
        self.target = elb.ApplicationTargetGroup(
            self,
            "Api",
            target_group_name=f"ocelot-{stage.name}-api",
            vpc=network.vpc,
            target_type=elb.TargetType.INSTANCE,
            protocol=elb.ApplicationProtocol.HTTP,
            # The container's port is any; this one stands for none.
            port=80,
            targets=[api.load_balancer_target(container_name=API.name, container_port=API.port)],
            deregistration_delay=Duration.seconds(30),
            load_balancing_algorithm_type=elb.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS,
            # Alive, not ready: with a database away for a minute, every task would be killed and started again.
            health_check=elb.HealthCheck(
                path="/api/v1/health",
                port="traffic-port",
                healthy_http_codes="200",
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )
        self.balancer.add_listener(
            "Https",
            port=443,
            protocol=elb.ApplicationProtocol.HTTPS,
            certificates=[elb.ListenerCertificate.from_arn(certificate)],
            ssl_policy=elb.SslPolicy.TLS13_RES,
            open=False,
            default_target_groups=[self.target],
        )
        self.balancer.add_listener(
            "Http",
            port=80,
            protocol=elb.ApplicationProtocol.HTTP,
            open=False,
            default_action=elb.ListenerAction.redirect(protocol="HTTPS", port="443", permanent=True),
        )
        CfnOutput(
            Stack.of(self),
            "BalancerName",
            value=self.balancer.load_balancer_dns_name,
            description="What the API's name has to lead to",
        )
