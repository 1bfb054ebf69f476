"""Rebuilding the index, as clients see it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.jobs import JobOut

MAX_IDS: Final = 1000


class ReindexIn(BaseModel):
    """Either `ids`, or a range of `received_at`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"received_from": "2026-10-01T00:00:00Z", "received_to": "2026-11-01T00:00:00Z"}]
        },
    )

    ids: list[str] | None = Field(None, min_length=1, max_length=MAX_IDS, description="Events, answered for at once.")
    received_from: str | None = Field(None, description="`received_at` from here on: RFC 3339, or `-30d`.")
    received_to: str | None = Field(None, description="`received_at` before this.")


class ReindexedOut(BaseModel):
    """What became of one event.

    `present`: the index had it, and has it as it was; `reduced`: indexed without what the index refuses.
    """

    id: str
    status: Literal["indexed", "present", "reduced", "not_found", "failed"]
    detail: str | None = None


class ReindexOut(BaseModel):
    """Of `ids`: one result for each, in order. Of a range: the job."""

    items: list[ReindexedOut] | None = None
    job: JobOut | None = None


ITEMS: Final[dict[str, Any]] = {
    "items": [
        {"id": "01a1fdf2-d2cc-7e1f-94f5-0939230d076e", "status": "indexed"},
        {"id": "01a1fdf2-d2cc-7e1f-94f5-000000000000", "status": "not_found"},
    ]
}


class ReconcileIn(BaseModel):
    """A range of `received_at`; what is younger than the watermark is left alone."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"received_from": "-30d", "dry_run": False}]}
    )

    received_from: str | None = Field(None, description="`received_at` from here on: RFC 3339, or `-30d`.")
    received_to: str | None = Field(None, description="`received_at` before this.")
    dry_run: bool = Field(True, strict=True, description="Tell what differs and change nothing; false closes the gap.")


class ReconcileOut(BaseModel):
    job: JobOut


RECONCILED: Final[dict[str, Any]] = {
    "received_from": 1790812800000000,
    "received_to": 1793491200000000,
    "compared": 812345,
    "not_indexed": 2,
    "not_stored": 1,
    "indexed": 2,
    "removed": 1,
    "refused": 0,
    "ids_not_indexed": ["01a1fdf2-d2cc-7e1f-94f5-0939230d076e", "01a1fdf2-d2cd-7a02-8c11-5b2d9c0e4f61"],
    "ids_not_stored": ["01a1fdf2-d2ce-7b10-b1a2-0f61939230d0"],
    "ids_refused": [],
    "left": 0,
}
