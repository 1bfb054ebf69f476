"""Kubernetes audit events: from the API server, and as EKS, GKE and AKS wrap them."""

from __future__ import annotations

import json
from typing import Any

from cli.sources import azure, gcp
from cli.sources.fields import Fields, Original, address, at, dotted, first, number, sentence, tags, text, when


def map(original: Original) -> Fields:  # noqa: A001
    """`k8s.<resource>[.<subresource>].<verb>`: `k8s.pods.create`, `k8s.pods.exec.create`."""
    if isinstance(at(original, "protoPayload"), dict):  # GKE writes Google's audit log
        return gcp.map(original)
    if "operationName" in original:
        wrapped = _wrapped(at(original, "properties", "log"))
        return {**azure.map(original), **_present(map(wrapped))} if wrapped else azure.map(original)
    return _map(original)


def _map(original: Original) -> Fields:
    what = at(original, "objectRef")
    verb = text(original.get("verb"))
    kind, name = _resource(what)
    action = dotted(at(what, "resource"), at(what, "subresource"), verb)
    actor = text(at(original, "user", "username"))
    code = number(at(original, "responseStatus", "code"))
    outcome = _outcome(original, code)
    return {
        "action": f"k8s.{action or 'event'}",
        # Kubernetes writes RFC 3339 in UTC; a collector may have dropped the Z.
        "timestamp": when(
            at(original, "requestReceivedTimestamp"), at(original, "stageTimestamp"), original.get("timestamp"),
            original.get("p_event_time"),
        ),
        "severity": "WARNING" if outcome in ("denied", "failure") else "INFO",
        "outcome": outcome,
        "message": sentence(
            actor,
            " ".join(filter(None, (verb, text(at(what, "resource")), text(at(what, "subresource"))))) or "event",
            name or text(at(original, "requestURI")),
            first(at(original, "responseStatus", "message"), at(original, "responseStatus", "reason"), code),
        ),
        "user_id": actor,
        "ip_address": address(*_listed(at(original, "sourceIPs"))),
        "user_agent": text(at(original, "userAgent")),
        "resource_type": kind,
        "resource_id": name,
        "request_id": text(at(original, "auditID")),
        "source": first(original.get("p_source_label"), at(original, "operation", "producer"), "kubernetes"),
        "tags": tags(namespace=at(what, "namespace"), stage=original.get("stage")),
    }  # fmt: skip


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _present(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if value is not None}


def _wrapped(log: object) -> dict[str, Any] | None:
    """The event that AKS carries as JSON in a string."""
    if not isinstance(log, str):
        return None
    try:
        found = json.loads(log)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and "operationName" not in found else None


def _resource(what: object) -> tuple[str | None, str | None]:
    """The resource as kubectl names its type (`clusterroles.rbac.authorization.k8s.io`), and `namespace/name`."""
    kind = text(at(what, "resource"))
    name, namespace = text(at(what, "name")), text(at(what, "namespace"))
    group = text(at(what, "apiGroup"))
    full = f"{namespace}/{name}" if name and namespace else name
    return f"{kind}.{group}" if kind and group else kind, full


def _outcome(original: Original, code: int | None) -> str | None:
    decision = at(original, "annotations", "authorization.k8s.io/decision")
    if decision == "forbid" or code in (401, 403):
        return "denied"
    if code is not None and code >= 400:
        return "failure"
    return "success" if code is not None or decision == "allow" else None
