"""GitHub: entries of the audit log, and deliveries of webhooks."""

from __future__ import annotations

from typing import Final

from cli.sources.fields import Fields, Original, address, at, dotted, first, sentence, tags, text, when

# A webhook's `action` alone (`created`) does not say of what; the object that it carries does.
_OBJECTS: Final = (
    ("workflow_job", "workflow_job"),
    ("workflow_run", "workflow_run"),
    ("review", "pull_request_review"),
    ("comment", "issue_comment"),
    ("pull_request", "pull_request"),
    ("issue", "issues"),
    ("release", "release"),
    ("member", "member"),
    ("ref", ""),
    ("repository", "repository"),
)
_CONCLUSIONS: Final = {"success": "success", "failure": "failure", "timed_out": "failure", "startup_failure": "failure"}


def map(original: Original) -> Fields:  # noqa: A001
    """`github.<action>` for the audit log, `github.<object>.<action>` for a webhook."""
    key, kind = _object(original)
    carried = original.get(key)
    action = dotted(kind, original.get("action")) or "event"
    actor = first(
        original.get("actor"), at(original, "actor", "login"), at(original, "sender", "login"),
        at(carried, "user", "login"), at(original, "pusher", "name"),
    )  # fmt: skip
    resource_type, resource = _resource(original)
    conclusion = text(at(carried, "conclusion"))
    outcome = _CONCLUSIONS.get(conclusion or "")
    return {
        "action": f"github.{action}",
        # Milliseconds, or UTC text that a collector wrote without the Z.
        "timestamp": when(
            original.get("@timestamp"), original.get("created_at"), original.get("at_sign_timestamp"),
            original.get("p_event_time"), at(carried, "submitted_at"), at(carried, "updated_at"),
            at(carried, "created_at"),
        ),
        "severity": "WARNING" if outcome == "failure" else "INFO",
        "outcome": outcome,
        "message": sentence(
            actor, action, resource, first(at(carried, "title"), conclusion, original.get("name"), original.get("user"))
        ),
        "user_id": actor,
        "ip_address": address(original.get("actor_ip")),
        "user_agent": text(original.get("user_agent")),
        "resource_type": resource_type,
        "resource_id": resource,
        "request_id": text(original.get("request_id")),
        "source": "github",
        "tags": tags(
            org=first(original.get("org"), at(original, "organization", "login")), business=original.get("business")
        ),
    }  # fmt: skip


def _object(original: Original) -> tuple[str, str]:
    if "." in (text(original.get("action")) or "."):
        return "", ""
    return next(((key, kind) for key, kind in _OBJECTS if key in original), ("", ""))


def _resource(original: Original) -> tuple[str | None, str | None]:
    """`repository` is an object in a webhook and a name in the audit log."""
    repository = first(original.get("repo"), at(original, "repository", "full_name"), original.get("repository"))
    if repository:
        return "repository", repository
    for key, kind in (("user", "user"), ("team", "team"), ("org", "organization"), ("business", "enterprise")):
        name = text(original.get(key))
        if name:
            return kind, name
    return None, None
