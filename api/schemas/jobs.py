"""Jobs as clients see them."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.searches import TreeIn

_EXAMPLE: Final[dict[str, Any]] = {
    "id": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61",
    "kind": "export",
    "state": "done",
    "spec": {"format": "ndjson", "packing": None, "search": {"received_from": "-30d"}},
    "done": 1204,
    "total": 1204,
    "result": {
        "events": 1204,
        "bytes": 691200,
        "sha256": "9f2c...",
        "file_name": "acme-k3v9x2m4q8w1z7t5_20261022T114000Z_20261121T114000Z.ndjson",
        "received_before": "2026-11-21T11:40:00.000000Z",
    },
    "error": None,
    "attempts": 1,
    "asked_by": "key:ock_6c1f0a9be2d34785c0d1e2f3",
    "created_at": "2026-11-21T11:40:00.000000Z",
    "updated_at": "2026-11-21T11:40:09.120411Z",
    "expires_at": "2026-11-28T11:40:09.120411Z",
}


class JobOut(BaseModel):
    """A job. What `spec` and `result` hold is told by its kind."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    spec: dict[str, Any]
    done: int = Field(description="How many events are done.")
    total: int | None = Field(description="Of how many; null while nobody knows.")
    result: dict[str, Any] | None
    error: str | None = Field(description="Why it failed.")
    attempts: int = Field(description="How often it was taken up since it was asked for.")
    asked_by: str
    created_at: str
    updated_at: str
    expires_at: str = Field(description="When the job, and what it made, is removed once it has ended.")


class FilterIn(BaseModel):
    """What `POST /logs/search` takes, but for `sort`, `limit` and `cursor`: an export is whole and oldest first."""

    model_config = ConfigDict(extra="forbid")

    query: TreeIn | None = None
    from_: str | None = Field(None, alias="from", description="`timestamp` from here on.")
    to: str | None = Field(None, description="`timestamp` before this.")
    received_from: str | None = Field(None, description="`received_at` from here on.")
    received_to: str | None = Field(None, description="`received_at` before this.")


class ExportIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "format": "csv",
                    "packing": "gzip",
                    "search": {"query": {"field": "action", "prefix": "user."}, "received_from": "-30d"},
                }
            ]
        },
    )

    format: Literal["ndjson", "json", "csv", "parquet"] = "ndjson"
    packing: Literal["gzip", "zstd"] | None = Field(None, description="Of the whole file; not of Parquet.")
    search: FilterIn | None = Field(None, description="Which events; all of them when left out.")


class DownloadOut(BaseModel):
    url: str = Field(description="Fetch it without a token. A path alone where the service does not know its address.")
    expires_at: str


class ExportOut(JobOut):
    """An export: a job, and while its file is there, a link to it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_EXAMPLE,
                    "download": {
                        "url": "https://ocelot.example/api/v1/downloads/q3Xv0b...",
                        "expires_at": "2026-11-21T11:55:09.000000Z",
                    },
                }
            ]
        }
    )

    download: DownloadOut | None = Field(description="A new link with each answer; null until the export is done.")


class ExportsOut(BaseModel):
    data: list[ExportOut]
    next_cursor: str | None
