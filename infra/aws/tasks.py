"""A container of `infra.aws.containers` as a task definition of the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aws_cdk import Aws, Duration, Size, aws_ecr, aws_ecs, aws_ssm
from constructs import Construct

from infra.aws import containers
from infra.aws.containers import Container
from infra.aws.data import Data
from infra.aws.nag import accept
from infra.aws.stages import Stage

if TYPE_CHECKING:
    from infra.aws.service import Service


class Task(Construct):
    def __init__(
        self, scope: Construct, id_: str, stage: Stage, container: Container, data: Data, service: Service
    ) -> None:
        super().__init__(scope, id_)
        self.container = container
        self.definition = aws_ecs.TaskDefinition(
            self,
            "Task",
            family=f"ocelot-log-{container.name}",
            compatibility=aws_ecs.Compatibility.EC2,
            network_mode=aws_ecs.NetworkMode.BRIDGE,
            task_role=data.task_roles[container.name].without_policy_updates(),
            execution_role=data.execution_roles[container.name].without_policy_updates(),
        )
        values = containers.of_stage(stage) | {
            "AWS_ACCOUNT_ID": Aws.ACCOUNT_ID,
            "AWS_REGION": Aws.REGION,
            "OCELOT_PUBLIC_URL": service.public_url,
        }
        self._add(stage, containers.environment(values), service)
        accept(
            self.definition,
            "AwsSolutions-ECS2",
            "What is told in the open are settings that are no secrets, from the service's own catalogue; each secret "
            "comes from the Parameter Store, which a test compares.",
        )

    def _add(self, stage: Stage, environment: dict[str, str], service: Service) -> None:
        of = self.container
        repository = aws_ecr.Repository.from_repository_name(self, "Repository", of.repository)
        added = self.definition.add_container(
            of.name,
            container_name=of.name,
            image=aws_ecs.ContainerImage.from_ecr_repository(repository, service.image_tag),
            command=[of.name],
            essential=True,
            cpu=of.cpu,
            memory_limit_mib=of.memory,
            memory_reservation_mib=of.reserved,
            user=containers.USER,
            privileged=False,
            readonly_root_filesystem=True,
            stop_timeout=Duration.seconds(containers.STOP_SECONDS),
            port_mappings=[aws_ecs.PortMapping(container_port=of.port, host_port=0, protocol=aws_ecs.Protocol.TCP)],
            environment=environment,
            secrets={name: self._secret(stage, secret) for name, secret in of.secrets},
            health_check=aws_ecs.HealthCheck(
                command=list(of.health_command),
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                retries=3,
                start_period=Duration.seconds(90),
            ),
            linux_parameters=self._linux(),
            docker_security_options=["no-new-privileges"],
            logging=aws_ecs.LogDriver.aws_logs(
                stream_prefix=of.name,
                log_group=service.log_group(of.name),
                mode=aws_ecs.AwsLogDriverMode.NON_BLOCKING,
                max_buffer_size=Size.mebibytes(8),
            ),
        )
        added.add_ulimits(
            aws_ecs.Ulimit(
                name=aws_ecs.UlimitName.NOFILE, soft_limit=containers.OPEN_FILES, hard_limit=containers.OPEN_FILES
            )
        )

    def _linux(self) -> aws_ecs.LinuxParameters:
        parameters = aws_ecs.LinuxParameters(self, "Linux", init_process_enabled=True)
        parameters.drop_capabilities(aws_ecs.Capability.ALL)
        option = {each.name.lower(): each for each in aws_ecs.TmpfsMountOption}
        parameters.add_tmpfs(
            aws_ecs.Tmpfs(
                container_path=containers.TMP,
                size=containers.TMP_MIB,
                mount_options=[option[each] for each in containers.TMP_OPTIONS],
            )
        )
        return parameters

    def _secret(self, stage: Stage, name: str) -> aws_ecs.Secret:
        return aws_ecs.Secret.from_ssm_parameter(
            aws_ssm.StringParameter.from_secure_string_parameter_attributes(
                self, name.title().replace("-", ""), parameter_name=containers.parameter(stage.name, name)
            )
        )
