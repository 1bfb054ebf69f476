"""The instances that the cluster's tasks run on; they come and go with the tasks."""

from __future__ import annotations

from aws_cdk import Aws, aws_autoscaling, aws_ec2, aws_ecs, aws_iam
from constructs import Construct

from infra.aws.nag import accept, accept_each
from infra.aws.network import Network
from infra.aws.stages import Stage

_SESSIONS = "AmazonSSMManagedInstanceCore"


def capacity(scope: Construct, stage: Stage, network: Network) -> aws_ecs.AsgCapacityProvider:
    return aws_ecs.AsgCapacityProvider(
        scope,
        "Capacity",
        capacity_provider_name=f"ocelot-{stage.name}",
        auto_scaling_group=_group(scope, stage, network),
        enable_managed_scaling=True,
        enable_managed_termination_protection=True,
        enable_managed_draining=True,
        target_capacity_percent=90,
    )


def _group(scope: Construct, stage: Stage, network: Network) -> aws_autoscaling.AutoScalingGroup:
    group = aws_autoscaling.AutoScalingGroup(
        scope,
        "Instances",
        auto_scaling_group_name=f"ocelot-{stage.name}",
        vpc=network.vpc,
        vpc_subnets=aws_ec2.SubnetSelection(subnet_type=aws_ec2.SubnetType.PRIVATE_WITH_EGRESS),
        launch_template=_template(scope, stage, network),
        min_capacity=stage.instances.least,
        max_capacity=stage.instances.most,
        new_instances_protected_from_scale_in=True,
        group_metrics=[aws_autoscaling.GroupMetrics.all()],
    )
    accept(
        group,
        "AwsSolutions-AS3",
        "ECS's managed scaling starts and stops instances all the time; what matters of it, the tasks, has alarms.",
    )
    return group


def _template(scope: Construct, stage: Stage, network: Network) -> aws_ec2.LaunchTemplate:
    """A container reaches none of what its instance may do."""
    disk = aws_ec2.BlockDeviceVolume.ebs(30, encrypted=True, volume_type=aws_ec2.EbsDeviceVolumeType.GP3)
    return aws_ec2.LaunchTemplate(
        scope,
        "Template",
        launch_template_name=f"ocelot-{stage.name}",
        instance_type=aws_ec2.InstanceType(stage.instance),
        machine_image=aws_ecs.EcsOptimizedImage.amazon_linux2023(),
        role=_role(scope, stage),
        security_group=network.instances,
        user_data=aws_ec2.UserData.for_linux(),
        require_imdsv2=True,
        # A bridge is one hop: the instance's credentials do not reach a container.
        http_put_response_hop_limit=1,
        detailed_monitoring=stage.protected,
        block_devices=[aws_ec2.BlockDevice(device_name="/dev/xvda", volume=disk)],
    )


def _role(scope: Construct, stage: Stage) -> aws_iam.Role:
    role = aws_iam.Role(
        scope,
        "Instance",
        role_name=f"ocelot-{stage.name}-instance",
        assumed_by=aws_iam.ServicePrincipal("ec2.amazonaws.com"),
        managed_policies=[aws_iam.ManagedPolicy.from_aws_managed_policy_name(_SESSIONS)],
    )
    accept_each(
        role,
        "AwsSolutions-IAM4",
        (f"Policy::arn:{Aws.PARTITION}:iam::aws:policy/{_SESSIONS}",),
        "AWS's own policy for sessions in place of SSH and its keys; it changes with AWS's agent.",
    )
    accept_each(
        role,
        "AwsSolutions-IAM5",
        ("Action::ecs:Submit*", "Resource::*"),
        "What the CDK grants ECS's agent on an instance: states of its own cluster's tasks, and calls that AWS "
        "defines for no resource.",
    )
    return role
