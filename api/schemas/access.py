"""Shapes of the token routes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from core.access import Role


class TokenOut(BaseModel):
    """An OAuth 2 token answer."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the kind, no secret
    expires_in: int = Field(description="Seconds.", examples=[900])
    scope: str | None = Field(None, description="The token's roles and permission sets, spaces between.")


class TokenErrorOut(BaseModel):
    """RFC 6749's error; the members of every problem are there too."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"examples": [{"error": "invalid_client", "error_description": "..."}]}
    )

    error: str
    error_description: str
    status: int
    code: str


class KeyOut(BaseModel):
    """A new API key. The secret is shown this once."""

    client_id: str
    client_secret: str
    roles: list[Role]


class TokenIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"roles": ["reader"], "expires_in": 900}]}
    )

    roles: list[str] = Field(
        min_length=1, max_length=16, description="`admin`, `writer`, `reader`, names of permission sets."
    )
    expires_in: int = Field(900, ge=1, le=86400, description="Seconds.")
