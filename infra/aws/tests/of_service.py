"""What runs: the cluster, both services, how they grow, and who is told when they do not."""

from __future__ import annotations

import json
from typing import Any

from infra.aws import task_definitions
from infra.aws.balancer import IDLE_SECONDS
from infra.aws.containers import API, CONSUMER, CONTAINERS, of_stage
from infra.aws.tests.promises import change, drop, promise, put
from infra.aws.tests.templates import Resource, Templates

_P = "Properties"
_PLAIN_KEYS = ("options", "dockerLabels")


def _camel(value: Any, name: str = "") -> Any:
    """A value of CloudFormation in the spelling of ECS's own API."""
    if isinstance(value, list):
        return [_camel(each) for each in value]
    if not isinstance(value, dict):
        return value
    if name in _PLAIN_KEYS:
        return value
    return {(key[0].lower() + key[1:]): _camel(each, key[0].lower() + key[1:]) for key, each in value.items()}


def _container(resource: Resource) -> dict[str, Any]:
    (found,) = resource[_P]["ContainerDefinitions"]
    assert isinstance(found, dict)
    return found


def _set(name: str, value: str) -> Any:
    def how(resource: Resource) -> None:
        next(each for each in _container(resource)["Environment"] if each["Name"] == name)["Value"] = value

    return change("ECS::TaskDefinition", how)


def _in_the_open(resource: Resource) -> None:
    _container(resource)["Environment"].append({"Name": "MONGODB_URL", "Value": "mongodb://x"})


def _less(definition: dict[str, Any]) -> dict[str, Any]:
    """Without what has no order, and what a name says as well as an address."""
    (container,) = definition["containerDefinitions"]
    for name in ("environment", "secrets"):
        container[name] = {each["name"]: each.get("value", each.get("valueFrom")) for each in container[name]}
    return {name: value for name, value in definition.items() if name != "tags"}


@promise(
    _set("OCELOT_LOG_LEVEL", "DEBUG"),
    put("ECS::TaskDefinition", "Properties.NetworkMode", "awsvpc"),
    put("ECS::TaskDefinition", "Properties.ContainerDefinitions.0.PortMappings.0.HostPort", 8000),
    put("ECS::TaskDefinition", "Properties.ContainerDefinitions.0.Memory", 2),
    put("ECS::TaskDefinition", "Properties.ContainerDefinitions.0.ReadonlyRootFilesystem", False),
    put("ECS::TaskDefinition", "Properties.ContainerDefinitions.0.LinuxParameters.Tmpfs", []),
    drop("ECS::TaskDefinition", "Properties.ContainerDefinitions.0.Ulimits"),
    drop("ECS::TaskDefinition", "Properties.ContainerDefinitions.0.User"),
    drop("ECS::TaskDefinition", "Properties.ContainerDefinitions.0.HealthCheck"),
    change("ECS::TaskDefinition", _in_the_open),
    change("ECS::TaskDefinition", lambda each: _container(each)["Secrets"].pop()),
)
def the_tasks_are_those_of_the_files(t: Templates) -> None:
    """Everything that a task definition says is in `.aws/` word for word: limits, ports, settings, secrets."""
    for container in CONTAINERS:
        made = t.one("ECS::TaskDefinition", Family=f"ocelot-log-{container.name}")[_P]
        values = of_stage(t.stage) | {
            "AWS_ACCOUNT_ID": "${AWS_ACCOUNT_ID}",
            "AWS_REGION": "${AWS_REGION}",
            "OCELOT_PUBLIC_URL": "https://<DomainName>",
            "IMAGE": f"${{AWS_ACCOUNT_ID}}.dkr.ecr.${{AWS_REGION}}.amazonaws.com/{container.repository}:<ImageTag>",
        }
        text = task_definitions.path_of(container).read_text(encoding="utf-8")
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", value)
        expected = json.loads(text)
        role = f"ocelot-{t.stage.name}-{container.name}"
        found = _camel(t.plain(made))
        for kind in ("task", "execution"):
            reference = f"<{t.logical_id(t.one('IAM::Role', RoleName=f'{role}-{kind}'))}.Arn>"
            assert found[f"{kind}RoleArn"] == reference
            found[f"{kind}RoleArn"] = f"arn:aws:iam::${{AWS_ACCOUNT_ID}}:role/{role}-{kind}"
        group = f"<{t.logical_id(t.one('Logs::LogGroup', LogGroupName=f'/ocelot/{t.stage.name}/{container.name}'))}>"
        options = found["containerDefinitions"][0]["logConfiguration"]["options"]
        assert options["awslogs-group"] == group
        options["awslogs-group"] = f"/ocelot/{t.stage.name}/{container.name}"
        assert _less(found) == _less(expected)


