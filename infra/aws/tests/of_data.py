"""What holds events: its network, queue, index, archive, and who may use them."""

from __future__ import annotations

from typing import Any

from infra.aws.tests.promises import change, drop, promise, put
from infra.aws.tests.templates import Resource, Templates, listed

_ROLES = tuple(f"ocelot-STAGE-{name}" for name in ("api-task", "consumer-task"))
_P = "Properties"


def _allow(action: str, resource: str = "*") -> Any:
    """Adds a statement to every policy."""

    def how(policy: Resource) -> None:
        statement = {"Effect": "Allow", "Action": action, "Resource": resource}
        policy[_P]["PolicyDocument"]["Statement"].append(statement)

    return change("IAM::Policy", how)


@promise(put("EC2::VPC", "Properties.CidrBlock", "10.0.0.0/8"), drop("EC2::FlowLog"))
def the_network_is_the_stages_and_logs_what_it_refuses(t: Templates) -> None:
    assert t.one("EC2::VPC")[_P]["CidrBlock"] == t.stage.cidr
    assert t.one("EC2::FlowLog")[_P]["TrafficType"] == "REJECT"


@promise(
    put("EC2::Subnet", "Properties.AvailabilityZone", "a"), put("EC2::Subnet", "Properties.CidrBlock", "10.9.0.0/24")
)
def there_is_a_subnet_of_each_kind_in_each_zone(t: Templates) -> None:
    zones: dict[str, set[str]] = {}
    public = []
    for subnet in t.of("EC2::Subnet"):
        tags = {tag["Key"]: tag["Value"] for tag in subnet[_P]["Tags"]}
        zones.setdefault(tags["aws-cdk:subnet-name"], set()).add(str(subnet[_P]["AvailabilityZone"]))
        assert subnet[_P]["MapPublicIpOnLaunch"] is False
        if tags["aws-cdk:subnet-name"] == "public":
            public.append(subnet[_P]["CidrBlock"])
    assert {name: len(each) for name, each in zones.items()} == dict.fromkeys(
        ("public", "private", "index"), t.stage.zones
    )
    assert sorted(public) == sorted(t.stage.public_cidrs), "the services believe proxies of these addresses"


@promise(put("EC2::SecurityGroupEgress", "Properties.CidrIp", "0.0.0.0/0"))
def nothing_leaves_but_to_where_it_has_to(t: Templates) -> None:
    open_to_all = {}
    for group in t.of("EC2::SecurityGroup"):
        rules = [each for each in group[_P].get("SecurityGroupEgress", []) if each.get("CidrIp") == "0.0.0.0/0"]
        ports = {(each.get("FromPort"), each.get("ToPort")) for each in rules}
        open_to_all[group[_P]["GroupDescription"].removeprefix("Ocelot: ")] = ports - {(None, None)}
        assert all(each["IpProtocol"] != "-1" for each in rules)
    assert open_to_all["the instances and their containers"] == {(443, 443), (27015, 27017)}
    assert open_to_all["the OpenSearch domain"] == set()
    assert all("CidrIp" not in each[_P] for each in t.of("EC2::SecurityGroupEgress"))


@promise(put("EC2::SecurityGroup", "Properties.SecurityGroupIngress", [{"CidrIp": "0.0.0.0/0", "IpProtocol": "-1"}]))
def only_the_load_balancer_is_open_to_the_world(t: Templates) -> None:
    for group in t.of("EC2::SecurityGroup"):
        rules = group[_P].get("SecurityGroupIngress", [])
        ports = sorted(each["FromPort"] for each in rules if each.get("CidrIp") == "0.0.0.0/0")
        assert ports == ([80, 443] if group[_P]["GroupDescription"] == "Ocelot: the load balancer" else [])


