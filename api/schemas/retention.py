"""Cleaning up, restoring and the archive as clients see them."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.jobs import JobOut

_JOB: Final[dict[str, Any]] = {
    "id": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61",
    "kind": "retention",
    "state": "queued",
    "spec": {"before": 1785542400000000},
    "done": 0,
    "total": None,
    "result": None,
    "error": None,
    "attempts": 0,
    "asked_by": "key:ock_6c1f0a9be2d34785c0d1e2f3",
    "created_at": "2026-11-21T11:40:00.000000Z",
    "updated_at": "2026-11-21T11:40:00.000000Z",
    "expires_at": "2026-11-28T11:40:00.000000Z",
}
EXPECTED: Final[dict[str, Any]] = {
    "dry_run": True,
    "before": "2026-08-01T00:00:00.000000Z",
    "events": 120418,
    "events_relation": "exact",
    "holds": [
        {
            "id": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61",
            "reason": "court file 12 O 345/26",
            "events": 1204,
            "events_relation": "exact",
        }
    ],
}
STARTED: Final[dict[str, Any]] = {"dry_run": False, "before": EXPECTED["before"], "job": _JOB}
RESTORING: Final[dict[str, Any]] = {
    "job": _JOB
    | {
        "kind": "restore",
        "spec": {"received_from": 1782864000000000, "received_to": 1785542400000000, "until": 1795866000000000},
    }
}
SEGMENT: Final[dict[str, Any]] = {
    "id": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f62",
    "received_from": "2026-07-31T00:00:04.101293Z",
    "received_to": "2026-07-31T23:59:58.442170Z",
    "events": 41877,
    "bytes": 23032350,
    "file": "archive/k3v9x2m4q8w1z7t5/2026/07/31/019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f62/events.parquet",
    "file_bytes": 3906112,
    "sha256": "9f2c...",
    "archived_at": "2026-11-21T11:40:07.204410Z",
    "state": "removed",
    "restored_until": None,
}


class HeldOut(BaseModel):
    """A hold, and how many of the events it keeps."""

    id: str
    reason: str
    events: int
    events_relation: Literal["exact", "at_least"]


class CleanupOut(BaseModel):
    """What would go; nothing has. An event that several holds cover is counted for each."""

    dry_run: bool
    before: str
    events: int = Field(description="Received before then, those that are held included.")
    events_relation: Literal["exact", "at_least"]
    holds: list[HeldOut]


class CleanupJobOut(BaseModel):
    dry_run: bool
    before: str
    job: JobOut


class RestoreIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"received_from": "2026-07-01T00:00:00Z", "received_to": "2026-08-01T00:00:00Z", "keep_days": 7}
            ]
        },
    )

    received_from: str = Field(description="`received_at` from here on: RFC 3339, or relative to now, such as `-120d`.")
    received_to: str = Field(description="`received_at` before this.")
    keep_days: int = Field(7, ge=1, le=366, description="Days after which they leave store and index again.")


class RestoreOut(BaseModel):
    job: JobOut


class SegmentOut(BaseModel):
    """One file of the archive."""

    id: str
    received_from: str = Field(description="`received_at` of its first event.")
    received_to: str = Field(description="The same of its last one.")
    events: int
    bytes: int = Field(description="Of the events.")
    file: str
    file_bytes: int
    sha256: str = Field(description="Of the file.")
    archived_at: str
    state: Literal["archived", "removed", "restored"] = Field(
        description="`archived`: still in store and index, or some of them; `removed`: in the archive alone; "
        "`restored`: brought back, until `restored_until`."
    )
    restored_until: str | None


class ArchiveOut(BaseModel):
    """The oldest events first."""

    data: list[SegmentOut]
    next_cursor: str | None
