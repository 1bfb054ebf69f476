"""Google Workspace activities (Reports API), whole or one event each."""

from __future__ import annotations

from typing import Final

from cli.sources.fields import Fields, Original, address, at, dotted, first, sentence, slug, tags, text, when

_SEVERITIES: Final = {"LOW": "INFO", "MEDIUM": "WARNING", "HIGH": "ERROR"}
_ALARMS: Final = ("warning", "suspicious", "compromised", "account_disabled", "leak")
_RESOURCES: Final = (
    ("doc_id", "document"),
    ("target_user", "user"),
    ("USER_EMAIL", "user"),
    ("ROLE_NAME", "role"),
    ("SETTING_NAME", "setting"),
    ("DEVICE_ID", "device"),
    ("resource_name", "rule"),
    ("APPLICATION_NAME", "application"),
    ("email_forwarding_destination_address", "address"),
)


def map(original: Original) -> Fields:  # noqa: A001
    """`gsuite.<application>.<event>`: `gsuite.drive.rename`, `gsuite.login.login_success`."""
    event = at(original, "events", 0) or original
    application = text(at(original, "id", "applicationName"))
    name = first(at(event, "name"), at(event, "type"))
    parameters = _parameters(at(event, "parameters"))
    actor = first(at(original, "actor", "email"), at(original, "actor", "profileId"), at(original, "actor", "key"))
    kind, resource = next(((kind, found) for key, kind in _RESOURCES if (found := text(parameters.get(key)))), ("", ""))
    outcome = _outcome(name or "", parameters)
    title = first(parameters.get("doc_title"), parameters.get("NEW_VALUE"))
    return {
        "action": dotted("gsuite", application, slug(name or "event")),
        # `id.time` is UTC; a collector may have dropped the Z.
        "timestamp": when(at(original, "id", "time"), original.get("p_event_time")),
        "severity": _severity(name or "", parameters, outcome),
        "outcome": outcome,
        "message": sentence(actor, " ".join(filter(None, (application, name))) or "event", resource, title),
        "user_id": actor,
        "ip_address": address(at(original, "ipAddress")),
        "resource_type": first(parameters.get("doc_type"), kind),
        "resource_id": resource or None,
        "request_id": text(at(original, "id", "uniqueQualifier")),
        "source": application,
        "tags": tags(customer=at(original, "id", "customerId")),
    }


def _parameters(listed: object) -> dict[str, object]:
    """As an object; the API itself sends a list of `{name, value}`."""
    if isinstance(listed, dict):
        return listed
    if not isinstance(listed, list):
        return {}
    return {
        str(at(one, "name")): first(at(one, "value"), at(one, "intValue"), at(one, "multiValue", 0)) for one in listed
    }


def _outcome(name: str, parameters: dict[str, object]) -> str | None:
    if name.lower() == "login_failure" or at(parameters, "event_info", "success") is False:
        return "failure"
    if name.lower() == "login_success" or at(parameters, "event_info", "success") is True:
        return "success"
    return None


def _severity(name: str, parameters: dict[str, object], outcome: str | None) -> str:
    named = _SEVERITIES.get((text(parameters.get("severity")) or "").upper())
    if named:
        return named
    alarming = outcome == "failure" or any(word in name.lower() for word in _ALARMS)
    return "WARNING" if alarming else "INFO"