@promise(
    put("ECR::Repository", "Properties.RepositoryName", "other", RepositoryName="ocelot-log-api"),
    put("ECR::Repository", "Properties.ImageTagMutability", "MUTABLE"),
    put("ECR::Repository", "Properties.ImageScanningConfiguration.ScanOnPush", False),
    drop("ECR::Repository", "Properties.LifecyclePolicy"),
)
def the_images_have_their_repositories(t: Templates) -> None:
    found = {each[_P]["RepositoryName"]: each[_P] for each in t.of("ECR::Repository")}
    assert set(found) == {"ocelot-log-api", "ocelot-log-consumer"}
    for each in found.values():
        assert each["ImageScanningConfiguration"]["ScanOnPush"] is True
        assert each["ImageTagMutability"] == "IMMUTABLE_WITH_EXCLUSION"
        moved = [(f["ImageTagMutabilityExclusionFilterValue"]) for f in each["ImageTagMutabilityExclusionFilters"]]
        assert moved == ["latest"]
        assert each["EncryptionConfiguration"]["EncryptionType"] == "KMS"
        assert each["LifecyclePolicy"]


@promise(
    drop("SQS::Queue", "Properties.KmsMasterKeyId"),
    drop("SQS::Queue", "Properties.RedrivePolicy", QueueName="ocelot-STAGE-events"),
    put("SQS::Queue", "Properties.RedrivePolicy.maxReceiveCount", 3, QueueName="ocelot-STAGE-events"),
    put("SQS::Queue", "Properties.MessageRetentionPeriod", 60),
)
def the_queue_is_encrypted_and_has_dead_letters(t: Templates) -> None:
    name = f"ocelot-{t.stage.name}-events"
    queue, dead = t.one("SQS::Queue", QueueName=name), t.one("SQS::Queue", QueueName=f"{name}-dead")
    assert t.plain(queue[_P]["RedrivePolicy"]) == {
        "deadLetterTargetArn": f"<{t.logical_id(dead)}.Arn>",
        "maxReceiveCount": 100,
    }
    for each in (queue, dead):
        assert t.plain(each[_P]["KmsMasterKeyId"]).startswith("<Key")
        assert each[_P]["MessageRetentionPeriod"] == 14 * 86_400


