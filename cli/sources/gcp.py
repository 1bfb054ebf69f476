"""Google Cloud audit logs (`LogEntry` with an `AuditLog` as `protoPayload`)."""

from __future__ import annotations

from typing import Final

from cli.sources.fields import Fields, Original, address, at, dotted, first, number, sentence, tags, text, when

_SEVERITIES: Final = {
    "DEBUG": "DEBUG", "INFO": "INFO", "NOTICE": "INFO", "WARNING": "WARNING", "ERROR": "ERROR",
    "CRITICAL": "CRITICAL", "ALERT": "CRITICAL", "EMERGENCY": "CRITICAL",
}  # fmt: skip
_PERMISSION_DENIED: Final = 7
_UNAUTHENTICATED: Final = 16


def map(original: Original) -> Fields:  # noqa: A001
    """`gcp.<methodName>`, with the service before a method that names none (`gcp.iam.SetIamPolicy`)."""
    payload = at(original, "protoPayload")
    caller = at(payload, "requestMetadata")
    service = first(at(payload, "serviceName"), original.get("serviceName"), at(original, "operation", "producer"))
    method = _method(first(at(payload, "methodName"), original.get("methodName")), service)
    identity = at(payload, "authenticationInfo")
    actor = first(at(identity, "principalEmail"), at(identity, "principalSubject"))
    outcome = _outcome(payload)
    resource = first(at(payload, "resourceName"), at(payload, "authorizationInfo", 0, "resource"))
    severity = _SEVERITIES.get(text(original.get("severity")) or "")
    labels = at(original, "resource", "labels")
    return {
        "action": f"gcp.{method}",
        # `timestamp` is UTC; a collector may have dropped the Z.
        "timestamp": when(original.get("timestamp"), original.get("p_event_time"), at(original, "receiveTimestamp")),
        "severity": severity or ("WARNING" if outcome in ("failure", "denied") else "INFO"),
        "outcome": outcome,
        "message": sentence(actor, method, resource, text(at(payload, "status", "message"))),
        "user_id": actor,
        "ip_address": address(at(caller, "callerIp"), at(caller, "callerIP")),
        "user_agent": text(at(caller, "callerSuppliedUserAgent")),
        "resource_type": text(at(original, "resource", "type")),
        "resource_id": resource,
        "request_id": first(at(original, "operation", "id"), at(original, "insertId")),
        "trace_id": text(original.get("trace")),
        "source": service,
        "tags": tags(project=at(labels, "project_id"), location=first(at(labels, "location"), at(labels, "zone"))),
    }


def _method(named: str | None, service: str | None) -> str:
    short = (service or "").removesuffix(".googleapis.com")
    if named is None:
        return dotted(short, "event")
    return named if "." in named else dotted(short, named)


def _outcome(payload: object) -> str | None:
    if not isinstance(payload, dict):
        return None
    code = number(at(payload, "status", "code"))
    if code in (_PERMISSION_DENIED, _UNAUTHENTICATED):
        return "denied"
    if code:
        return "failure"
    asked = at(payload, "authorizationInfo")
    refused = isinstance(asked, list) and any(at(one, "granted") is False for one in asked)
    return "denied" if refused else "success"
