"""The quarantine, as clients see it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.events import ItemProblem

MAX_IDS: Final = 1000
ITEM: Final[dict[str, Any]] = {
    "id": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61",
    "quarantined_at": "2026-11-21T11:40:00.000000Z",
    "code": "invalid_event",
    "fields": ["usr"],
    "form": "event",
    "size": 41,
    "sha256": "9f2c0b6d1d9c4c0b8a7e6f5d4c3b2a190f8e7d6c5b4a39281706f5e4d3c2b1a0",
    "cut": [],
    "conflicts_with": None,
    "revision": 0,
}
SHOWN: Final[dict[str, Any]] = ITEM | {
    "body": {"action": "user.login", "usr": "ana"},
    "outline": None,
    "fixed": None,
    "fault": {
        "code": "invalid_event",
        "message": "Object contains unknown field `usr`",
        "errors": [{"loc": ["usr"], "msg": "Object contains unknown field `usr`", "type": "unknown_field"}],
    },
}
_MATCH: Final[dict[str, Any]] = {"match": {"code": "invalid_event", "field": "usr"}}


class QuarantinedOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [ITEM]})

    id: str
    quarantined_at: str
    code: str = Field(
        description="Of the error that it would have been refused with; `conflict`: its key is another's."
    )
    fields: list[str] = Field(description="At fault, as paths with dots.")
    form: Literal["event", "head", "outline"] = Field(
        description="`event`: all of it is kept; `head`: its small members; `outline`: its punctuation alone."
    )
    size: int = Field(description="Bytes, as it was sent.")
    sha256: str = Field(description="Of these bytes.")
    cut: list[str] = Field(description="The members that a head leaves out.")
    conflicts_with: str | None = Field(description="The stored event that has its key.")
    revision: int


class ShownOut(QuarantinedOut):
    model_config = ConfigDict(json_schema_extra={"examples": [SHOWN]})

    body: dict[str, Any] | None = Field(description="As it was sent, masked.")
    outline: str | None
    fixed: dict[str, Any] | None = Field(description="As it is after the mappings, if there were any.")
    fault: ItemProblem | None = Field(description="What it would be refused for, were it replayed now.")


class QuarantineOut(BaseModel):
    """The newest first."""

    data: list[QuarantinedOut]
    next_cursor: str | None
    total: int


class MatchIn(BaseModel):
    """Every item with this code and a fault of this field; `{}`: all of them."""

    model_config = ConfigDict(extra="forbid")

    code: str | None = Field(None, max_length=100)
    field: str | None = Field(None, max_length=200)


class ChosenIn(BaseModel):
    """Either `ids` or `match`, of which the newest thousand are taken."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_MATCH]})

    ids: list[str] | None = Field(None, min_length=1, max_length=MAX_IDS)
    match: MatchIn | None = None


class OperationIn(BaseModel):
    """`path` is a JSON Pointer through objects. `to` is the new name for `rename`, a pointer for `move`."""

    model_config = ConfigDict(extra="forbid")

    op: Literal["rename", "move", "drop", "set"]
    path: str = Field(max_length=1000)
    to: str | None = Field(None, max_length=1000)
    value: Any = Field(None, description="For `set`.")


class FixIn(ChosenIn):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [_MATCH | {"mapping": [{"op": "rename", "path": "/usr", "to": "user_id"}]}]},
    )

    mapping: list[OperationIn] = Field(max_length=50, description="In this order; what a path does not find is left.")
    dry_run: bool = Field(False, strict=True, description="Answer what each would be, and keep nothing.")


class DiscardIn(ChosenIn):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_MATCH | {"dry_run": False}]})

    dry_run: bool = Field(True, strict=True, description="Tell what would go; false deletes it for good.")


class DoneOut(BaseModel):
    """What became of one item. `event_id` is that of the stored event, once it has been replayed."""

    id: str
    status: Literal[
        "fixed", "changed_meanwhile", "replayed", "refused", "retry", "discarded", "would_be_discarded", "not_found"
    ]
    event_id: str | None = None
    fixed: dict[str, Any] | None = None
    error: ItemProblem | None = None


class ChangedOut(BaseModel):
    """One result for each item. `left` is how many still match; null for `ids`."""

    items: list[DoneOut]
    left: int | None
