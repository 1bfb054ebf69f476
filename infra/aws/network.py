"""The network: public subnets for the load balancer alone, private ones for instances, isolated ones for the index."""

from __future__ import annotations

from typing import Any

from aws_cdk import Fn, RemovalPolicy, Stack, aws_ec2, aws_logs
from constructs import Construct

from infra.aws.nag import accept
from infra.aws.stages import Stage

MONGODB_PORTS = (27015, 27017)
"""27017 for a replica set; Atlas' mongos and its private endpoints use the others."""
_ENDPOINTS = {
    "Sqs": aws_ec2.InterfaceVpcEndpointAwsService.SQS,
    "Logs": aws_ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Ecr": aws_ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": aws_ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Ssm": aws_ec2.InterfaceVpcEndpointAwsService.SSM,
}


class Network(Stack):
    def __init__(self, scope: Construct, id_: str, stage: Stage, **kwargs: Any) -> None:
        super().__init__(scope, id_, **kwargs)
        kinds = aws_ec2.SubnetType
        self.vpc = aws_ec2.Vpc(
            self,
            "Vpc",
            vpc_name=f"ocelot-{stage.name}",
            ip_addresses=aws_ec2.IpAddresses.cidr(stage.cidr),
            availability_zones=[Fn.select(number, Fn.get_azs()) for number in range(stage.zones)],
            nat_gateways=stage.nat_gateways,
            restrict_default_security_group=False,
            subnet_configuration=[
                aws_ec2.SubnetConfiguration(
                    name="public", subnet_type=kinds.PUBLIC, cidr_mask=24, map_public_ip_on_launch=False
                ),
                aws_ec2.SubnetConfiguration(name="private", subnet_type=kinds.PRIVATE_WITH_EGRESS, cidr_mask=20),
                aws_ec2.SubnetConfiguration(name="index", subnet_type=kinds.PRIVATE_ISOLATED, cidr_mask=24),
            ],
        )
        self._log_flows(stage)
        self._groups()
        self.vpc.add_gateway_endpoint("S3", service=aws_ec2.GatewayVpcEndpointAwsService.S3)
        if stage.endpoints:
            self._endpoints()

    def _log_flows(self, stage: Stage) -> None:
        group = aws_logs.LogGroup(
            self,
            "Flows",
            log_group_name=f"/ocelot/{stage.name}/flows",
            retention=aws_logs.RetentionDays.ONE_MONTH,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.vpc.add_flow_log(
            "FlowLog",
            destination=aws_ec2.FlowLogDestination.to_cloud_watch_logs(group),
            traffic_type=aws_ec2.FlowLogTrafficType.REJECT,
        )

    def _groups(self) -> None:
        """Who may speak to whom; nothing else leaves or enters."""
        tcp = aws_ec2.Port.tcp
        self.balancer = self._group("Balancer", "the load balancer")
        self.instances = self._group("Instances", "the instances and their containers")
        self.setup = self._group("Setup", "what sets up the index")
        self.index = self._group("Index", "the OpenSearch domain")
        for port in (80, 443):
            self.balancer.add_ingress_rule(aws_ec2.Peer.any_ipv4(), tcp(port), "clients")
        accept(
            self.balancer,
            "AwsSolutions-EC23",
            "The API's load balancer is there for everyone; each request needs a token, and port 80 only redirects.",
        )
        # Docker's dynamic ports.
        self.balancer.add_egress_rule(self.instances, aws_ec2.Port.tcp_range(32768, 65535), "containers")
        self.instances.add_ingress_rule(self.balancer, aws_ec2.Port.tcp_range(32768, 65535), "the load balancer")
        self.instances.add_egress_rule(aws_ec2.Peer.any_ipv4(), tcp(443), "AWS, and the keys of other issuers")
        self.instances.add_egress_rule(aws_ec2.Peer.any_ipv4(), aws_ec2.Port.tcp_range(*MONGODB_PORTS), "MongoDB, TLS")
        self.setup.add_egress_rule(aws_ec2.Peer.any_ipv4(), tcp(443), "the domain, and CloudFormation's answer")
        for peer, who in ((self.instances, "the services"), (self.setup, "its setup")):
            self.index.add_ingress_rule(peer, tcp(443), who)

    def _group(self, name: str, description: str) -> aws_ec2.SecurityGroup:
        return aws_ec2.SecurityGroup(
            self, name, vpc=self.vpc, description=f"Ocelot: {description}", allow_all_outbound=False
        )

    def _endpoints(self) -> None:
        group = self._group("Endpoints", "endpoints of AWS")
        group.add_ingress_rule(self.instances, aws_ec2.Port.tcp(443), "the instances and their containers")
        for name, service in _ENDPOINTS.items():
            self.vpc.add_interface_endpoint(name, service=service, security_groups=[group], open=False)
