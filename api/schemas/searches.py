"""Shapes of searches in JSON, for the description: `core.query.tree` reads them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

TREE: Final[dict[str, Any]] = {
    "and": [
        {"field": "outcome", "equals": ["denied", "failure"]},
        {
            "or": [
                {"field": "action", "prefix": "aws.iam."},
                {"field": "metadata.role", "equals": "admin"},
                {"text": "password reset"},
            ]
        },
        {"not": {"field": "ip_address", "cidr": "10.0.0.0/8"}},
    ]
}
Values = str | int | float | bool | list[str | int | float | bool]


class TreeIn(BaseModel):
    """One of `and`, `or`, `not`, `text`, or `field` with one operator. Operators nest 8 deep at most."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    and_: list[TreeIn] | None = Field(None, alias="and", min_length=1)
    or_: list[TreeIn] | None = Field(None, alias="or", min_length=1)
    not_: TreeIn | None = Field(None, alias="not")
    text: str | None = Field(None, max_length=1024, description="Full text, as `q` of `GET /logs`.")
    field: str | None = Field(
        None, description="A named field, a path such as `metadata.user.name`, `timestamp` or `received_at`."
    )
    equals: Values | None = Field(None, description="The value, or one of several.")
    prefix: Values | None = Field(None, description="How the value begins.")
    cidr: Values | None = Field(None, description="The network of `ip_address`.")
    phrase: Values | None = Field(None, description="Words of `message`, next to each other.")
    exists: bool | None = Field(None, description="Whether the field is there.")
    from_: str | None = Field(None, alias="from", description="A time: from here on.")
    to: str | None = Field(None, description="A time: before this.")


class SearchIn(BaseModel):
    """A query as JSON. Every member may be left out; times are RFC 3339, or relative to now, such as `-1h`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"query": TREE, "from": "-7d", "sort": "-timestamp"}]}
    )

    query: TreeIn | None = None
    from_: str | None = Field(None, alias="from", description="`timestamp` from here on.")
    to: str | None = Field(None, description="`timestamp` before this.")
    received_from: str | None = Field(None, description="`received_at` from here on.")
    received_to: str | None = Field(None, description="`received_at` before this.")
    sort: str = Field("-timestamp", description="`-timestamp`, `timestamp`, `-received_at` or `received_at`.")
    limit: int = Field(50, ge=1, le=1000)
    cursor: str | None = Field(None, description="`next_cursor` of the page before; the rest must be the same.")


SEARCH: Final[dict[str, Any]] = {
    "id": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61",
    "name": "Denied outside the office",
    "query": {"query": TREE, "from": "-7d"},
    "owner": "key:ock_6c1f0a9be2d34785c0d1e2f3",
    "created_at": "2026-11-21T11:40:00.000000Z",
    "updated_at": "2026-11-21T11:40:00.000000Z",
}


class SavedSearchIn(BaseModel):
    """A query to keep, as it is to be asked each time: relative times are relative to the run."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"name": SEARCH["name"], "query": SEARCH["query"]}]}
    )

    name: str = Field(min_length=1, max_length=200)
    query: str | SearchIn = Field(
        description="The parameters of `GET /logs` as in a URL, or the body of `POST /logs/search`, without `limit` "
        "and `cursor`.",
        examples=["outcome=denied&from=-24h"],
    )


class SavedSearchOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [SEARCH]})

    id: str
    name: str
    query: str | SearchIn = Field(description="As it was written.")
    owner: str = Field(description="Who made it, and may change it beside the administrators.")
    created_at: str
    updated_at: str


class SavedSearchesOut(BaseModel):
    """The newest first."""

    data: list[SavedSearchOut]
    next_cursor: str | None
    total: int
