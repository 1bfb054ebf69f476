"""Windows events (Security, Sysmon, PowerShell, ...) as NXLog, Winlogbeat and the published data sets write them."""

from __future__ import annotations

from typing import Final

from cli.sources.fields import Fields, Original, address, at, dotted, first, number, sentence, slug, text, when

# Bits of an event's Keywords (winmeta.xml): how an audited act ended.
_AUDIT_FAILURE: Final = 0x0010_0000_0000_0000
_AUDIT_SUCCESS: Final = 0x0020_0000_0000_0000
_LEVELS: Final = {1: "CRITICAL", 2: "ERROR", 3: "WARNING", 4: "INFO", 5: "DEBUG"}
_SEVERITIES: Final = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
# Logons, log-offs and Kerberos: the account named as the target is the one that acts.
_LOGONS: Final = {4624, 4625, 4634, 4647, 4740, 4768, 4769, 4770, 4771, 4776, 4778, 4779}
# A failure of these is a refusal: access to an object, use of a privilege, a connection.
_REFUSALS: Final = {4656, 4663, 4673, 4674, 5145, 5152, 5157}
_RESOURCES: Final = (
    ("TargetFilename", "file"),
    ("TargetObject", "registry"),
    ("ImageLoaded", "image"),
    ("TargetImage", "process"),
    ("NewProcessName", "process"),
    ("ShareName", "share"),
    ("PipeName", "pipe"),
    ("QueryName", "domain"),
    ("ServiceName", "service"),
    ("TaskName", "task"),
    ("DestinationIp", "address"),
    ("DestAddress", "address"),
    ("Image", "process"),
    ("ProcessName", "process"),
)
# A logged script runs to 32 KiB; its beginning is enough for people and for full text.
_MAX_DETAIL: Final = 1000
_DETAILS: Final = ("CommandLine", "ProcessCommandLine", "Details", "ScriptBlockText", "FailureReason")


def map(original: Original) -> Fields:  # noqa: A001
    """`windows.<channel>.<EventID>`: `windows.security.4624`, `windows.sysmon.10`."""
    event = number(at(original, "EventID"))
    channel = _channel(_said(original, "Channel") or "")
    outcome = _outcome(original, event)
    kind, resource = _resource(original)
    actor, session = _actor(original, event, channel)
    detail = next((found for key in _DETAILS if (found := _said(original, key))), None)
    return {
        "action": dotted("windows", channel, event) if channel or event is not None else "windows.event",
        "timestamp": _time(original),
        "severity": _severity(original, outcome),
        "outcome": outcome,
        "message": sentence(actor, _headline(original, event), resource, detail[:_MAX_DETAIL] if detail else None),
        "user_id": actor,
        "session_id": session,
        "ip_address": address(*(original.get(k) for k in ("IpAddress", "SourceIp", "SourceAddress", "ClientAddress"))),
        "resource_type": kind,
        "resource_id": resource,
        "trace_id": _said(original, "ActivityID"),
        "source": first(_said(original, "Hostname"), _said(original, "Computer"), _said(original, "host")),
        "tags": [tag for tag in _listed(original.get("tags")) if isinstance(tag, str) and tag] or None,
    }


def _said(original: Original, key: str) -> str | None:
    """A field's text; Windows writes `-` for nothing."""
    found = text(original.get(key))
    return None if found == "-" else found


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _channel(name: str) -> str:
    return slug(name).removeprefix("microsoft-windows-").removesuffix("/operational")


def _time(original: Original) -> str | None:
    # TimeCreated and Sysmon's UtcTime are UTC by definition, @timestamp is when the shipper saw the event.
    # EventTime and EventReceivedTime of NXLog are the collector's local time without an offset: never taken.
    created = original.get("TimeCreated")
    return when(
        at(created, "SystemTime") if isinstance(created, dict) else created,
        original.get("UtcTime"),
        original.get("@timestamp"),
    )


def _keywords(original: Original) -> int:
    value = original.get("Keywords")
    if isinstance(value, str):
        try:
            return int(value[:20], 16 if value.lower().startswith("0x") else 10)
        except ValueError:
            return 0
    return value if isinstance(value, int) else 0


def _outcome(original: Original, event: int | None) -> str | None:
    keywords = _keywords(original)
    kind = original.get("EventType")
    if kind == "AUDIT_FAILURE" or keywords & _AUDIT_FAILURE:
        return "denied" if event in _REFUSALS else "failure"
    return "success" if kind == "AUDIT_SUCCESS" or keywords & _AUDIT_SUCCESS else None


def _severity(original: Original, outcome: str | None) -> str:
    if outcome in ("failure", "denied"):
        return "WARNING"
    level = number(original.get("Level"))
    if level in _LEVELS:
        return _LEVELS[level]
    named = original.get("Severity")
    return named if isinstance(named, str) and named in _SEVERITIES else "INFO"


def _actor(original: Original, event: int | None, channel: str) -> tuple[str | None, str | None]:
    """Who, as DOMAIN\\name, and the logon session."""
    subject = _account(original, "SubjectDomainName", "SubjectUserName"), _said(original, "SubjectLogonId")
    target = _account(original, "TargetDomainName", "TargetUserName"), _said(original, "TargetLogonId")
    for name, session in (target, subject) if event in _LOGONS else (subject,):
        if name:
            return name, session
    name = first(_said(original, "User"), _said(original, "SourceUser"))
    if name is None and channel != "sysmon":  # there it is the account of the Sysmon service itself
        name = _account(original, "Domain", "AccountName")
    return name, _said(original, "LogonId")


def _account(original: Original, domain: str, name: str) -> str | None:
    found = _said(original, name)
    realm = _said(original, domain)
    return f"{realm}\\{found}" if found and realm else found


def _resource(original: Original) -> tuple[str | None, str | None]:
    name = _said(original, "ObjectName")
    if name:
        return _said(original, "ObjectType"), name
    for key, kind in _RESOURCES:
        name = _said(original, key)
        if name:
            return kind, name
    return None, None


def _headline(original: Original, event: int | None) -> str:
    """The first line of Windows' own text, which may run to pages of explanation."""
    lines = (_said(original, "Message") or "").splitlines()
    named = lines[0].rstrip(":. \t") if lines else ""
    return named or _said(original, "Category") or (f"event {event}" if event is not None else "event")
