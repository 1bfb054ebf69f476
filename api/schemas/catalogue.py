"""Event catalogues as clients see them."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

CatalogueMode = Literal["off", "warn", "enforce"]
_ACTIONS: Final[dict[str, Any]] = {
    "order.refunded": {
        "description": "Money went back to a customer.",
        "schema": {
            "required": ["user_id", "metadata"],
            "properties": {
                "outcome": {"enum": ["success", "failure"]},
                "metadata": {
                    "type": "object",
                    "required": ["order_id", "cents"],
                    "properties": {"order_id": {"type": "string"}, "cents": {"type": "integer", "minimum": 1}},
                    "additionalProperties": False,
                },
            },
        },
    },
    "user.*": {"description": "Anything a user does to their own account."},
}


class ActionIn(BaseModel):
    """One action of a catalogue."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: dict[str, Any] | None = Field(
        None, alias="schema", description="JSON Schema 2020-12 of the event as it is sent; none: any event."
    )
    description: str = Field("", max_length=2000)


class CatalogueIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"mode": "enforce", "actions": _ACTIONS}]}
    )

    mode: CatalogueMode = Field(
        description="`off`: shown only; `warn`: answers tell; `enforce`: what breaks it is refused."
    )
    actions: dict[str, ActionIn] = Field(
        description="By the action's name; one that ends in `.*` stands for all that begin so, `*` for all others."
    )


class CatalogueHeadOut(BaseModel):
    """One version of a catalogue, without its actions."""

    version: int = Field(description="0: there is no catalogue yet.")
    mode: CatalogueMode
    changed_at: str | None
    changed_by: str | None


class CatalogueOut(CatalogueHeadOut):
    """One version of a catalogue."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "version": 3,
                    "mode": "enforce",
                    "changed_at": "2026-11-21T11:40:00.000000Z",
                    "changed_by": "key:ock_6c1f0a9be2d34785c0d1e2f3",
                    "actions": _ACTIONS,
                }
            ]
        }
    )

    actions: dict[str, dict[str, Any]]


class CatalogueVersionsOut(BaseModel):
    data: list[CatalogueHeadOut]
    next_before: int | None = Field(description="`before` of the next page.")