@promise(_set("SQS_QUEUE_URL", "https://sqs/other"), _set("ARCHIVE_URL", "s3://other"))
def the_settings_name_what_there_is(t: Templates) -> None:
    for container in CONTAINERS:
        made = t.one("ECS::TaskDefinition", Family=f"ocelot-log-{container.name}")
        told = {each["Name"]: each["Value"] for each in t.plain(_container(made)["Environment"])}
        t.one("SQS::Queue", QueueName=told["SQS_QUEUE_URL"].rpartition("/")[2])
        bucket, _, prefix = told["ARCHIVE_URL"].removeprefix("s3://").partition("/")
        t.one("S3::Bucket", BucketName=bucket)
        assert prefix == "archive", "the roles' prefix"
        assert int(told["OCELOT_KEEP_ALIVE"]) > IDLE_SECONDS > float(told["OCELOT_STREAM_HEARTBEAT"])


@promise(
    put("ECS::Cluster", "Properties.ClusterName", "other"),
    put("ECS::Cluster", "Properties.ClusterSettings.0.Value", "disabled"),
    put("ECS::CapacityProvider", "Properties.AutoScalingGroupProvider.ManagedScaling.Status", "DISABLED"),
    put("ECS::CapacityProvider", "Properties.AutoScalingGroupProvider.ManagedTerminationProtection", "DISABLED"),
    put("AutoScaling::AutoScalingGroup", "Properties.MaxSize", "1"),
)
def the_cluster_has_instances_as_its_tasks_need_them(t: Templates) -> None:
    cluster = t.one("ECS::Cluster")[_P]
    assert cluster["ClusterName"] == "ocelot-cluster"
    assert cluster["ClusterSettings"] == [{"Name": "containerInsights", "Value": "enabled"}]
    provider = t.one("ECS::CapacityProvider")[_P]["AutoScalingGroupProvider"]
    assert provider["ManagedScaling"]["Status"] == "ENABLED"
    assert provider["ManagedTerminationProtection"] == "ENABLED"
    assert provider["ManagedDraining"] == "ENABLED"
    group = t.one("AutoScaling::AutoScalingGroup")[_P]
    assert (int(group["MinSize"]), int(group["MaxSize"])) == (t.stage.instances.least, t.stage.instances.most)
    assert group["NewInstancesProtectedFromScaleIn"] is True
    assert len(group["VPCZoneIdentifier"]) == t.stage.zones


