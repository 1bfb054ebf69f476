"""Azure: the activity log, resource logs (storage), and Entra ID's sign-in and audit logs."""

from __future__ import annotations

import re
from typing import Final

from cli.sources.fields import Fields, Original, address, at, first, number, sentence, slug, tags, text, when

_CLAIMS: Final = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
_PROVIDER: Final = re.compile(r"/providers/([^/]+(?:/[^/]+)?)", re.IGNORECASE)
_LEVELS: Final = {
    "critical": "CRITICAL", "error": "ERROR", "warning": "WARNING", "informational": "INFO", "information": "INFO",
    "verbose": "DEBUG", "1": "CRITICAL", "2": "ERROR", "3": "WARNING", "4": "INFO", "5": "DEBUG",
}  # fmt: skip
_GOOD: Final = {"success", "succeeded", "0", "active", "resolved"}
_BAD: Final = {"failure", "failed", "clienterror", "servererror", "timeout"}
_REFUSED: Final = {"accessdenied", "unauthorized", "forbidden", "authorizationfailed", "authorizationerror"}
# Sign-ins that a conditional-access rule blocked.
_BLOCKED_SIGN_INS: Final = frozenset(range(53000, 53005))


def map(original: Original) -> Fields:  # noqa: A001
    """`azure.<operation>` in lower case: Azure itself spells one operation in several cases."""
    properties = at(original, "properties")
    operation = first(at(original, "operationName", "value"), original.get("operationName"))
    actor = _actor(original, properties)
    kind, resource = _resource(original, properties)
    outcome = _outcome(original, properties)
    level = _LEVELS.get((first(original.get("level"), original.get("Level")) or "").lower())
    reason = first(
        at(properties, "status", "failureReason"), original.get("statusText"), original.get("resultDescription")
    )
    failed = outcome in ("failure", "denied")
    return {
        "action": f"azure.{slug(operation) if operation else 'event'}",
        # `time` is UTC; a collector may have dropped the Z.
        "timestamp": when(
            original.get("time"), original.get("eventTimestamp"), at(properties, "createdDateTime"),
            at(properties, "activityDateTime"), original.get("p_event_time"),
        ),
        # Azure calls a refused sign-in informational.
        "severity": "WARNING" if failed and level in (None, "INFO") else level or "INFO",
        "outcome": outcome,
        "message": sentence(actor, operation or "event", resource, reason),
        "user_id": actor,
        "session_id": text(at(properties, "sessionId")),
        "ip_address": address(
            original.get("callerIpAddress"), at(properties, "ipAddress"),
            at(properties, "initiatedBy", "user", "ipAddress"), at(original, "identity", "claims", "ipaddr"),
        ),
        "user_agent": first(at(properties, "userAgent"), at(properties, "userAgentHeader")),
        "resource_type": kind,
        "resource_id": resource,
        "request_id": text(original.get("correlationId")),
        "source": first(original.get("category"), at(properties, "loggedByService"), "azure"),
        "tags": tags(location=original.get("location"), tenant=original.get("tenantId")),
    }  # fmt: skip


def _actor(original: Original, properties: object) -> str | None:
    claims = at(original, "identity", "claims")
    initiator = at(properties, "initiatedBy")
    return first(
        at(properties, "userPrincipalName"), at(initiator, "user", "userPrincipalName"), at(initiator, "user", "id"),
        at(initiator, "app", "displayName"), original.get("caller"), at(claims, _CLAIMS + "upn"), at(claims, "name"),
        at(claims, _CLAIMS + "emailaddress"), at(claims, "appid"), at(properties, "userId"), original.get("identity"),
    )  # fmt: skip


def _resource(original: Original, properties: object) -> tuple[str | None, str | None]:
    target = at(properties, "targetResources", 0)
    name = first(at(target, "displayName"), at(target, "userPrincipalName"), at(target, "id"))
    if name:
        return text(at(target, "type")), name
    name = first(at(properties, "resourceDisplayName"), at(properties, "appDisplayName"))
    if name:
        return "application", name
    path = first(original.get("resourceId"), at(properties, "objectKey"), original.get("uri"))
    match = _PROVIDER.search(path or "")
    return match[1] if match else None, path


def _outcome(original: Original, properties: object) -> str | None:
    said = [
        (text(value) or "").lower()
        for value in (
            original.get("resultType"), original.get("resultSignature"), original.get("result"),
            at(properties, "result"), original.get("statusCode"), at(properties, "metricResponseType"),
        )
    ]  # fmt: skip
    sign_in = number(at(properties, "status", "errorCode")) or number(original.get("resultType")) or 0
    if not _REFUSED.isdisjoint(said) or "401" in said or "403" in said or sign_in in _BLOCKED_SIGN_INS:
        return "denied"
    codes = [int(word) for word in said if word.isascii() and word.isdigit() and len(word) == 3]
    if sign_in or not _BAD.isdisjoint(said) or any(code >= 400 for code in codes):
        return "failure"
    return "success" if codes or not _GOOD.isdisjoint(said) else None
