"""Usage and the quotas of keys, as clients see them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.tenants import QuotasIn

_DAY: Final[dict[str, Any]] = {"requests": 18044, "events": 910233, "bytes": 500628150, "reads": 1204}
_QUOTAS: Final[dict[str, Any]] = QuotasIn(events_per_second=500, bytes_per_day=10_000_000_000).model_dump()


class AmountsOut(BaseModel):
    requests: int = Field(description="Let in, whatever the answer; those that manage the tenant do not count.")
    events: int = Field(description="Accepted.")
    bytes: int = Field(description="Of the bodies in which accepted events came, unpacked.")
    reads: int = Field(description="Answered requests that read the log or what is made of it.")


class DayOut(AmountsOut):
    day: str = Field(description="In UTC.")


class UsageOut(BaseModel):
    """What a tenant used, by the day (UTC). The newest figures may lack the last few seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant_id": "k3v9x2m4q8w1z7t5",
                    "from": "2026-11-01",
                    "to": "2026-11-22",
                    "data": [{"day": "2026-11-21", **_DAY}],
                    "total": _DAY,
                    "quotas": _QUOTAS,
                }
            ]
        }
    )

    tenant_id: str
    from_: str = Field(alias="from", description="The first day.")
    to: str = Field(description="The day after the last.")
    data: list[DayOut] = Field(description="Days on which nothing was used are left out.")
    total: AmountsOut
    quotas: QuotasIn = Field(description="The tenant's.")


class KeyQuotasIn(QuotasIn):
    """The most that is taken with one key, beside the tenant's own quotas; null, or left out: no limit."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_QUOTAS]})