@promise(
    put("EC2::LaunchTemplate", "Properties.LaunchTemplateData.MetadataOptions.HttpTokens", "optional"),
    put("EC2::LaunchTemplate", "Properties.LaunchTemplateData.MetadataOptions.HttpPutResponseHopLimit", 2),
    put("EC2::LaunchTemplate", "Properties.LaunchTemplateData.BlockDeviceMappings.0.Ebs.Encrypted", False),
    put("EC2::LaunchTemplate", "Properties.LaunchTemplateData.KeyName", "mine"),
)
def an_instance_gives_its_containers_nothing(t: Templates) -> None:
    data = t.one("EC2::LaunchTemplate")[_P]["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert [each["Ebs"]["Encrypted"] for each in data["BlockDeviceMappings"]] == [True]
    assert "KeyName" not in data, "sessions instead of SSH"


@promise(
    put("ECS::Service", "Properties.DeploymentConfiguration.DeploymentCircuitBreaker.Rollback", False),
    put("ECS::Service", "Properties.DeploymentConfiguration.MinimumHealthyPercent", 0),
    put("ECS::Service", "Properties.PlacementStrategies", [{"Type": "binpack", "Field": "memory"}]),
    put("ECS::Service", "Properties.DesiredCount", 1),
    put("ECS::Service", "Properties.ServiceName", "other", ServiceName=API.service),
    put("ECS::Service", "Properties.LoadBalancers", [{}], ServiceName=CONSUMER.service),
    put("ECS::Service", "DependsOn", [], ServiceName=API.service),
    drop("ECS::Service", "Properties.CapacityProviderStrategy"),
)
def the_services_roll_back_and_are_spread(t: Templates) -> None:
    services = {each[_P]["ServiceName"]: each for each in t.of("ECS::Service")}
    assert set(services) == {"ocelot-log-api-service", "ocelot-log-consumer-service"}
    for service in services.values():
        deployment = service[_P]["DeploymentConfiguration"]
        assert deployment["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
        assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
        assert service[_P]["PlacementStrategies"][0] == {"Type": "spread", "Field": "attribute:ecs.availability-zone"}
        assert service[_P]["CapacityProviderStrategy"][0]["Weight"] == 1
        assert "DesiredCount" not in service[_P], "a deployment would undo what the scaling did"
    (balanced,) = services[API.service][_P]["LoadBalancers"]
    assert (balanced["ContainerName"], balanced["ContainerPort"]) == ("api", 8000)
    assert any("Https" in each for each in services[API.service]["DependsOn"]), "its targets need a listener"
    assert "LoadBalancers" not in services[CONSUMER.service][_P]


_L = "ElasticLoadBalancingV2::Listener"
_G = "ElasticLoadBalancingV2::TargetGroup"


def _attributes(resource: Resource, kind: str) -> dict[str, Any]:
    return {each["Key"]: each["Value"] for each in resource[_P][f"{kind}Attributes"]}


@promise(
    put(_L, "Properties.Protocol", "HTTP"),
    put(_L, "Properties.SslPolicy", "ELBSecurityPolicy-2016-08"),
    put(_L, "Properties.DefaultActions", [{"Type": "forward"}]),
    put(_G, "Properties.HealthCheckPath", "/"),
    put(_G, "Properties.HealthCheckPort", "80"),
    put(_G, "Properties.TargetType", "ip"),
    put("ElasticLoadBalancingV2::LoadBalancer", "Properties.LoadBalancerAttributes", []),
)
def the_load_balancer_speaks_tls_and_asks_for_health(t: Templates) -> None:
    listeners = {each[_P]["Port"]: each[_P] for each in t.of(_L)}
    assert set(listeners) == {80, 443}
    assert listeners[443]["Protocol"] == "HTTPS"
    assert listeners[443]["SslPolicy"].startswith("ELBSecurityPolicy-TLS13-1-2-")
    assert t.plain(listeners[443]["Certificates"]) == [{"CertificateArn": "<CertificateArn>"}]
    (redirect,) = listeners[80]["DefaultActions"]
    assert redirect["RedirectConfig"] == {"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}
    target = t.one(_G)[_P]
    assert (target["TargetType"], target["HealthCheckPort"]) == ("instance", "traffic-port")
    assert target["HealthCheckPath"] == "/api/v1/health"
    own = _attributes(t.one("ElasticLoadBalancingV2::LoadBalancer"), "LoadBalancer")
    assert own["idle_timeout.timeout_seconds"] == str(IDLE_SECONDS)
    assert own["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert own["access_logs.s3.enabled"] == "true"
    assert own["deletion_protection.enabled"] == str(t.stage.protected).lower()


_S = "ApplicationAutoScaling::ScalingPolicy"
_T = "Properties.TargetTrackingScalingPolicyConfiguration"
_BACKLOG = "ocelot-STAGE-backlog-per-task"
_METRICS = f"{_T}.CustomizedMetricSpecification.Metrics"


@promise(
    drop(_S, PolicyName=_BACKLOG),
    put(_S, f"{_METRICS}.2.Expression", "waiting", PolicyName=_BACKLOG),
    put(_S, f"{_METRICS}.0.MetricStat.Metric.MetricName", "NumberOfMessagesSent", PolicyName=_BACKLOG),
    put(_S, f"{_METRICS}.2.ReturnData", False, PolicyName=_BACKLOG),
    put(_S, f"{_T}.TargetValue", 1),
    put("ApplicationAutoScaling::ScalableTarget", "Properties.MinCapacity", 0),
)
def the_services_grow_with_their_work(t: Templates) -> None:
    least = {
        (each[_P]["MinCapacity"], each[_P]["MaxCapacity"]) for each in t.of("ApplicationAutoScaling::ScalableTarget")
    }
    assert least == {(each.least, each.most) for each in (t.stage.api, t.stage.consumer)}
    kinds = {}
    for each in t.of(_S):
        assert each[_P]["PolicyType"] == "TargetTrackingScaling"
        how = t.plain(each[_P]["TargetTrackingScalingPolicyConfiguration"])
        named = how.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType", "backlog")
        kinds[named] = how
    assert {name: how["TargetValue"] for name, how in kinds.items()} == {
        "ALBRequestCountPerTarget": t.stage.requests_per_target,
        "ECSServiceAverageCPUUtilization": 60,
        "backlog": t.stage.backlog_per_task,
    }
    metrics = {each["Id"]: each for each in kinds["backlog"]["CustomizedMetricSpecification"]["Metrics"]}
    waiting, running = (metrics[name]["MetricStat"]["Metric"] for name in ("waiting", "running"))
    assert (waiting["Namespace"], waiting["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
    assert (running["Namespace"], running["MetricName"]) == ("ECS/ContainerInsights", "RunningTaskCount")
    assert {each["Value"] for each in running["Dimensions"]} == {"ocelot-cluster", CONSUMER.service}
    assert metrics["backlog"]["Expression"] == "IF(running > 0, waiting / running, waiting)"
    assert [name for name, each in metrics.items() if each["ReturnData"]] == ["backlog"]


_RINGS = {
    "DeadLetters": "ApproximateNumberOfMessagesVisible",
    "OldestMessage": "ApproximateAgeOfOldestMessage",
    "Lag": "NumberOfMessagesDeleted",
    "Faults": "HTTPCode_Target_5XX_Count",
    "Down": "HealthyHostCount",
    "IndexRejections": "ThreadpoolWriteRejected",
    "IndexBlocked": "ClusterIndexWritesBlocked",
    "IndexSpace": "FreeStorageSpace",
}


def _expression(alarm: Resource) -> Resource:
    (found,) = [each for each in alarm[_P]["Metrics"] if "Expression" in each]
    assert isinstance(found, dict)
    return found


def _ever_since(alarm: Resource) -> None:
    found = _expression(alarm)
    found["Expression"] = found["Expression"].removeprefix("DIFF")


@promise(
    drop("CloudWatch::Alarm", AlarmName="ocelot-STAGE-Lag"),
    drop("CloudWatch::Alarm", "Properties.AlarmActions", AlarmName="ocelot-STAGE-DeadLetters"),
    put("CloudWatch::Alarm", "Properties.MetricName", "Other", AlarmName="ocelot-STAGE-OldestMessage"),
    put("CloudWatch::Alarm", "Properties.TreatMissingData", "notBreaching", AlarmName="ocelot-STAGE-Down"),
    change("CloudWatch::Alarm", _ever_since, AlarmName="ocelot-STAGE-IndexRejections"),
    put("SNS::TopicPolicy", "Properties.PolicyDocument.Statement", []),
    drop("SNS::Topic", "Properties.KmsMasterKeyId"),
    drop("CloudWatch::Dashboard"),
)
def somebody_is_told(t: Templates) -> None:
    topic = f"<{t.logical_id(t.one('SNS::Topic'))}>"
    assert t.one("SNS::Topic")[_P]["KmsMasterKeyId"]
    for name, metric in _RINGS.items():
        alarm = t.one("CloudWatch::Alarm", AlarmName=f"ocelot-{t.stage.name}-{name}")[_P]
        assert f'"{metric}"' in json.dumps(alarm)
    for alarm in t.of("CloudWatch::Alarm"):
        assert t.plain(alarm[_P]["AlarmActions"]) == [topic]
        silent = alarm[_P]["AlarmName"].endswith("-Down")
        assert alarm[_P]["TreatMissingData"] == ("breaching" if silent else "notBreaching")
        assert len(alarm[_P]["AlarmDescription"]) > 20
    faults = t.one("CloudWatch::Alarm", AlarmName=f"ocelot-{t.stage.name}-Faults")
    assert "/ (FILL(asked, 0) + FILL(own, 0))" in _expression(faults)["Expression"], "503 for want of a task counts"
    rejections = t.one("CloudWatch::Alarm", AlarmName=f"ocelot-{t.stage.name}-IndexRejections")
    assert _expression(rejections)["Expression"].startswith("DIFF("), "the figures are sums since a node's start"
    allowed = [
        each
        for each in t.one("SNS::TopicPolicy")[_P]["PolicyDocument"]["Statement"]
        if each["Effect"] == "Allow" and each["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    ]
    assert [each["Action"] for each in allowed] == ["sns:Publish"]
    page = t.plain(t.one("CloudWatch::Dashboard")[_P]["DashboardBody"])
    assert all(metric in page for metric in set(_RINGS.values()))
