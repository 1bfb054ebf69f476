"""Shapes of the log's routes, for OpenAPI: the routes themselves work on bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

EVENT_EXAMPLE: dict[str, Any] = {
    "action": "document.shared",
    "timestamp": "2026-11-21T11:40:00.123456Z",
    "severity": "INFO",
    "outcome": "success",
    "message": "Ana shared the budget with Ben",
    "user_id": "ana",
    "ip_address": "203.0.113.7",
    "resource_type": "document",
    "resource_id": "budget-2027",
    "source": "drive",
    "tags": ["sharing"],
    "metadata": {"with": "ben", "role": "editor"},
}


_WARNING: Final = "What the event catalogue has against the event, in the mode `warn`."


class EventIn(BaseModel):
    """An audit event. Only `action` is required; anything that has no field of its own belongs in `metadata`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EVENT_EXAMPLE]})

    action: str = Field(min_length=1, max_length=8192, description="What was done. `ocelot.*` is the service's own.")
    timestamp: datetime | None = Field(
        None, description="When it happened: RFC 3339 with an offset, 1970 to 24 hours from now. Default: now."
    )
    severity: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    outcome: Literal["success", "failure", "denied"] | None = None
    message: str | None = Field(None, max_length=65536, description="Text for people; full-text searched.")
    user_id: str | None = Field(None, max_length=8192)
    session_id: str | None = Field(None, max_length=8192)
    ip_address: str | None = Field(None, description="IPv4 or IPv6.")
    user_agent: str | None = Field(None, max_length=8192)
    resource_type: str | None = Field(None, max_length=8192)
    resource_id: str | None = Field(None, max_length=8192)
    request_id: str | None = Field(None, max_length=8192)
    trace_id: str | None = Field(None, max_length=8192)
    source: str | None = Field(None, max_length=8192, description="The service or host that sends it.")
    tags: list[str] | None = Field(None, max_length=64)
    before_state: dict[str, Any] | None = Field(None, description="The resource before the change.")
    after_state: dict[str, Any] | None = Field(None, description="The resource after the change.")
    metadata: dict[str, Any] | None = Field(None, description="Anything else, kept token for token.")


class BulkEventIn(EventIn):
    """An event of a bulk, which may carry its own key."""

    idempotency_key: str | None = Field(
        None, max_length=255, description="A retry with the same key and content is stored once."
    )


class EventOut(EventIn):
    """An event as it is stored: what was sent, and the service's stamps. With `fields`, the fields asked for alone."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "required": [],
            "examples": [
                {
                    "id": "01a1fdf2-d2cc-7e1f-94f5-0939230d076e",
                    "tenant_id": "k3v9x2m4q8w1z7t5",
                    "timestamp": "2026-11-21T11:40:00.123456Z",
                    "received_at": "2026-11-21T11:40:00.201844Z",
                    "salt": "X-ucPJUGkqqV4FoAraNPOQ",
                    **{k: v for k, v in EVENT_EXAMPLE.items() if k != "timestamp"},
                }
            ],
        },
    )

    id: str
    tenant_id: str
    received_at: datetime
    salt: str = Field(description="Random; keeps the event's hash from telling anything once the event is erased.")


class FieldProblem(BaseModel):
    loc: list[str | int]
    msg: str
    type: str


class ItemProblem(BaseModel):
    code: str
    message: str
    errors: list[FieldProblem]


class Accepted(BaseModel):
    """The event is durable; it is found by its id at once with `wait`, and by search within a second or two."""

    id: str = Field(examples=["01a1fdf2-d2cc-7e1f-94f5-0939230d076e"])
    status: Literal["quarantined"] | None = Field(
        None, description="The event is at fault and was kept: `id` is its item's in the quarantine, `error` says why."
    )
    error: ItemProblem | None = None
    warning: ItemProblem | None = Field(None, description=_WARNING)


class ItemOut(BaseModel):
    index: int
    status: Literal["accepted", "refused", "retry", "quarantined"]
    id: str | None = None
    error: ItemProblem | None = None
    warning: ItemProblem | None = Field(None, description=_WARNING)


class BulkOut(BaseModel):
    """One result for each event, in the order sent."""

    accepted: int
    refused: int
    retry: int
    quarantined: int | None = Field(None, description="At fault and kept; left out when there is none.")
    items: list[ItemOut]


class WatermarkOut(BaseModel):
    """Every event accepted before `complete_through` can be in the answer; null: not known yet."""

    complete_through: datetime | None
    rebuilding: bool


class SearchOut(BaseModel):
    data: list[EventOut]
    next_cursor: str | None
    total: int
    total_relation: Literal["exact", "at_least"]
    watermark: WatermarkOut
    answered_by: Literal["index", "store"]


class Operation(BaseModel):
    op: Literal["add", "remove", "replace"]
    path: str = Field(description="A JSON Pointer (RFC 6901).")
    value: Any = Field(None, description="In the state's own bytes; not there for `remove`.")


class ChangesOut(BaseModel):
    id: str
    changed_paths: list[str] = Field(description="What search finds the event by; at most 256.")
    patch: list[Operation]


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; listed in the docs.")
    request_id: str
    errors: list[FieldProblem] | None = None
