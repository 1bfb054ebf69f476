"""Legal holds as clients see them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.jobs import FilterIn

_REASON: Final = "Ocelot ./. Serval, court file 12 O 345/26"
_SEARCH: Final[dict[str, Any]] = {"query": {"field": "user_id", "equals": "ana"}, "from": "2026-01-01T00:00:00Z"}
HOLD: Final[dict[str, Any]] = {
    "id": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61",
    "search": _SEARCH,
    "reason": _REASON,
    "made_by": "key:ock_6c1f0a9be2d34785c0d1e2f3",
    "made_at": "2026-11-21T11:40:00.000000Z",
    "matched": 1204,
    "matched_relation": "exact",
    "released_by": None,
    "released_at": None,
    "release_reason": None,
}


class HoldIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"search": _SEARCH, "reason": _REASON}]})

    search: FilterIn = Field(description="Which events; all of the tenant when it is empty.")
    reason: str = Field(min_length=1, max_length=1000, description="Why, for those who ask later.")


class ReleaseIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "settled on 2027-03-01"}]})

    reason: str = Field(min_length=1, max_length=1000)


class HoldOut(BaseModel):
    """A legal hold. It stands until `released_at`."""

    model_config = ConfigDict(json_schema_extra={"examples": [HOLD]})

    id: str
    search: dict[str, Any] = Field(description="As it was sent; relative times are relative to `made_at`.")
    reason: str
    made_by: str
    made_at: str
    matched: int = Field(description="Events that it covered when it was made; later ones are covered as well.")
    matched_relation: str = Field(description="`exact` or `at_least`.")
    released_by: str | None
    released_at: str | None
    release_reason: str | None


class HoldsOut(BaseModel):
    """The newest first, released ones too."""

    data: list[HoldOut]
    next_cursor: str | None
