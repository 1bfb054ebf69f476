"""Pieces of the OpenAPI description that routes working on bytes have to spell out."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from api.problems import MEDIA_TYPE, TITLES
from api.schemas.access import TokenErrorOut, TokenIn
from api.schemas.catalogue import CatalogueIn
from api.schemas.erasures import ErasureIn
from api.schemas.events import BulkEventIn, EventIn, Problem
from api.schemas.facets import FacetsIn
from api.schemas.holds import HoldIn, ReleaseIn
from api.schemas.jobs import ExportIn
from api.schemas.keys import KeyChangeIn, NewKeyIn, PermissionSetIn, RotateIn
from api.schemas.masking import MaskingIn, PreviewIn
from api.schemas.quarantine import ChosenIn, DiscardIn, FixIn
from api.schemas.reindex import ReconcileIn, ReindexIn
from api.schemas.retention import RestoreIn
from api.schemas.searches import SavedSearchIn, SearchIn
from api.schemas.tenants import TenantIn, TenantPatchIn, TenantSettingsIn
from api.schemas.usage import KeyQuotasIn
from api.schemas.viewers import ViewerLinkIn
from core.access import ROLE_PERMISSIONS, Permission, Role
from core.event import KEYWORD_FIELDS
from core.query import DEFAULT_LIMIT, MAX_LIMIT
from core.stats import MAX_TOP
from core.stats_request import DEFAULT_TOP

_Parameter = dict[str, Any]
_PERMISSION: Final = "x-permission"

_UNMETERED: Final = frozenset({"none", Permission.MANAGE.value, Permission.PLATFORM.value})
_RATE_LIMITS: Final[dict[str, Any]] = {
    "RateLimit-Policy": {
        "description": "The quotas that the request comes under, where the tenant or its key has some.",
        "schema": {"type": "string"},
        "example": '"tenant-events-second";q=500;w=1;qu="events"',
    },
    "RateLimit": {
        "description": "The one of which least is left: `r` units, which must do for `t` seconds.",
        "schema": {"type": "string"},
        "example": '"tenant-events-second";r=41;t=1',
    },
}
_RETRY_AFTER: Final[dict[str, Any]] = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}, "example": 1}
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    return {
        status: {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": _example(status)}},
        }
        for status in statuses
    }


def needs(permission: Permission | None) -> dict[str, Any]:
    """The `openapi_extra` of a route that asks for `permission`, or that anyone may call without a token (None)."""
    if permission is None:
        return {_PERMISSION: "none", "security": []}
    return {_PERMISSION: permission.value}


def describe_permissions(schema: dict[str, Any]) -> None:
    """Say in each operation which roles hold its `x-permission`: in `x-roles`, and in words for people."""
    operations = ((path, operation) for path, found in schema["paths"].items() for operation in found.values())
    for path, operation in operations:
        if operation.get(_PERMISSION, "none") == "none":
            continue
        permission = Permission(operation[_PERMISSION])
        roles = [role.value for role, held in ROLE_PERMISSIONS.items() if permission in held]
        if permission is Permission.MANAGE and "{tenant_id}" in path:
            roles.append(Role.PLATFORM.value)  # of any tenant, which it names in the path
        operation["x-roles"] = roles
        told = f"Needs `{permission.value}`, which the roles {' and '.join(f'`{role}`' for role in roles)} have."
        if len(roles) == 1:
            told = f"Needs `{permission.value}`, which the role `{roles[0]}` has."
        operation["description"] = f"{operation.get('description', '')}\n\n{told}".strip()


def describe_limits(schema: dict[str, Any]) -> None:
    """Say of each operation that uses a tenant's quotas that it may be refused for them, and which fields tell."""
    for operation in (operation for found in schema["paths"].values() for operation in found.values()):
        if operation.get(_PERMISSION, "none") in _UNMETERED:
            continue
        responses = operation["responses"]
        refused = responses.setdefault("429", problems(429)[429])
        for status, response in responses.items():
            if status.startswith("2"):
                response.setdefault("headers", {}).update(_RATE_LIMITS)
        refused["headers"] = {**_RATE_LIMITS, **_RETRY_AFTER}


def answer(status: int, example: object, kind: str = "application/json") -> dict[int | str, dict[str, Any]]:
    """The `responses` entry of a good answer, with an example of it."""
    return {status: {"content": {kind: {"example": example}}}}


def body_of(model: type[BaseModel], *, many: bool = False) -> dict[str, Any]:
    """The `requestBody` of a route that reads `model` (or many of them)."""
    one = {"$ref": f"#/components/schemas/{model.__name__}"}
    example: dict[str, Any] = example_of(model)
    if not many:
        return {"required": True, "content": {"application/json": {"schema": one, "example": example}}}
    forms = [
        {"type": "array", "items": one, "maxItems": 10_000},
        {"type": "object", "properties": {"events": {"type": "array", "items": one}}, "required": ["events"]},
        one,
    ]
    two = [example | {"idempotency_key": "order-1017"}, {"action": "user.logout", "user_id": "ana"}]
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"oneOf": forms}, "example": two},
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"action":"user.login","user_id":"ana"}\n{"action":"user.logout","user_id":"ana"}\n',
            },
        },
    }


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's own example."""
    extra = model.model_config.get("json_schema_extra")
    assert isinstance(extra, dict)  # noqa: S101 - every model of a body has one
    examples: Any = extra["examples"]
    return dict(examples[0])


