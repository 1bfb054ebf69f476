"""API keys and permission sets as clients see them."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from core.access import SET_NAME, SETTABLE, Permission, Role
from core.credentials import MAX_OVERLAP
from core.networks import network

MAX_NETWORKS: Final = 64
MAX_ROLES: Final = 16
MAX_LIFETIME: Final = 10 * 366 * 86_400
CLIENT_ID: Final = "ock_00064df1c2a3b4006c1f0a9b"
CLIENT_SECRET: Final = "ocs_..."  # noqa: S105


def _network(text: str) -> str:
    return str(network(text))


def _set_name(text: str) -> str:
    if not SET_NAME.fullmatch(text) or text in {role.value for role in Role}:
        raise ValueError("must be a-z, 0-9, _ and -, begin with a letter, have up to 32 characters and be no role's")
    return text


def _settable(permission: Permission) -> Permission:
    if permission not in SETTABLE:
        raise ValueError("belongs to no tenant")
    return permission


SetName = Annotated[str, AfterValidator(_set_name)]
Networks = Annotated[list[Annotated[str, AfterValidator(_network)]], Field(max_length=MAX_NETWORKS)]
_NAME: Final = "What it is for, for people."
_NETWORKS: Final = "Addresses and CIDRs that it may be used from; none: from anywhere."


class NewKeyIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "checkout", "roles": ["writer"], "networks": ["203.0.113.0/24"]}]},
    )

    name: str = Field(min_length=1, max_length=200, description=_NAME)
    roles: list[str] = Field(
        min_length=1, max_length=MAX_ROLES, description="`admin`, `writer`, `reader`, names of permission sets."
    )
    networks: Networks = Field([], description=_NETWORKS)
    expires_in: int | None = Field(None, ge=60, le=MAX_LIFETIME, description="Seconds; without it, it does not end.")


class KeyChangeIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"networks": ["203.0.113.7"]}]})

    name: str | None = Field(None, min_length=1, max_length=200, description=_NAME)
    networks: Networks | None = Field(None, description=_NETWORKS)


class RotateIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap": 86_400}]})

    overlap: int = Field(
        86_400,
        ge=0,
        le=MAX_OVERLAP,
        description="Seconds for which the old secrets work on. 0 ends the tokens that they were exchanged for, too.",
    )


class SecretOut(BaseModel):
    """One secret of a key, which itself is not kept."""

    number: int
    created_at: str
    expires_at: str | None


_KEY: Final[dict[str, Any]] = {
    "client_id": CLIENT_ID,
    "name": "checkout",
    "roles": ["writer"],
    "networks": ["203.0.113.0/24"],
    "created_at": "2026-11-21T11:40:00.000000Z",
    "created_by": "key:ock_00064de0a1b2c3005d2e9f81",
    "expires_at": None,
    "revoked_at": None,
    "used_at": "2026-11-21T11:42:10.000000Z",
    "secrets": [{"number": 1, "created_at": "2026-11-21T11:40:00.000000Z", "expires_at": None}],
}


class KeyRecordOut(BaseModel):
    """A key as it is recorded; its secrets are not."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEY]})

    client_id: str
    name: str
    roles: list[str]
    networks: list[str]
    created_at: str
    created_by: str
    expires_at: str | None
    revoked_at: str | None
    used_at: str | None = Field(description="About when it was last exchanged for a token, to the minute.")
    secrets: list[SecretOut] = Field(description="Those that work, or did last.")


class NewSecretOut(KeyRecordOut):
    """A key with its new secret, which is shown this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEY | {"client_secret": CLIENT_SECRET}]})

    client_secret: str


class KeysOut(BaseModel):
    data: list[KeyRecordOut]
    next_cursor: str | None


class PermissionSetIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"permissions": ["logs:view", "catalogue:read"]}]}
    )

    permissions: list[Annotated[Permission, AfterValidator(_settable)]] = Field(
        min_length=1, description="`logs:read` takes `logs:view` along."
    )


class PermissionSetOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "searcher", "permissions": ["catalogue:read", "logs:view"]}]}
    )

    name: str
    permissions: list[str]


class PermissionSetsOut(BaseModel):
    data: list[PermissionSetOut]
