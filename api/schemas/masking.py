"""Shapes of the masking routes."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.events import EventIn
from core.masking.own import LIMITS
from core.tenant_settings import MaskAction, MaskBy

_RULES: Final[Any] = [
    {"by": "key", "match": "*email", "action": "hash"},
    {"by": "path", "match": "$.metadata.patient..diagnosis", "action": "remove"},
    {"by": "pattern", "match": r"\b\d{3}-\d{2}-\d{4}\b", "action": "redact"},
]
_SENT: Final[Any] = {
    "action": "patient.updated",
    "message": "Ana changed the record of 123-45-6789",
    "metadata": {"email": "ana@example.com", "patient": {"id": 7, "diagnosis": "J45"}},
}


class MaskingRuleIn(BaseModel):
    """What to mask on top of the built-in rules: values by their key's name or a path, or text by a pattern."""

    model_config = ConfigDict(extra="forbid")

    by: MaskBy
    match: str = Field(
        min_length=1,
        max_length=LIMITS["match"],
        description="By `key`: a member's name, in any case and without separators, `*` at its ends for anything. "
        "By `path`: RFC 9535 with names, indexes, `*` and `..`. By `pattern`: a regular expression of RE2.",
        examples=["*email"],
    )
    action: MaskAction = Field(
        description="`remove` takes key and value away, `redact` puts `[masked]` in the value's place, `hash` an HMAC "
        "under a secret of the tenant: equal values stay equal."
    )


Masking = Annotated[
    list[MaskingRuleIn], Field(max_length=LIMITS["rules"], description="In this order, on top of the built-in rules.")
]


class MaskingIn(BaseModel):
    """All of a tenant's own rules: what is not named is removed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"rules": _RULES}]})

    rules: Masking


class MaskingOut(BaseModel):
    """The rules in their order. `limits` says how many there may be, and how large."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rules": _RULES, "limits": dict(LIMITS)}]})

    rules: list[MaskingRuleIn]
    limits: dict[str, int]


class PreviewIn(BaseModel):
    """An event, and the rules to try on it; without `rules` those that are set."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"event": _SENT, "rules": _RULES}]})

    event: EventIn
    rules: Masking | None = None


class PreviewOut(BaseModel):
    """The event as it would be stored, but for its stamps: id, tenant, times and salt."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event": {
                        "action": "patient.updated",
                        "severity": "INFO",
                        "message": "Ana changed the record of [masked]",
                        "metadata": {"email": "[hmac:jfUaEo0F2EFZayK4Ngkl2g]", "patient": {"id": 7}},
                    },
                    "by_default": False,
                    "changes": [1, 1, 1],
                }
            ]
        }
    )

    event: dict[str, Any]
    by_default: bool = Field(description="Whether the built-in rules masked something.")
    changes: list[int] = Field(description="How many places each rule changed, in the rules' order.")
