"""What each route is to the access audit: its event's action, and when it is written. A test compares with OpenAPI.

A route that is missing here is recorded all the same, as `ocelot.api.call`, before it does anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from api import PREFIX


class When(Enum):
    """When a route's call is recorded; always before its answer is released."""

    AFTER = "after"
    """One event, when the work is done: it tells how many results there were."""
    AROUND = "around"
    """A start before anything is done, read or changed, and an end that tells what became of it."""
    REFUSED = "refused"
    """Only a call that was not allowed: what it does is an event in itself."""


@dataclass(frozen=True, slots=True)
class Rule:
    action: str
    when: When = When.AFTER
    outlives_tenant: bool = False
    """Of a platform administrator's call: it belongs into the platform's log, since the tenant's goes."""

    @property
    def noun(self) -> str:
        return self.action.split(".")[1]


def _read(action: str) -> Rule:
    return Rule(f"ocelot.{action}")


def _around(action: str) -> Rule:
    return Rule(f"ocelot.{action}", When.AROUND)


def _refused(action: str) -> Rule:
    return Rule(f"ocelot.{action}", When.REFUSED)


UNKNOWN: Final = _around("api.call")
RULES: Final[dict[tuple[str, str], Rule]] = {
    ("POST", "/logs"): _refused("event.send"),
    ("POST", "/logs/bulk"): _refused("event.send"),
    ("GET", "/logs"): _read("log.search"),
    ("POST", "/logs/search"): _read("log.search"),
    ("GET", "/logs/trace/{trace_id}"): _read("log.trace"),
    ("GET", "/logs/request/{request_id}"): _read("log.trace"),
    ("GET", "/logs/stats"): _read("log.count"),
    ("GET", "/logs/export"): _around("log.export"),
    ("GET", "/logs/stream"): _around("log.stream"),
    ("GET", "/logs/{event_id}"): _read("event.read"),
    ("GET", "/logs/{event_id}/changes"): _read("event.read"),
    ("POST", "/logs/index/bulk"): _around("index.rebuild"),
    ("POST", "/exports"): _around("export.create"),
    ("GET", "/exports"): _read("export.list"),
    ("GET", "/exports/{export_id}"): _read("export.read"),
    ("DELETE", "/exports/{export_id}"): _around("export.delete"),
    ("GET", "/downloads/{link}"): _around("export.download"),
    ("GET", "/jobs/{job_id}"): _read("job.read"),
    ("POST", "/jobs/{job_id}/retry"): _around("job.retry"),
    ("POST", "/holds"): _around("hold.create"),
    ("GET", "/holds"): _read("hold.list"),
    ("GET", "/holds/{hold_id}"): _read("hold.read"),
    ("POST", "/holds/{hold_id}/release"): _around("hold.release"),
    ("POST", "/keys"): _around("key.create"),
    ("GET", "/keys"): _read("key.list"),
    ("GET", "/keys/{key_id}"): _read("key.read"),
    ("PATCH", "/keys/{key_id}"): _around("key.update"),
    ("DELETE", "/keys/{key_id}"): _around("key.revoke"),
    ("POST", "/keys/{key_id}/rotate"): _around("key.rotate"),
    ("GET", "/permission-sets"): _read("permission_set.list"),
    ("PUT", "/permission-sets/{name}"): _around("permission_set.update"),
    ("DELETE", "/permission-sets/{name}"): _around("permission_set.delete"),
    ("GET", "/logs/completeness"): _read("completeness.read"),
    ("POST", "/logs/index/reconcile"): _around("index.reconcile"),
    ("GET", "/quarantine"): _read("quarantine.list"),
    ("GET", "/quarantine/{item_id}"): _read("quarantine.read"),
    ("POST", "/quarantine/fix"): _around("quarantine.fix"),
    ("POST", "/quarantine/replay"): _around("quarantine.replay"),
    ("POST", "/quarantine/discard"): _around("quarantine.discard"),
    ("DELETE", "/logs/cleanup"): _around("log.cleanup"),
    ("POST", "/logs/restore"): _around("log.restore"),
    ("GET", "/archive"): _read("archive.list"),
    ("GET", "/masking"): _read("masking.read"),
    ("PUT", "/masking"): _around("masking.update"),
    ("POST", "/masking/preview"): _read("masking.preview"),
    ("GET", "/usage"): _read("usage.read"),
    ("GET", "/tenants/{tenant_id}/usage"): _read("usage.read"),
    ("GET", "/keys/{key_id}/quotas"): _read("key.read"),
    ("PUT", "/keys/{key_id}/quotas"): _around("key.update"),
    ("POST", "/erasures"): _around("person.erase"),
    ("DELETE", "/tenants/{tenant_id}"): Rule("ocelot.tenant.delete", When.AROUND, outlives_tenant=True),
    ("GET", "/tenants/{tenant_id}/deletion"): Rule("ocelot.tenant.read", outlives_tenant=True),
    ("GET", "/facets"): _read("facets.read"),
    ("PUT", "/facets"): _around("facets.update"),
    ("GET", "/searches"): _read("search.list"),
    ("POST", "/searches"): _around("search.create"),
    ("GET", "/searches/{search_id}"): _read("search.read"),
    ("PUT", "/searches/{search_id}"): _around("search.update"),
    ("DELETE", "/searches/{search_id}"): _around("search.delete"),
    ("GET", "/searches/{search_id}/results"): _read("log.search"),
    ("GET", "/catalogue"): _read("catalogue.read"),
    ("PUT", "/catalogue"): _around("catalogue.update"),
    ("GET", "/catalogue/versions"): _read("catalogue.read"),
    ("GET", "/catalogue/versions/{version}"): _read("catalogue.read"),
    ("GET", "/catalogue/openapi.json"): _read("catalogue.read"),
    ("POST", "/viewer-links"): _around("viewer_link.create"),
    ("GET", "/viewer-links"): _read("viewer_link.list"),
    ("DELETE", "/viewer-links/{link_id}"): _around("viewer_link.revoke"),
    ("POST", "/token"): _read("token.create"),
    ("POST", "/tenants/{tenant_id}/tokens"): _around("token.create"),
    ("POST", "/tenants"): _around("tenant.create"),
    ("GET", "/tenants"): _read("tenant.list"),
    ("GET", "/tenants/{tenant_id}"): _read("tenant.read"),
    ("PUT", "/tenants/{tenant_id}"): _around("tenant.update"),
    ("PATCH", "/tenants/{tenant_id}"): _around("tenant.update"),
}
PUBLIC: Final[dict[tuple[str, str], str]] = {
    ("GET", "/health"): "tells of no tenant, and is asked every few seconds by whatever watches the process",
    ("HEAD", "/health"): "the same",
    ("GET", "/ready"): "the same",
    ("HEAD", "/ready"): "the same",
    ("GET", "/metrics"): "the same",
    ("GET", "/docs"): "the description of the API, the same for everybody",
    ("GET", "/api/v1/openapi.json"): "the same",
    ("HEAD", "/api/v1/openapi.json"): "the same",
    ("GET", "/api/v1/docs/assets"): "the same",
    ("HEAD", "/api/v1/docs/assets"): "the same",
}
"""Routes without a token, whose calls are nobody's and tell nothing of anybody; each with the reason."""
CREDENTIALS: Final = frozenset({"link"})
"""Parameters of paths that let in whoever knows them: they are not told."""
SECRET_BODIES: Final = frozenset(
    {("POST", "/token"), ("POST", "/masking/preview"), ("POST", "/quarantine/fix"), ("POST", "/erasures")}
)
"""Routes whose bodies are credentials, or events, or parts of them, that are not masked yet, or name a person who is to
be forgotten."""


def describe_audit(schema: dict[str, Any]) -> None:
    """Say in each operation of an OpenAPI description which event it writes, in `x-audit-event`."""
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            key = (method.upper(), path.removeprefix(PREFIX))
            if key not in PUBLIC:
                operation["x-audit-event"] = RULES.get(key, UNKNOWN).action