@promise(drop("SQS::QueuePolicy"), drop("S3::BucketPolicy"))
def nothing_is_asked_without_tls(t: Templates) -> None:
    policies = [*t.of("SQS::QueuePolicy"), *t.of("S3::BucketPolicy")]
    assert len(policies) == 4
    for policy in policies:
        denied = [s for s in policy[_P]["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
        assert {"Bool": {"aws:SecureTransport": "false"}} in [each["Condition"] for each in denied]


@promise(
    put("OpenSearchService::Domain", "Properties.AdvancedSecurityOptions.Enabled", False),
    put("OpenSearchService::Domain", "Properties.AdvancedSecurityOptions.InternalUserDatabaseEnabled", True),
    put("OpenSearchService::Domain", "Properties.EncryptionAtRestOptions.Enabled", False),
    put("OpenSearchService::Domain", "Properties.NodeToNodeEncryptionOptions.Enabled", False),
    put("OpenSearchService::Domain", "Properties.DomainEndpointOptions.EnforceHTTPS", False),
    put("OpenSearchService::Domain", "Properties.ClusterConfig.ZoneAwarenessEnabled", False),
    put("OpenSearchService::Domain", "Properties.AccessPolicies.Statement.0.Principal", {"AWS": "*"}),
    drop("OpenSearchService::Domain", "Properties.AdvancedOptions"),
    drop("OpenSearchService::Domain", "Properties.VPCOptions"),
)
def the_domain_is_closed_encrypted_and_in_every_zone(t: Templates) -> None:
    domain = t.one("OpenSearchService::Domain")[_P]
    assert domain["AdvancedSecurityOptions"]["Enabled"] is True
    assert domain["AdvancedSecurityOptions"]["InternalUserDatabaseEnabled"] is False
    assert t.plain(domain["EncryptionAtRestOptions"])["KmsKeyId"].startswith("<Key")
    assert domain["EncryptionAtRestOptions"]["Enabled"] is True
    assert domain["NodeToNodeEncryptionOptions"] == {"Enabled": True}
    assert domain["DomainEndpointOptions"]["EnforceHTTPS"] is True
    assert domain["DomainEndpointOptions"]["TLSSecurityPolicy"].startswith("Policy-Min-TLS-1-2")
    assert domain["ClusterConfig"]["ZoneAwarenessEnabled"] is True
    assert domain["ClusterConfig"]["ZoneAwarenessConfig"] == {"AvailabilityZoneCount": t.stage.zones}
    assert domain["ClusterConfig"]["InstanceCount"] % t.stage.zones == 0
    assert domain["AdvancedOptions"]["rest.action.multi.allow_explicit_index"] == "false"
    assert len(domain["VPCOptions"]["SubnetIds"]) == t.stage.zones
    (statement,) = t.plain(domain["AccessPolicies"]["Statement"])
    assert len(statement["Principal"]["AWS"]) == 3
    assert all("Role" in each or "Task" in each or "Setup" in each for each in statement["Principal"]["AWS"])
    assert set(domain["LogPublishingOptions"]) >= {"AUDIT_LOGS", "ES_APPLICATION_LOGS"}


def _rights(t: Templates) -> Resource:
    (found,) = (each for _, _, each in t.resources() if each["Type"] == "Custom::OcelotIndexRights")
    return found


def _without_rights(t: Templates) -> None:
    del _rights(t)[_P]["Roles"][0]


@promise(_without_rights, drop("Lambda::Function", "Properties.VpcConfig"))
def the_index_knows_both_services_and_its_lifecycle(t: Templates) -> None:
    rights = t.plain(_rights(t)[_P])
    roles = {
        f"<{t.logical_id(t.one('IAM::Role', RoleName=name.replace('STAGE', t.stage.name)))}.Arn>" for name in _ROLES
    }
    assert set(rights["Roles"]) == roles
    function = t.one("Lambda::Function")
    assert rights["ServiceToken"] == f"<{t.logical_id(function)}.Arn>"
    assert function[_P]["VpcConfig"]["SubnetIds"]
    assert function[_P]["Handler"] == "setup_index.handler"


_ARCHIVE = "ocelot-STAGE-archive-${AWS_ACCOUNT_ID}-${AWS_REGION}"


@promise(
    drop("S3::Bucket", "Properties.ObjectLockEnabled", BucketName=_ARCHIVE),
    put("S3::Bucket", "Properties.VersioningConfiguration.Status", "Suspended", BucketName=_ARCHIVE),
    drop("S3::Bucket", "Properties.LifecycleConfiguration", BucketName=_ARCHIVE),
    put("S3::Bucket", "Properties.PublicAccessBlockConfiguration.BlockPublicPolicy", False),
    drop("S3::Bucket", "Properties.BucketEncryption"),
    drop("S3::Bucket", "Properties.LoggingConfiguration", BucketName=_ARCHIVE),
)
def the_archive_is_locked_versioned_encrypted_and_grows_cheap(t: Templates) -> None:
    bucket = t.one("S3::Bucket", BucketName=_ARCHIVE.replace("STAGE", t.stage.name))[_P]
    assert bucket["ObjectLockEnabled"] is True
    assert bucket["VersioningConfiguration"]["Status"] == "Enabled"
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    rules = {each["Id"]: each for each in bucket["LifecycleConfiguration"]["Rules"]}
    colder = [(each["StorageClass"], each["TransitionInDays"]) for each in rules["colder"]["Transitions"]]
    assert colder == [("STANDARD_IA", 30), ("GLACIER_IR", 90)], "classes that are read at once"
    assert rules["gone"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert all("ExpirationInDays" not in each for each in rules.values()), "what expires is the retention's affair"
    assert bucket["LoggingConfiguration"]["DestinationBucketName"]
    for each in t.of("S3::Bucket"):
        assert each[_P]["BucketEncryption"]
        assert set(each[_P]["PublicAccessBlockConfiguration"].values()) == {True}


@promise(put("KMS::Key", "Properties.EnableKeyRotation", False), drop("KMS::Alias"))
def the_key_is_rotated(t: Templates) -> None:
    assert t.one("KMS::Key")[_P]["EnableKeyRotation"] is True
    assert t.one("KMS::Alias")[_P]["AliasName"] == f"alias/ocelot-{t.stage.name}"


_TASKS = {
    "api": {
        "sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
        "es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut",
        "s3:GetObject", "s3:DeleteObject", "s3:ListBucket",
        "kms:Decrypt", "kms:GenerateDataKey",
    },
    "consumer": {
        "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
        "es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut", "es:ESHttpDelete",
        "s3:GetObject", "s3:PutObject", "s3:PutObjectRetention", "s3:DeleteObject", "s3:AbortMultipartUpload",
        "s3:ListBucket",
        "kms:Decrypt", "kms:GenerateDataKey",
    },
}  # fmt: skip


def _list_a_prefix(policy: Resource) -> None:
    for each in policy[_P]["PolicyDocument"]["Statement"]:
        if each["Action"] == "s3:ListBucket":
            each["Condition"] = {"StringLike": {"s3:prefix": ["archive/*"]}}


@promise(
    _allow("s3:BypassGovernanceRetention"),
    _allow("sqs:*"),
    _allow("sqs:SendMessage", "arn:aws:sqs:::other"),
    change("IAM::Policy", _list_a_prefix),
)
def a_task_may_do_what_it_does_and_no_more(t: Templates) -> None:
    own = f"ocelot-{t.stage.name}"
    for name, actions in _TASKS.items():
        statements = t.statements(f"{own}-{name}-task")
        assert {action for each in statements for action in listed(each["Action"])} == actions
        for resource in (found for each in statements for found in listed(each["Resource"])):
            assert own in resource or resource.startswith("<Key"), resource
        lists = [each for each in statements if listed(each["Action"]) == ["s3:ListBucket"]]
        assert ["Condition" in each for each in lists] == [False], "a file that is not there would be a refusal"


def _start_anything(policy: Resource) -> None:
    policy[_P]["PolicyDocument"]["Statement"].append(
        {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": "arn:aws:ssm:::parameter/*"}
    )


@promise(change("IAM::Policy", _start_anything))
def a_task_is_started_with_its_own_secrets_alone(t: Templates) -> None:
    place = f"arn:aws:ssm:${{AWS_REGION}}:${{AWS_ACCOUNT_ID}}:parameter/ocelot/{t.stage.name}"
    secrets = {"api": {"mongodb-url", "opensearch-url", "signing-key"}, "consumer": {"mongodb-url", "opensearch-url"}}
    for name, expected in secrets.items():
        found = set()
        for each in t.statements(f"ocelot-{t.stage.name}-{name}-execution"):
            if "ssm:GetParameters" in listed(each["Action"]):
                found |= set(listed(each["Resource"]))
            elif listed(each["Resource"]) == ["*"]:
                assert listed(each["Action"]) == ["ecr:GetAuthorizationToken"]
        assert found == {f"{place}/{secret}" for secret in expected}


@promise(
    put("SSM::Parameter", "Properties.Name", "/ocelot/elsewhere"), put("SSM::Parameter", "Properties.Value", "http://x")
)
def the_indexs_address_is_a_parameter(t: Templates) -> None:
    parameter = t.one("SSM::Parameter")[_P]
    assert parameter["Name"] == f"/ocelot/{t.stage.name}/opensearch-url"
    assert t.plain(parameter["Value"]).startswith("https://<IndexDomain")


_HOLDS = ("SQS::Queue", "S3::Bucket", "OpenSearchService::Domain", "KMS::Key", "ECR::Repository")


def _unprotect(t: Templates) -> None:
    t.manifest["data"]["properties"]["terminationProtection"] = not t.stage.protected


@promise(
    change("SQS::Queue", lambda each: each.update(DeletionPolicy="Other")),
    change("OpenSearchService::Domain", lambda each: each.update(UpdateReplacePolicy="Other")),
    _unprotect,
)
def in_production_nothing_that_holds_events_goes_with_its_stack(t: Templates) -> None:
    policy = "Retain" if t.stage.protected else "Delete"
    for kind in _HOLDS:
        for each in t.of(kind):
            assert (each["DeletionPolicy"], each["UpdateReplacePolicy"]) == (policy, policy), kind
    for artifact in t.manifest.values():
        assert artifact["properties"].get("terminationProtection", False) is t.stage.protected
