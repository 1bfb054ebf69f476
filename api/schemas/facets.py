"""Shapes of the facets' routes."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from core.facets import MAX_FACETS, MAX_PATH, FacetType

_AMOUNT: Final[dict[str, Any]] = {"name": "amount", "path": "metadata.order.amount", "type": "number"}
_CUSTOMER: Final[dict[str, Any]] = {"name": "customer", "path": "metadata.customer.id", "type": "keyword"}


class FacetIn(BaseModel):
    """A path into free-form data whose values the index keeps apart, so that they can be counted and compared."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=64, description="1 to 32 of a-z, 0-9 and _, a letter first.", examples=["amount"])
    path: str = Field(
        max_length=MAX_PATH, description="As in a filter: the keys joined by dots.", examples=["metadata.order.amount"]
    )
    type: FacetType = Field(description="What does not fit it is left out.", examples=["number"])


class FacetsIn(BaseModel):
    """All of a tenant's facets: what is not named is removed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"facets": [_AMOUNT, _CUSTOMER]}]})

    facets: list[FacetIn] = Field(max_length=MAX_FACETS)


class FacetsOut(BaseModel):
    """The facets by name. `limits` says how many of each type there may be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"facets": [_AMOUNT, _CUSTOMER], "limits": {"keyword": 16, "number": 16, "date": 8, "ip": 8}},
            ]
        }
    )

    facets: list[FacetIn]
    limits: dict[FacetType, int]
