"""Okta System Log events."""

from __future__ import annotations

from typing import Final

from cli.sources.fields import Fields, Original, address, at, first, sentence, tags, text, when

_SEVERITIES: Final = {"DEBUG": "DEBUG", "INFO": "INFO", "WARN": "WARNING", "WARNING": "WARNING", "ERROR": "ERROR"}
_OUTCOMES: Final = {"SUCCESS": "success", "ALLOW": "success", "FAILURE": "failure", "DENY": "denied"}


def map(original: Original) -> Fields:  # noqa: A001
    """`okta.<eventType>`: `okta.user.session.start`."""
    event = text(at(original, "eventType"))
    client = at(original, "client")
    actor = first(
        at(original, "actor", "alternateId"), at(original, "actor", "id"), at(original, "actorId"),
        original.get("admin_email"),
    )  # fmt: skip
    outcome = _OUTCOMES.get((first(at(original, "outcome", "result"), original.get("result")) or "").upper())
    severity = _SEVERITIES.get((text(original.get("severity")) or "").upper())
    target = at(original, "target", 0)
    resource = first(at(target, "alternateId"), at(target, "id"), at(target, "displayName"))
    reason = text(at(original, "outcome", "reason"))
    return {
        "action": f"okta.{event or 'event'}",
        # `published` is UTC; a collector may have dropped the Z.
        "timestamp": when(original.get("published"), original.get("p_event_time")),
        "severity": severity or ("WARNING" if outcome in ("failure", "denied") else "INFO"),
        "outcome": outcome,
        "message": sentence(actor, first(at(original, "displayMessage"), event) or "event", resource, reason),
        "user_id": actor,
        "session_id": text(at(original, "authenticationContext", "externalSessionId")),
        "ip_address": address(
            at(client, "ipAddress"), at(original, "request", "ipChain", 0, "ip"), at(original, "sourceIP")
        ),
        "user_agent": first(at(client, "userAgent", "rawUserAgent"), at(original, "userAgent")),
        "resource_type": text(at(target, "type")),
        "resource_id": resource,
        "request_id": text(at(original, "debugContext", "debugData", "requestId")),
        "trace_id": text(at(original, "transaction", "id")),
        "source": "okta",
        "tags": tags(country=at(client, "geographicalContext", "country")),
    }
