"""The requests in an order in which they work: what makes a thing comes before what names it, deletions come last."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from api.main import create_service
from core.access import Permission
from core.settings import Settings

NOTHING: Final = "00000000-0000-4000-8000-000000000000"
"""The id of a thing that nothing here makes: the answer is 404."""
NOT_FOUND: Final = 404
_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"
_STREAM: Final = "text/event-stream"
_NAMED: Final = re.compile(r"\{(\w+)\}")

# Which operation makes what a path or a body names, and where its answer holds it.
_MAKERS: Final[dict[str, tuple[str, str]]] = {
    "event_id": ("POST /api/v1/logs", "id"),
    "tenant_id": ("POST /api/v1/tenants", "tenant_id"),
    "client_id": ("POST /api/v1/tenants", "key.client_id"),
    "client_secret": ("POST /api/v1/tenants", "key.client_secret"),
    "search_id": ("POST /api/v1/searches", "id"),
    "link_id": ("POST /api/v1/viewer-links", "id"),
    "key_id": ("POST /api/v1/keys", "client_id"),
    "hold_id": ("POST /api/v1/holds", "id"),
    "version": ("PUT /api/v1/catalogue", "version"),
    "export_id": ("POST /api/v1/exports", "id"),
    "job_id": ("POST /api/v1/exports", "id"),
}
# Values of a path that no operation makes, and members of a body that the example leaves otherwise.
_VALUES: Final = {"name": "searcher", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "request_id": "5f0c2b1e9a7d4c53"}
_MEMBERS: Final[dict[str, dict[str, str]]] = {
    "POST /api/v1/token": {"client_id": "{{client_id}}", "client_secret": "{{client_secret}}"},
    # What is tried must not close the log to what is tried next.
    "PUT /api/v1/catalogue": {"mode": "warn"},
}
# Bodies other than the example: a rebuild of a range is a job, of which a tenant may have one at a time.
# A hold must match something.
_BODIES: Final[dict[str, dict[str, Any]]] = {
    "POST /api/v1/logs/index/bulk": {"ids": ["{{event_id}}"]},
    "POST /api/v1/holds": {"search": {}, "reason": "tried out"},
}
# Answers other than the good one, where the thing's state has it so.
_STATUSES: Final[dict[str, int]] = {
    "POST /api/v1/jobs/{job_id}/retry": 409,  # it has not failed
    "POST /api/v1/logs/restore": 404,  # nothing is that old
    "GET /api/v1/tenants/{tenant_id}/deletion": 404,  # nobody has asked for one
    "GET /api/v1/downloads/{link}": 403,  # a link is made for an export that is done
}


@dataclass(frozen=True)
class Step:
    """One request; `{{name}}` in it stands for a variable."""

    name: str
    about: str
    group: str
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    token: str | None
    """The variable that holds the token; None for a route without."""
    kind: str | None
    body: str | None
    status: int
    saves: Mapping[str, str]
    """Variables, each with the dotted path in the answer that it is set to."""

    @property
    def key(self) -> str:
        """The name as an identifier."""
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")

    @property
    def headers(self) -> dict[str, str]:
        headers = {} if self.token is None else {"Authorization": f"Bearer {{{{{self.token}}}}}"}
        return headers if self.kind is None else {**headers, "Content-Type": self.kind}

    @property
    def needs(self) -> set[str]:
        """The variables that another answer must have set."""
        return set(re.findall(r"\{\{(\w+)\}\}", self.path + (self.body or "")))


def description() -> dict[str, Any]:
    """The API's own, as it is without any setting of a deployment."""
    nowhere = {"OCELOT_QUEUE": "file", "MONGODB_URL": "mongodb://none", "OPENSEARCH_URL": "http://none"}
    return create_service(Settings.model_validate(nowhere)).openapi()


def steps(described: Mapping[str, Any]) -> list[Step]:
    """Every operation but the live streams, which do not end."""
    waiting = list(_steps(described))
    waiting.sort(key=lambda step: step.method == "DELETE")
    ordered: list[Step] = []
    made: set[str] = set()
    while waiting:
        # One that waits for what nothing makes would be a mistake of the table above; it fails when it is run.
        ready = next((step for step in waiting if step.needs <= made), waiting[0])
        waiting.remove(ready)
        ordered.append(ready)
        made |= set(ready.saves)
    return ordered


def streams(described: Mapping[str, Any]) -> list[str]:
    """The operations that are left out."""
    return [route for route, operation in _operations(described) if _STREAM in _good(operation)[1].get("content", {})]


def _operations(described: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _steps(described: Mapping[str, Any]) -> Iterator[Step]:
    routes = dict(_operations(described))
    for route in streams(described):
        del routes[route]
    values = {name: f"{{{{{name}}}}}" for name, (maker, _) in _MAKERS.items() if maker in routes} | _VALUES
    for route, operation in routes.items():
        method, path = route.split(" ", 1)
        kind, body = _body(route, operation)
        missing = set(_NAMED.findall(path)) - set(values)
        yield Step(
            name=operation["summary"],
            about=operation.get("description", ""),
            group=operation["tags"][0],
            method=method,
            path=_NAMED.sub(lambda found: values.get(found[1], NOTHING), path),
            query=tuple(_query(operation)),
            token=_token(path, operation),
            kind=kind,
            body=body,
            status=_STATUSES.get(route, NOT_FOUND if missing else _good(operation)[0]),
            saves={name: at for name, (maker, at) in _MAKERS.items() if maker == route},
        )


def _good(operation: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    return next((int(status), answer) for status, answer in operation["responses"].items() if status.startswith("2"))


def _token(path: str, operation: Mapping[str, Any]) -> str | None:
    permission = operation["x-permission"]
    if permission == "none":
        return None
    return "platform_token" if permission == Permission.PLATFORM.value or "{tenant_id}" in path else "token"


def _query(operation: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query" and "example" in parameter:
            yield parameter["name"], str(parameter["example"])


def _body(route: str, operation: Mapping[str, Any]) -> tuple[str | None, str | None]:
    contents: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    if not contents:
        return None, None
    kind = _JSON if _JSON in contents else next(iter(contents))
    example = contents[kind]["example"]
    if isinstance(example, str):
        return kind, example
    if members := _MEMBERS.get(route):
        example = example | members
    example = _BODIES.get(route, example)
    return kind, urlencode(example) if kind == _FORM else json.dumps(example, indent=2, ensure_ascii=False)