_BODIES: Final[tuple[type[BaseModel], ...]] = (
    Problem,
    EventIn,
    BulkEventIn,
    CatalogueIn,
    ErasureIn,
    ChosenIn,
    DiscardIn,
    ExportIn,
    FacetsIn,
    FixIn,
    KeyQuotasIn,
    HoldIn,
    KeyChangeIn,
    MaskingIn,
    NewKeyIn,
    PermissionSetIn,
    PreviewIn,
    ReconcileIn,
    ReindexIn,
    ReleaseIn,
    RestoreIn,
    RotateIn,
    SavedSearchIn,
    SearchIn,
    TenantIn,
    TenantPatchIn,
    TenantSettingsIn,
    TokenErrorOut,
    TokenIn,
    ViewerLinkIn,
)


def extra_schemas() -> dict[str, Any]:
    """Schemas that no route's signature names."""
    schemas: dict[str, Any] = {}
    for model in _BODIES:
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    return schemas


def _example(status: int) -> dict[str, Any]:
    return {
        "type": "urn:ocelot:problem:example",
        "title": TITLES[status],
        "status": status,
        "detail": "what is wrong, for people",
        "code": "example",
        "request_id": "5f0c2b1e9a7d4c53",
    }


def _parameter(name: str, description: str, schema: _Parameter | None = None, **more: Any) -> _Parameter:
    return {
        "name": name, "in": "query", "required": False, "description": description,
        "schema": schema or {"type": "string"}, **more,
    }  # fmt: skip


def _filter(name: str, description: str) -> _Parameter:
    return _parameter(name, description, {"type": "array", "items": {"type": "string"}}, style="form", explode=True)


MAX_WAIT: Final = 30.0
WAIT_PARAMETER: Final = _parameter(
    "wait",
    f"Seconds to wait for an event that was just accepted ({MAX_WAIT:.0f} at most).",
    {"type": "number", "minimum": 0, "maximum": MAX_WAIT, "default": 0},
    example=10,
)
FIELDS_PARAMETER: Final = _parameter(
    "fields",
    "The fields wanted, with commas between them: names, and paths such as `metadata.user.name`. Default: all.",
    example="id,timestamp,action,metadata.role",
)
_TIME: Final = "RFC 3339 with an offset, or relative to now, such as `-1h`"
SEARCH_PARAMETERS: Final[list[_Parameter]] = [
    _parameter("q", 'Full text: every word must occur; `"a phrase"` in this order.', example="budget"),
    _parameter("from", f"`timestamp` from here on. {_TIME}.", example="-24h"),
    _parameter("to", f"`timestamp` before this. {_TIME}."),
    _parameter("received_from", f"`received_at` from here on. {_TIME}."),
    _parameter("received_to", f"`received_at` before this. {_TIME}."),
    _filter("id", "The event's id."),
    *(_filter(name, f"`{name}` is this; `!` before it: is not; `*` after it: begins so.") for name in KEYWORD_FIELDS),
    _filter("ip_address", "An address or a CIDR such as `10.0.0.0/8`."),
    _filter("message", "A phrase of the message."),
    _parameter(
        "filters",
        "Free-form fields by path: `metadata.<path>=value`, `before_state.<path>`, `after_state.<path>`.",
        {"type": "object", "additionalProperties": {"type": "string"}},
        style="form",
        explode=True,
    ),
    _parameter(
        "sort",
        "Newest first with `-`.",
        {"type": "string", "enum": ["-timestamp", "timestamp", "-received_at", "received_at"], "default": "-timestamp"},
    ),
    _parameter(
        "limit", "Events a page.", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    ),
    _parameter("cursor", "`next_cursor` of the page before; the query must be the same."),
    FIELDS_PARAMETER,
]


STATS_PARAMETERS: Final[list[_Parameter]] = [
    *(p for p in SEARCH_PARAMETERS if p["name"] not in ("sort", "limit", "cursor", "fields")),
    _parameter(
        "interval",
        "Of the counts over time: `auto`, `none`, seconds, minutes or hours that divide a day (`15m`), or `1d`, `1w`, "
        "`1M`, `1q` or `1y`.",
        {"type": "string", "default": "auto"},
        example="1d",
    ),
    _parameter(
        "time_zone",
        "Whose days and hours the intervals are: an IANA name.",
        {"type": "string", "default": "UTC"},
        example="Europe/Berlin",
    ),
    _parameter(
        "over",
        "The time to count over: `timestamp`, `received_at`, or `facet.<name>` of a date.",
        {"type": "string", "default": "timestamp"},
    ),
    _filter("by", "Count by the values of this named field or `facet.<name>`."),
    _parameter(
        "top",
        "How many values `by` shows; the others are counted together.",
        {"type": "integer", "minimum": 1, "maximum": MAX_TOP, "default": DEFAULT_TOP},
    ),
    _filter("distinct", "Count the different values of this named field or `facet.<name>`."),
    _filter("percentiles", "Percentiles of `facet.<name>`, a number."),
    _parameter("percents", "Which percentiles, with commas between.", {"type": "string", "default": "50,90,95,99"}),
]


def without_the_frameworks_own(schema: dict[str, Any]) -> None:
    """Take out the 422 that FastAPI adds to each route with a path parameter: no route here answers so."""
    for operation in (operation for path in schema["paths"].values() for operation in path.values()):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema.get("components", {}).get("schemas", {}).pop(name, None)
