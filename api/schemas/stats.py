"""Shapes of the statistics' route."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.events import WatermarkOut

_EXAMPLE: Final[dict[str, Any]] = {
    "total": {"count": 41, "exactness": "exact"},
    "timeline": {
        "over": "timestamp",
        "interval": "1d",
        "time_zone": "Europe/Berlin",
        "from": "2026-03-28T00:00:00.000000Z",
        "to": "2026-03-30T00:00:00.000000Z",
        "buckets": [
            {"start": "2026-03-28T00:00:00+01:00", "count": 12},
            {"start": "2026-03-29T00:00:00+01:00", "count": 9},
            {"start": "2026-03-30T00:00:00+02:00", "count": 20},
        ],
        "missing": 0,
        "not_indexed": 0,
        "exactness": "exact",
    },
    "groups": [
        {
            "by": "action",
            "values": [{"value": "user.login", "count": 30}, {"value": "order.paid", "count": 7}],
            "other": 4,
            "missing": 0,
            "not_indexed": 0,
            "exactness": "exact",
            "error_bound": 0,
        }
    ],
    "distinct": [
        {"of": "user_id", "count": 8, "missing": 2, "not_indexed": 0, "exactness": "exact", "relative_error": 0}
    ],
    "percentiles": [
        {
            "of": "facet.amount",
            "count": 7,
            "min": 2.5,
            "max": 250.0,
            "values": [{"percent": 50.0, "value": 19.9}, {"percent": 99.0, "value": 250.0}],
            "method": "nearest_rank",
            "missing": 34,
            "not_indexed": 0,
            "exactness": "exact",
        }
    ],
    "watermark": {"complete_through": "2026-11-21T11:40:02.101933Z", "rebuilding": False},
    "answered_by": "index",
}


class TotalOut(BaseModel):
    count: int
    exactness: Literal["exact"]


class RestOut(BaseModel):
    """Events that a figure leaves out."""

    missing: int = Field(description="Events without a value.")
    not_indexed: int = Field(description="Events indexed before the facet was declared; a rebuild takes them in.")


class BucketOut(BaseModel):
    start: datetime = Field(description="In the time zone asked for. It ends where the next one starts.")
    count: int


class TimelineOut(RestOut):
    over: str
    interval: str | None = Field(description="null: there is no range and no event to have one.")
    time_zone: str
    from_: datetime | None = Field(alias="from", description="All figures are of the events from here on.")
    to: datetime | None = Field(description="All figures are of the events before this.")
    buckets: list[BucketOut]
    exactness: Literal["exact"]


class ValueOut(BaseModel):
    value: str | float
    count: int


class GroupOut(RestOut):
    by: str
    values: list[ValueOut] = Field(description="By count, equal counts by value.")
    other: int = Field(description="How often all other values occur.")
    exactness: Literal["exact", "bounded"]
    error_bound: int = Field(description="No count is off by more.")


class DistinctOut(RestOut):
    of: str
    count: int
    exactness: Literal["exact", "approximate"]
    relative_error: float = Field(description="Of an estimate, as a rule.")


class PercentileOut(BaseModel):
    percent: float
    value: float


class PercentilesOut(RestOut):
    of: str
    count: int
    min: float | None
    max: float | None
    values: list[PercentileOut] = Field(description="Each an event's own value, none in between.")
    method: Literal["nearest_rank"]
    exactness: Literal["exact"]


class StatsOut(BaseModel):
    """Figures of the events that match, each with how exact it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    total: TotalOut
    timeline: TimelineOut | None
    groups: list[GroupOut]
    distinct: list[DistinctOut]
    percentiles: list[PercentilesOut]
    watermark: WatermarkOut
    answered_by: Literal["index", "store"]
