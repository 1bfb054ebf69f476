"""Tenants, as the platform's operators see them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.access import KeyOut
from api.schemas.masking import Masking, MaskingRuleIn
from core.access import Role
from core.placement import Period
from core.tenant_settings import DEFAULT_RETENTION_DAYS, MAX_RETENTION_DAYS, AccessAudit

_Limit = Annotated[int, Field(ge=1, le=1 << 53, strict=True)] | None
Name = Annotated[str, Field(min_length=1, max_length=200, description="For people.")]
Status = Annotated[
    Literal["active", "suspended"], Field(description="A suspended tenant's tokens reach nothing until it is active.")
]
RetentionDays = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_RETENTION_DAYS,
        strict=True,
        description="Days from `received_at` until an event is archived and removed.",
    ),
]
IndexPeriod = Annotated[
    Period, Field(description="One index a year, month or day; a change holds from the next midnight (UTC) on.")
]
Audit = Annotated[
    AccessAudit, Field(description="What becomes of a read that cannot be recorded: `strict` refuses it.")
]
Quarantine = Annotated[
    bool, Field(strict=True, description="Whether events that fail validation are kept and flagged instead of refused.")
]
_SETTINGS: Final[dict[str, Any]] = {
    "name": "Acme",
    "status": "active",
    "retention_days": 365,
    "quotas": {"events_per_second": 500, "bytes_per_day": 10_000_000_000},
    "masking": [{"by": "key", "match": "iban", "action": "hash"}],
    "index_period": "month",
    "access_audit": "strict",
    "quarantine": False,
}
_NO_QUOTAS: Final = dict.fromkeys(
    (f"{what}_per_{period}" for period in ("second", "day") for what in ("requests", "events", "bytes")), None
)
TENANT: Final[dict[str, Any]] = {
    "tenant_id": "k3v9x2m4q8w1z7t5",
    **_SETTINGS,
    "quotas": {**_NO_QUOTAS, **_SETTINGS["quotas"]},
    "placements": [{"since": "1970-01-01T00:00:00.000000Z", "period": "month"}],
    "created_at": "2026-11-21T11:40:00.000000Z",
    "revision": 3,
}


class QuotasIn(BaseModel):
    """The most that is taken in a second and in a day (UTC); null: no limit. Bytes are those of request bodies."""

    model_config = ConfigDict(extra="forbid")

    requests_per_second: _Limit = None
    events_per_second: _Limit = None
    bytes_per_second: _Limit = None
    requests_per_day: _Limit = None
    events_per_day: _Limit = None
    bytes_per_day: _Limit = None


Quotas = Annotated[QuotasIn, Field(description="The most that is taken.")]


class TenantIn(BaseModel):
    """A new tenant; what is left out has its default."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "Acme", "retention_days": 365}]})

    name: Name
    status: Status = "active"
    retention_days: RetentionDays = DEFAULT_RETENTION_DAYS
    quotas: Quotas = Field(default_factory=QuotasIn)
    masking: Masking = Field(default_factory=list)
    index_period: IndexPeriod = Period.MONTH
    access_audit: Audit = AccessAudit.STRICT
    quarantine: Quarantine = False


class TenantSettingsIn(TenantIn):
    """All that is set for a tenant; what is left out gets its default."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_SETTINGS]})

    status: Status


class TenantPatchIn(BaseModel):
    """A JSON merge patch (RFC 7396) of a tenant's settings: null gives one its default."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"retention_days": 30, "quotas": {"bytes_per_day": None}}]}
    )

    name: Name | None = None
    status: Status | None = None
    retention_days: RetentionDays | None = None
    quotas: Quotas | None = None
    masking: Masking | None = None
    index_period: IndexPeriod | None = None
    access_audit: Audit | None = None
    quarantine: Quarantine | None = None


class PlacementOut(BaseModel):
    """From `since` on (by `received_at`), events go into one index a `period`."""

    since: str
    period: Period


class TenantOut(BaseModel):
    """A tenant and all that is set for it."""

    model_config = ConfigDict(json_schema_extra={"examples": [TENANT]})

    tenant_id: str
    name: str
    status: Literal["active", "suspended", "deleting"]
    retention_days: int
    quotas: QuotasIn
    masking: list[MaskingRuleIn]
    index_period: Period = Field(description="The newest of `placements`.")
    placements: list[PlacementOut]
    access_audit: AccessAudit
    quarantine: bool
    created_at: str
    revision: int = Field(description="Grows with each change; the `ETag`.")


class NewTenantOut(TenantOut):
    """A new tenant, with its first key."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                TENANT
                | {
                    "revision": 0,
                    "key": {
                        "client_id": "ock_6c1f0a9be2d34785c0d1e2f3",
                        "client_secret": "ocs_...",
                        "roles": [Role.ADMIN.value],
                    },
                }
            ]
        }
    )

    key: KeyOut


class TenantsOut(BaseModel):
    data: list[TenantOut]
    next_cursor: str | None
    total: int
