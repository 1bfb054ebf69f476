"""The OpenSearch domain, and the function that maps the task roles to their rights in it and sets the lifecycle."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aws_cdk import (
    Aws,
    CustomResource,
    Duration,
    RemovalPolicy,
    aws_ec2,
    aws_iam,
    aws_kms,
    aws_lambda,
    aws_logs,
)
from aws_cdk.aws_opensearchservice import CfnDomain
from constructs import Construct

from infra.aws import roles
from infra.aws.nag import accept, accept_lint
from infra.aws.network import Network
from infra.aws.stages import Stage

ENGINE = "OpenSearch_3.7"
_SETUP = Path(__file__).parent / "domain_setup" / "setup_index.py"
_LOGS = ("ES_APPLICATION_LOGS", "INDEX_SLOW_LOGS", "SEARCH_SLOW_LOGS", "AUDIT_LOGS")


class Index(Construct):
    def __init__(
        self,
        scope: Construct,
        id_: str,
        stage: Stage,
        network: Network,
        key: aws_kms.Key,
        users: Sequence[aws_iam.Role],
    ) -> None:
        super().__init__(scope, id_)
        master = roles.setup_role(self, stage)
        self.domain = self._domain(stage, network, key, master, users)
        self._setup(stage, network, master, users)

    def _domain(
        self, stage: Stage, network: Network, key: aws_kms.Key, master: aws_iam.Role, users: Sequence[aws_iam.Role]
    ) -> CfnDomain:
        size = stage.domain
        subnets = network.vpc.select_subnets(subnet_type=aws_ec2.SubnetType.PRIVATE_ISOLATED).subnet_ids
        allowed = aws_iam.PolicyStatement(
            principals=[aws_iam.ArnPrincipal(role.role_arn) for role in (master, *users)],
            actions=["es:ESHttp*"],
            resources=[f"{roles.arn('es', f'domain/{roles.domain_name(stage)}')}/*"],
        )
        domain = CfnDomain(
            self,
            "Domain",
            domain_name=roles.domain_name(stage),
            engine_version=ENGINE,
            cluster_config=CfnDomain.ClusterConfigProperty(
                instance_type=size.node,
                instance_count=size.nodes,
                dedicated_master_enabled=size.managers > 0,
                dedicated_master_type=size.manager,
                dedicated_master_count=size.managers or None,
                zone_awareness_enabled=True,
                zone_awareness_config=CfnDomain.ZoneAwarenessConfigProperty(availability_zone_count=stage.zones),
            ),
            ebs_options=CfnDomain.EBSOptionsProperty(ebs_enabled=True, volume_type="gp3", volume_size=size.gib),
            vpc_options=CfnDomain.VPCOptionsProperty(
                subnet_ids=subnets[: stage.zones], security_group_ids=[network.index.security_group_id]
            ),
            encryption_at_rest_options=CfnDomain.EncryptionAtRestOptionsProperty(enabled=True, kms_key_id=key.key_id),
            node_to_node_encryption_options=CfnDomain.NodeToNodeEncryptionOptionsProperty(enabled=True),
            domain_endpoint_options=CfnDomain.DomainEndpointOptionsProperty(
                enforce_https=True, tls_security_policy="Policy-Min-TLS-1-2-PFS-2023-10"
            ),
            advanced_security_options=CfnDomain.AdvancedSecurityOptionsInputProperty(
                enabled=True,
                internal_user_database_enabled=False,
                master_user_options=CfnDomain.MasterUserOptionsProperty(master_user_arn=master.role_arn),
            ),
            # A line of a bulk that names an index could otherwise reach another tenant's.
            advanced_options={"rest.action.multi.allow_explicit_index": "false"},
            access_policies={"Version": "2012-10-17", "Statement": [allowed.to_statement_json()]},
            log_publishing_options=self._logs(stage),
            off_peak_window_options=CfnDomain.OffPeakWindowOptionsProperty(enabled=True),
            software_update_options=CfnDomain.SoftwareUpdateOptionsProperty(auto_software_update_enabled=True),
        )
        domain.node.add_dependency(self._log_policy(stage))
        domain.apply_removal_policy(RemovalPolicy.RETAIN if stage.protected else RemovalPolicy.DESTROY)
        accept(
            domain,
            "AwsSolutions-OS3",
            "The domain has no public address: it is in isolated subnets, its security group lets the services in, and "
            "its policy names their roles. Addresses of instances that come and go could not be listed.",
        )
        if not size.managers:
            accept(
                domain,
                "AwsSolutions-OS4",
                "Development has two small data nodes that elect among themselves; three managers would treble its "
                "price. Its index can be rebuilt from the store at any time.",
            )
        return domain

    def _logs(self, stage: Stage) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for kind in _LOGS:
            group = aws_logs.LogGroup(
                self,
                kind.title().replace("_", ""),
                log_group_name=f"/ocelot/{stage.name}/index/{kind.lower()}",
                retention=aws_logs.RetentionDays.ONE_MONTH,
                removal_policy=RemovalPolicy.DESTROY,
            )
            options[kind] = CfnDomain.LogPublishingOptionProperty(
                enabled=True, cloud_watch_logs_log_group_arn=group.log_group_arn
            )
        return options

    def _log_policy(self, stage: Stage) -> aws_logs.ResourcePolicy:
        return aws_logs.ResourcePolicy(
            self,
            "Publish",
            resource_policy_name=f"ocelot-{stage.name}-index",
            policy_statements=[
                aws_iam.PolicyStatement(
                    principals=[aws_iam.ServicePrincipal("es.amazonaws.com")],
                    actions=["logs:CreateLogStream", "logs:PutLogEvents"],
                    resources=[roles.arn("logs", f"log-group:/ocelot/{stage.name}/index/*")],
                    conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
                )
            ],
        )

    def _setup(self, stage: Stage, network: Network, master: aws_iam.Role, users: Sequence[aws_iam.Role]) -> None:
        function = aws_lambda.Function(
            self,
            "Setup",
            function_name=f"ocelot-{stage.name}-index-setup",
            description="Maps the task roles to their rights in the index, and sets its lifecycle",
            runtime=aws_lambda.Runtime.PYTHON_3_14,
            handler="setup_index.handler",
            code=aws_lambda.Code.from_asset(str(_SETUP.parent), exclude=["__pycache__"]),
            role=master.without_policy_updates(),
            vpc=network.vpc,
            vpc_subnets=aws_ec2.SubnetSelection(subnet_type=aws_ec2.SubnetType.PRIVATE_WITH_EGRESS),
            security_groups=[network.setup],
            timeout=Duration.minutes(2),
            environment={"INDEX_URL": f"https://{self.domain.attr_domain_endpoint}"},
            log_group=aws_logs.LogGroup(
                self,
                "SetupLog",
                log_group_name=f"/ocelot/{stage.name}/index/setup",
                retention=aws_logs.RetentionDays.ONE_MONTH,
                removal_policy=RemovalPolicy.DESTROY,
            ),
        )
        made = function.node.default_child
        assert isinstance(made, aws_lambda.CfnFunction)  # noqa: S101 - what the CDK makes of it
        accept_lint(
            made,
            "W3005",
            "The CDK lets a function wait for its role and for the policy of that role; one of both is superfluous.",
        )
        CustomResource(
            self,
            "Rights",
            service_token=function.function_arn,
            resource_type="Custom::OcelotIndexRights",
            # A change of these calls the function again.
            properties={
                "Version": hashlib.sha256(_SETUP.read_bytes()).hexdigest(),
                "Roles": [role.role_arn for role in users],
            },
        )
