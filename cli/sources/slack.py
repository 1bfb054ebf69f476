"""Slack audit logs (Enterprise Grid)."""

from __future__ import annotations

from cli.sources.fields import Fields, Original, address, at, first, sentence, tags, text, when


def map(original: Original) -> Fields:  # noqa: A001
    """`slack.<action>`: `slack.user_logout`."""
    action = text(original.get("action")) or "event"
    context = at(original, "context")
    actor_type = text(at(original, "actor", "type")) or "user"
    who = at(original, "actor", actor_type)
    actor = first(at(who, "email"), at(who, "id"), at(who, "name"))
    kind = text(at(original, "entity", "type"))
    what = at(original, "entity", kind or "app")
    resource = first(at(what, "email"), at(what, "id"), at(what, "name"))
    reason = first(at(original, "details", "reason", 0), at(original, "details", "reason"))
    return {
        "action": f"slack.{action}",
        # Seconds since 1970, or UTC text that a collector wrote without the Z.
        "timestamp": when(original.get("date_create"), original.get("p_event_time")),
        "severity": "WARNING" if action == "anomaly" else "INFO",
        "message": sentence(actor, action.replace("_", " "), first(at(what, "name"), resource), reason),
        "user_id": actor,
        "session_id": text(at(context, "session_id")),
        "ip_address": address(at(context, "ip_address")),
        "user_agent": text(at(context, "ua")),
        "resource_type": kind or ("app" if what else None),
        "resource_id": resource,
        "source": first(at(context, "location", "domain"), "slack"),
        "tags": tags(workspace=at(context, "location", "name")),
    }
