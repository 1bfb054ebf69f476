"""Viewer links as clients see them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.searches import TreeIn

FILTER: Final[dict[str, Any]] = {"field": "metadata.customer", "equals": "c-1042"}


class ViewerLinkIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"filter": FILTER, "expires_in": 900, "label": "portal of customer c-1042"}]},
    )

    filter: TreeIn = Field(description="The events that the link reaches: a tree, as `query` of `POST /logs/search`.")
    expires_in: int = Field(900, ge=1, le=86400, description="Seconds; a day at most.")
    label: str = Field("", max_length=200, description="What it is for, for people.")


class ViewerLinkOut(BaseModel):
    """A viewer link as it is recorded; its token is not."""

    id: str
    label: str
    filter: dict[str, Any]
    made_by: str
    made_at: str
    expires_at: str
    revoked_at: str | None


class NewViewerLinkOut(ViewerLinkOut):
    """A new viewer link. The token is shown this once; who holds it can read the filter in it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0006442f8b1c2d003f9a61d2c07b4e58",
                    "label": "portal of customer c-1042",
                    "filter": FILTER,
                    "made_by": "key:ock_6c1f0a9be2d34785c0d1e2f3",
                    "made_at": "2026-11-21T11:40:00.000000Z",
                    "expires_at": "2026-11-21T11:55:00.000000Z",
                    "revoked_at": None,
                    "token": "eyJhbGciOiJFUzI1NiIs...",
                }
            ]
        }
    )

    token: str


class ViewerLinksOut(BaseModel):
    data: list[ViewerLinkOut]
    next_before: str | None = Field(description="`before` of the next page.")
