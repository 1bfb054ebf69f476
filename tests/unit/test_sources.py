"""Each source's own fields become the event's: real events by hand, every real line, and documents of any shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cli.import_command import Format
from cli.importing.items import Item, Keys, item_of
from cli.importing.lines import Line, Lines
from cli.sources import FORMATS, SOURCES, named_fields
from cli.sources.fields import address, when
from core import event, instant
from tests.conftest import LOGS

NOW = instant.from_text("2026-11-21T12:00:00Z")

CLOUDTRAIL_DENIED = {
    "awsRegion": "us-east-1",
    "errorCode": "Client.UnauthorizedOperation",
    "errorMessage": "You are not authorized to perform this operation.",
    "eventName": "GetPasswordData",
    "eventSource": "ec2.amazonaws.com",
    "eventTime": "2023-07-10T11:54:50Z",
    "recipientAccountId": "123837392027",
    "requestID": "be4702f5-024e-4393-9aad-8743a40a53d6",
    "requestParameters": {"instanceId": "i-l3hbwtbezd62leie"},
    "sourceIPAddress": "192.168.10.20",
    "userAgent": "stratus-red-team",
    "userIdentity": {
        "type": "AssumedRole",
        "arn": "arn:aws:sts::123837392027:assumed-role/some-role/session",
        "accessKeyId": "ASIATFQR7NSCWLLE7IWW",
    },
}
CLOUDTRAIL_SERVICE = {
    "eventName": "Decrypt",
    "eventSource": "kms.amazonaws.com",
    "eventTime": "2023-07-10T12:07:57Z",
    "sourceIPAddress": "secretsmanager.amazonaws.com",
    "userAgent": "secretsmanager.amazonaws.com",
    "userIdentity": {"accountId": "123837392027", "invokedBy": "secretsmanager.amazonaws.com"},
    "resources": [{"type": "AWS::KMS::Key", "ARN": "arn:aws:kms:us-east-1:123837392027:key/1"}],
}
WINDOWS_LOGON = {
    "Channel": "Security",
    "EventID": 4624,
    "Hostname": "MXS01.azsentinel.local",
    "IpAddress": "::ffff:172.18.39.5",
    "Keywords": "0x8020000000000000",
    "Level": "0",
    "Message": "An account was successfully logged on.\r\n\r\nSubject:\r\n\tSecurity ID:\t\tS-1-0-0",
    "SubjectUserName": "-",
    "TargetDomainName": "AZSENTINEL",
    "TargetLogonId": "0x4e0f099",
    "TargetUserName": "HealthMailbox28ea308",
    "TimeCreated": "2021-03-14T01:39:59.076Z",
}
WINDOWS_LOGON_FAILED = {
    "@timestamp": "2020-10-22T08:29:55.210Z",
    "Channel": "Security",
    "EventID": 4625,
    "EventTime": "2020-10-22 04:29:53",
    "EventType": "AUDIT_FAILURE",
    "Hostname": "WORKSTATION5.theshire.local",
    "IpAddress": "-",
    "Keywords": -9218868437227405312,
    "Message": "An account failed to log on.\r\n\r\nSubject:",
    "Severity": "ERROR",
    "TargetDomainName": "theshire.local",
    "TargetUserName": "lrodriguez",
}
SYSMON = {
    "@timestamp": "2020-10-22T08:30:00.429Z",
    "AccountName": "SYSTEM",
    "Channel": "Microsoft-Windows-Sysmon/Operational",
    "EventID": 12,
    "EventTime": "2020-10-22 04:29:58",
    "Hostname": "WORKSTATION6.theshire.local",
    "Keywords": -9223372036854775808,
    "Message": "Registry object added or deleted:\r\nRuleName: -",
    "TargetObject": "HKLM\\SOFTWARE\\Microsoft\\TrustedPeople",
    "UtcTime": "2020-10-22 08:29:58.396",
    "tags": ["mordorDataset"],
}
K8S = {
    "annotations": {"authorization.k8s.io/decision": "allow"},
    "auditID": "14933b4e-7b09-4964-af09-b7987367e1ba",
    "objectRef": {"name": "nginx-1", "namespace": "default", "resource": "pods", "subresource": "exec"},
    "requestReceivedTimestamp": "2018-10-26T13:42:46.764713Z",
    "responseStatus": {"code": 101},
    "sourceIPs": ["192.168.99.1"],
    "user": {"username": "minikube-user"},
    "verb": "create",
}
OKTA = {
    "actor": {"alternateId": "homer.simpson@duff.com", "id": "00abc123", "type": "User"},
    "authenticationcontext": {"externalSessionId": "100-abc-9999"},
    "client": {"ipAddress": "1.3.2.4", "userAgent": {"rawUserAgent": "Mozilla/5.0"}},
    "displaymessage": "Authentication of user via MFA",
    "eventtype": "user.session.start",
    "outcome": {"reason": "INVALID_CREDENTIALS", "result": "FAILURE"},
    "published": "2022-06-22 18:18:29.015",
    "severity": "INFO",
    "target": [{"alternateId": "App (123)", "type": "AppInstance"}],
}
GCP_DENIED = {
    "protoPayload": {
        "authenticationInfo": {"principalEmail": "staging@example.io"},
        "authorizationInfo": [{"granted": False, "permission": "cloudfunctions.functions.update"}],
        "methodName": "SetIamPolicy",
        "requestMetadata": {"callerIP": "12.12.12.12", "callerSuppliedUserAgent": "gcloud"},
        "resourceName": "projects/test-project",
        "serviceName": "cloudresourcemanager.googleapis.com",
    },
    "resource": {"type": "project", "labels": {"project_id": "test-project"}},
    "severity": "NOTICE",
    "timestamp": "2025-12-15 15:55:03.915792086",
}
AKS = {
    "category": "kube-audit",
    "operationName": "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
    "properties": {"log": json.dumps({**K8S, "verb": "delete"})},
}

BY_HAND: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "cloudtrail",
        CLOUDTRAIL_DENIED,
        {
            "action": "aws.ec2.GetPasswordData",
            "timestamp": "2023-07-10T11:54:50.000000Z",
            "severity": "WARNING",
            "outcome": "denied",
            "message": "arn:aws:sts::123837392027:assumed-role/some-role/session: ec2.GetPasswordData on "
            "i-l3hbwtbezd62leie (You are not authorized to perform this operation.)",
            "user_id": "arn:aws:sts::123837392027:assumed-role/some-role/session",
            "session_id": "ASIATFQR7NSCWLLE7IWW",
            "ip_address": "192.168.10.20",
            "user_agent": "stratus-red-team",
            "resource_type": "AWS::EC2::Instance",
            "resource_id": "i-l3hbwtbezd62leie",
            "request_id": "be4702f5-024e-4393-9aad-8743a40a53d6",
            "source": "ec2.amazonaws.com",
            "tags": ["region:us-east-1", "account:123837392027"],
        },
    ),
    (
        "cloudtrail",  # the caller is a host name: no address
        CLOUDTRAIL_SERVICE,
        {
            "action": "aws.kms.Decrypt",
            "timestamp": "2023-07-10T12:07:57.000000Z",
            "severity": "INFO",
            "outcome": "success",
            "message": "secretsmanager.amazonaws.com: kms.Decrypt on arn:aws:kms:us-east-1:123837392027:key/1",
            "user_id": "secretsmanager.amazonaws.com",
            "user_agent": "secretsmanager.amazonaws.com",
            "resource_type": "AWS::KMS::Key",
            "resource_id": "arn:aws:kms:us-east-1:123837392027:key/1",
            "source": "kms.amazonaws.com",
        },
    ),
    (
        "windows",
        WINDOWS_LOGON,
        {
            "action": "windows.security.4624",
            "timestamp": "2021-03-14T01:39:59.076000Z",
            "severity": "INFO",
            "outcome": "success",
            "message": "AZSENTINEL\\HealthMailbox28ea308: An account was successfully logged on",
            "user_id": "AZSENTINEL\\HealthMailbox28ea308",
            "session_id": "0x4e0f099",
            "ip_address": "172.18.39.5",
            "source": "MXS01.azsentinel.local",
        },
    ),
    (
        "windows",  # EventTime is local time without an offset: the shipper's clock counts
        WINDOWS_LOGON_FAILED,
        {
            "action": "windows.security.4625",
            "timestamp": "2020-10-22T08:29:55.210000Z",
            "severity": "WARNING",
            "outcome": "failure",
            "message": "theshire.local\\lrodriguez: An account failed to log on",
            "user_id": "theshire.local\\lrodriguez",
            "source": "WORKSTATION5.theshire.local",
        },
    ),
    (
        "windows",  # Sysmon's UtcTime is UTC by its name; its AccountName is nobody's act
        SYSMON,
        {
            "action": "windows.sysmon.12",
            "timestamp": "2020-10-22T08:29:58.396000Z",
            "severity": "INFO",
            "message": "Registry object added or deleted on HKLM\\SOFTWARE\\Microsoft\\TrustedPeople",
            "resource_type": "registry",
            "resource_id": "HKLM\\SOFTWARE\\Microsoft\\TrustedPeople",
            "source": "WORKSTATION6.theshire.local",
            "tags": ["mordorDataset"],
        },
    ),
    (
        "k8s",
        K8S,
        {
            "action": "k8s.pods.exec.create",
            "timestamp": "2018-10-26T13:42:46.764713Z",
            "severity": "INFO",
            "outcome": "success",
            "message": "minikube-user: create pods exec on default/nginx-1 (101)",
            "user_id": "minikube-user",
            "ip_address": "192.168.99.1",
            "resource_type": "pods",
            "resource_id": "default/nginx-1",
            "request_id": "14933b4e-7b09-4964-af09-b7987367e1ba",
            "source": "kubernetes",
            "tags": ["namespace:default"],
        },
    ),
    ("k8s", {"kind": 0}, {"action": "k8s.event", "message": "event", "severity": "INFO", "source": "kubernetes"}),
    (
        "okta",  # keys in lower case, as a collector writes them; a naive time that is UTC
        OKTA,
        {
            "action": "okta.user.session.start",
            "timestamp": "2022-06-22T18:18:29.015000Z",
            "severity": "INFO",
            "outcome": "failure",
            "message": "homer.simpson@duff.com: Authentication of user via MFA on App (123) (INVALID_CREDENTIALS)",
            "user_id": "homer.simpson@duff.com",
            "session_id": "100-abc-9999",
            "ip_address": "1.3.2.4",
            "user_agent": "Mozilla/5.0",
            "resource_type": "AppInstance",
            "resource_id": "App (123)",
            "source": "okta",
        },
    ),
    (
        "github",
        {"actor": "cat", "action": "repo.archived", "created_at": 1621305118553.0, "org": "o", "repo": "o/r"},
        {
            "action": "github.repo.archived",
            "timestamp": "2021-05-18T02:31:58.553000Z",
            "severity": "INFO",
            "message": "cat: repo.archived on o/r",
            "user_id": "cat",
            "resource_type": "repository",
            "resource_id": "o/r",
            "source": "github",
            "tags": ["org:o"],
        },
    ),
    (
        "github",
        {
            "action": "completed",
            "workflow_job": {"id": 52841003143, "name": "Deploy", "conclusion": "failure"},
            "repository": {"id": 123456789, "full_name": "example-org/example-repo"},
        },
        {
            "action": "github.workflow_job.completed",
            "severity": "WARNING",
            "outcome": "failure",
            "message": "workflow_job.completed on example-org/example-repo (failure)",
            "resource_type": "repository",
            "resource_id": "example-org/example-repo",
            "source": "github",
        },
    ),
    (
        "gcp",  # nanoseconds are cut, not rounded
        GCP_DENIED,
        {
            "action": "gcp.cloudresourcemanager.SetIamPolicy",
            "timestamp": "2025-12-15T15:55:03.915792Z",
            "severity": "INFO",
            "outcome": "denied",
            "message": "staging@example.io: cloudresourcemanager.SetIamPolicy on projects/test-project",
            "user_id": "staging@example.io",
            "ip_address": "12.12.12.12",
            "user_agent": "gcloud",
            "resource_type": "project",
            "resource_id": "projects/test-project",
            "source": "cloudresourcemanager.googleapis.com",
            "tags": ["project:test-project"],
        },
    ),
    (
        "azure",
        {
            "time": "2025-01-28T16:30:00.0000000Z",
            "category": "StorageWrite",
            "operationName": "PutBlob",
            "callerIpAddress": "10.158.74.16:36683",
            "statusCode": 403,
            "statusText": "AuthorizationPermissionMismatch",
            "uri": "https://data.blob.core.windows.net/logs/app.log",
            "properties": {"objectKey": "/data/logs/app.log", "userAgentHeader": "Azure-Storage/1.0"},
        },
        {
            "action": "azure.putblob",
            "timestamp": "2025-01-28T16:30:00.000000Z",
            "severity": "WARNING",
            "outcome": "denied",
            "message": "PutBlob on /data/logs/app.log (AuthorizationPermissionMismatch)",
            "ip_address": "10.158.74.16",
            "user_agent": "Azure-Storage/1.0",
            "resource_id": "/data/logs/app.log",
            "source": "StorageWrite",
        },
    ),
    (
        "azure",
        {
            "time": "2025-01-15 09:30:45.123",
            "operationName": "Sign-in activity",
            "category": "SignInLogs",
            "resultType": "50126",
            "callerIpAddress": "3.3.3.3",
            "correlationId": "auth-failure-001",
            "Level": "4",
            "properties": {
                "userPrincipalName": "peregrin@lotr.com",
                "appDisplayName": "Azure Portal",
                "status": {"errorCode": 50126, "failureReason": "Invalid username or password"},
            },
        },
        {
            "action": "azure.sign-in-activity",
            "timestamp": "2025-01-15T09:30:45.123000Z",
            "severity": "WARNING",
            "outcome": "failure",
            "message": "peregrin@lotr.com: Sign-in activity on Azure Portal (Invalid username or password)",
            "user_id": "peregrin@lotr.com",
            "ip_address": "3.3.3.3",
            "resource_type": "application",
            "resource_id": "Azure Portal",
            "request_id": "auth-failure-001",
            "source": "SignInLogs",
        },
    ),
    (
        "gsuite",
        {
            "actor": {"email": "example@example.io"},
            "id": {"applicationName": "admin", "customerId": "D12345", "time": "2022-12-11 02:57:48.693000000"},
            "ipAddress": "2600:2600:2600:2600:2600:2600:2600:2600",
            "name": "DELETE_ROLE",
            "parameters": {"ROLE_ID": "567890", "ROLE_NAME": "CustomAdminRoleName"},
            "type": "DELEGATED_ADMIN_SETTINGS",
        },
        {
            "action": "gsuite.admin.delete_role",
            "timestamp": "2022-12-11T02:57:48.693000Z",
            "severity": "INFO",
            "message": "example@example.io: admin DELETE_ROLE on CustomAdminRoleName",
            "user_id": "example@example.io",
            "ip_address": "2600:2600:2600:2600:2600:2600:2600:2600",
            "resource_type": "role",
            "resource_id": "CustomAdminRoleName",
            "source": "admin",
            "tags": ["customer:D12345"],
        },
    ),
    (
        "slack",
        {
            "action": "user_logout",
            "actor": {"type": "user", "user": {"email": "user@example.com", "id": "A012B3CDEFG"}},
            "context": {"ip_address": "1.2.3.4", "location": {"domain": "test-workspace"}, "ua": "Mozilla/5.0"},
            "date_create": 1659021752,
            "entity": {"type": "user", "user": {"email": "user@example.com", "id": "A012B3CDEFG", "name": "username"}},
        },
        {
            "action": "slack.user_logout",
            "timestamp": "2022-07-28T15:22:32.000000Z",
            "severity": "INFO",
            "message": "user@example.com: user logout on username",
            "user_id": "user@example.com",
            "ip_address": "1.2.3.4",
            "user_agent": "Mozilla/5.0",
            "resource_type": "user",
            "resource_id": "user@example.com",
            "source": "test-workspace",
        },
    ),
]


@pytest.mark.parametrize(("source", "original", "expected"), BY_HAND, ids=lambda value: str(value)[:24])
def test_a_real_event_maps_as_worked_out_by_hand(source: str, original: dict[str, Any], expected: Any) -> None:
    assert named_fields(source, original, NOW) == expected


def test_an_event_in_an_aks_envelope_is_the_event_inside() -> None:
    named = named_fields("k8s", AKS, NOW)
    assert named["action"] == "k8s.pods.exec.delete"
    assert named["user_id"] == "minikube-user"


def test_a_gke_line_among_kubernetes_lines_is_googles() -> None:
    assert named_fields("k8s", GCP_DENIED, NOW) == named_fields("gcp", GCP_DENIED, NOW)


@pytest.mark.parametrize(
    ("code", "outcome"), [(200, "success"), (401, "denied"), (403, "denied"), (404, "failure"), (409, "failure")]
)
def test_kubernetes_outcome_follows_the_status(code: int, outcome: str) -> None:
    assert named_fields("k8s", {**K8S, "responseStatus": {"code": code}}, NOW)["outcome"] == outcome


def test_a_refused_privilege_is_denied_and_a_failed_logon_is_not() -> None:
    failed = {**WINDOWS_LOGON_FAILED, "EventID": 4673}
    assert named_fields("windows", failed, NOW)["outcome"] == "denied"
    assert named_fields("windows", WINDOWS_LOGON_FAILED, NOW)["outcome"] == "failure"


@pytest.mark.parametrize(
    "host", ["secretsmanager.amazonaws.com", "AWS Internal", "redacted", "<Attacker IP>", "", "-", "0.0.0.0", "::"]
)
def test_what_is_no_address_goes_to_no_address(host: str) -> None:
    assert "ip_address" not in named_fields("cloudtrail", {**CLOUDTRAIL_DENIED, "sourceIPAddress": host}, NOW)


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("10.158.74.16:36683", "10.158.74.16"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:172.18.39.5", "172.18.39.5"),
        (" 1.2.3.4 ", "1.2.3.4"),
        ("1.2.3", None),
        (17, None),
    ],
)
def test_an_address_loses_port_zone_and_mapping(written: object, found: str | None) -> None:
    assert address(written) == found


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("2024-12-17T10:30:00.0000000Z", "2024-12-17T10:30:00.000000Z"),
        ("2022-08-16 16:56:49.309", "2022-08-16T16:56:49.309000Z"),
        ("2024-12-17T10:30:00+02:00", "2024-12-17T08:30:00.000000Z"),
        ("2024-12-17T10:30:00-0500", "2024-12-17T15:30:00.000000Z"),
        (1621305118553, "2021-05-18T02:31:58.553000Z"),
        ("1621305118553", "2021-05-18T02:31:58.553000Z"),
        (1621305118, "2021-05-18T02:31:58.000000Z"),
        ("1969-12-31T23:59:59Z", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-12-17 00:00:00000000", None),
        ("yesterday", None),
        (True, None),
        (-5, None),
        (10**30, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_a_time_is_taken_in_utc_or_not_at_all(written: object, found: str | None) -> None:
    assert when(written) == found


def test_a_time_beyond_tomorrow_is_no_time() -> None:
    late = {**CLOUDTRAIL_DENIED, "eventTime": "2026-11-23T12:00:00Z"}
    assert "timestamp" not in named_fields("cloudtrail", late, NOW)
    assert named_fields("cloudtrail", late, NOW + event.MAX_FUTURE_US)["timestamp"] == "2026-11-23T12:00:00.000000Z"


def test_a_long_value_is_cut_between_characters_and_whole_in_metadata() -> None:
    agent = "x" + "é" * event.MAX_STRING_BYTES
    line = json.dumps({**CLOUDTRAIL_DENIED, "userAgent": agent}).encode()
    made = item_of("cloudtrail", Line(1, line), Keys("cloudtrail").next(line), NOW)
    assert isinstance(made, Item)
    decoded = event.decode(made.data)
    assert decoded.user_agent == agent[: event.MAX_STRING_BYTES // 2]
    assert bytes(decoded.metadata) == line  # type: ignore[arg-type]


def test_a_service_of_the_name_ocelot_does_not_take_ocelots_own_actions() -> None:
    named = named_fields("cloudtrail", {"eventSource": "ocelot.amazonaws.com", "eventName": "X"}, NOW)
    assert named["action"] == "aws.ocelot.X"


def test_the_formats_of_the_command_are_the_sources() -> None:
    assert tuple(one.value for one in Format) == FORMATS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.from_regex(r"[0-9.:-]{1,20}"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# The words that the mappings look for, so that what they find there is of every shape.
WORDS = sorted(
    {word for _, original, _ in BY_HAND for word in original}
    | {"events", "name", "type", "parameters", "user", "log", "code", "resource", "status", "errorCode", "target"}
    | {"resources", "userIdentity", "arn", "objectRef", "annotations", "created_at", "review", "level", "identity"}
)
SHAPED = st.recursive(
    JSON,
    lambda inner: st.dictionaries(st.sampled_from(WORDS), inner, max_size=6) | st.lists(inner, max_size=3),
    max_leaves=25,
).flatmap(lambda inner: st.dictionaries(st.sampled_from(WORDS), st.just(inner) | JSON, max_size=10))


@pytest.mark.parametrize("source", SOURCES)
@given(original=SHAPED)
@example(original={})
@example(original={"userAgent": "\ud800", "user_agent": "\udfff", "action": "\ud800"})
@example(original={"EventID": 10**400, "kind": [], "verb": {}, "created_at": 1e308, "time": "9999-99-99T99:99:99Z"})
@example(original={"Keywords": "0xzz", "Level": "-1", "timestamp": "0001-01-01T00:00:00+14:00"})
def test_a_document_of_any_shape_becomes_a_valid_event(source: str, original: dict[str, Any]) -> None:
    named = named_fields(source, original, NOW)
    decoded = event.decode(json.dumps({**named, "metadata": {}}).encode())
    assert decoded.action.startswith(("aws" if source == "cloudtrail" else source, "gcp.", "azure."))
    event.check(decoded, NOW)


@pytest.mark.parametrize("name", LOGS)
def test_every_real_line_becomes_a_valid_event_that_holds_it_whole(audit_logs: Path, name: str) -> None:
    source = LOGS[name]
    keys = Keys(source)
    with Lines(str(audit_logs / f"{name}.ndjson.gz")) as lines:
        for line in lines:
            assert line.data is not None
            made = item_of(source, line, keys.next(line.data), NOW)
            assert isinstance(made, Item), made
            decoded = event.decode(made.data)
            assert bytes(decoded.metadata) == line.data  # type: ignore[arg-type]
            event.check(decoded, NOW)
