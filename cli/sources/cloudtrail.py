"""AWS CloudTrail records (the elements of `Records[]`)."""

from __future__ import annotations

from typing import Final

from cli.sources.fields import Fields, Original, address, at, dotted, first, sentence, tags, text, when

_DENIED: Final = ("accessdenied", "unauthorized", "notauthorized", "forbidden", "authfailure", "blocked")
# What the request names when `resources` is left out, the most telling first.
_PARAMETERS: Final = (
    ("bucketName", "AWS::S3::Bucket"),
    ("instanceId", "AWS::EC2::Instance"),
    ("functionName", "AWS::Lambda::Function"),
    ("secretId", "AWS::SecretsManager::Secret"),
    ("keyId", "AWS::KMS::Key"),
    ("roleArn", "AWS::IAM::Role"),
    ("roleName", "AWS::IAM::Role"),
    ("userName", "AWS::IAM::User"),
    ("policyArn", "AWS::IAM::Policy"),
    ("dBInstanceIdentifier", "AWS::RDS::DBInstance"),
    ("dBSnapshotIdentifier", "AWS::RDS::DBSnapshot"),
    ("groupId", "AWS::EC2::SecurityGroup"),
    ("vpcId", "AWS::EC2::VPC"),
    ("trailName", "AWS::CloudTrail::Trail"),
)


def map(original: Original) -> Fields:  # noqa: A001
    """`aws.<service>.<EventName>`; the actor is the identity's ARN where there is one."""
    who = at(original, "userIdentity")
    service = (text(at(original, "eventSource")) or "").removesuffix(".amazonaws.com")
    event = text(at(original, "eventName"))
    actor = first(
        at(who, "arn"), at(who, "userName"), at(who, "principalId"), at(who, "invokedBy"), at(who, "accountId")
    )
    kind, resource = _resource(original)
    outcome = _outcome(original)
    return {
        "action": dotted("aws", service, event) if service or event else "aws.event",
        # CloudTrail's eventTime is UTC; a collector may have dropped the Z.
        "timestamp": when(at(original, "eventTime"), original.get("p_event_time")),
        "severity": "INFO" if outcome == "success" else "WARNING",
        "outcome": outcome,
        "message": sentence(
            actor, dotted(service, event) or "event", resource, first(at(original, "errorMessage"), _code(original))
        ),
        "user_id": actor,
        "session_id": text(at(who, "accessKeyId")),
        "ip_address": address(at(original, "sourceIPAddress")),
        "user_agent": text(at(original, "userAgent")),
        "resource_type": kind,
        "resource_id": resource,
        "request_id": text(at(original, "requestID")),
        "trace_id": text(at(original, "sharedEventID")),
        "source": text(at(original, "eventSource")),
        "tags": tags(region=at(original, "awsRegion"), account=at(original, "recipientAccountId")),
    }


def _code(original: Original) -> str | None:
    return text(at(original, "errorCode"))


def _outcome(original: Original) -> str:
    code = _code(original)
    if code is None:
        # The console's sign-in fails without an error code.
        return "failure" if at(original, "responseElements", "ConsoleLogin") == "Failure" else "success"
    folded = code.lower()
    if any(word in folded for word in _DENIED):
        return "denied"
    message = text(at(original, "errorMessage")) or ""
    return "denied" if "not authorized to perform" in message else "failure"


def _resource(original: Original) -> tuple[str | None, str | None]:
    listed = at(original, "resources", 0)
    name = first(at(listed, "ARN"), at(listed, "ARNPrefix"))
    if name:
        return text(at(listed, "type")), name
    parameters = at(original, "requestParameters")
    for key, kind in _PARAMETERS:
        name = text(at(parameters, key))
        if name:
            return kind, name
    return None, None
