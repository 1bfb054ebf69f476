"""Deleting a tenant, as the platform's operators see it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

PREVIEW: Final[dict[str, Any]] = {
    "dry_run": True,
    "tenant_id": "k3v9x2m4q8w1z7t5",
    "events": 1204311,
    "archive_files": 212,
    "records": {"jobs": 3, "keys": 2, "searches": 11},
    "holds": 0,
}
DELETION: Final[dict[str, Any]] = {
    "tenant_id": "k3v9x2m4q8w1z7t5",
    "state": "done",
    "stage": "done",
    "asked_by": "operator",
    "asked_at": "2026-11-21T11:40:00.000000Z",
    "error": None,
    "report": {
        "tenant_id": "k3v9x2m4q8w1z7t5",
        "asked_by": "operator",
        "asked_at": "2026-11-21T11:40:00.000000Z",
        "closed_at": "2026-11-21T11:40:06.120000Z",
        "tombstone_since": "2026-11-21T11:40:06.131000Z",
        "queue_drained_through": "2026-11-21T11:40:07.002000Z",
        "dead_letters": 0,
        "removed": {
            "events": 1204311,
            "archive_files": 212,
            "indices": 4,
            "records": {"jobs": 3, "keys": 2, "receipts": 48112, "searches": 11},
        },
        "left": {},
        "checked_at": "2026-11-21T11:40:39.480000Z",
    },
}
_UNDER_WAY: Final = DELETION | {"state": "running", "stage": "removing", "report": None}


class DeletionPreviewOut(BaseModel):
    """What deleting the tenant would remove."""

    model_config = ConfigDict(json_schema_extra={"examples": [PREVIEW]})

    dry_run: Literal[True]
    tenant_id: str
    events: int
    archive_files: int
    records: dict[str, int] = Field(description="All else that the store holds of it, by kind.")
    holds: int = Field(description="Legal holds that stand: while there is one, the tenant is not deleted.")


class DeletionOut(BaseModel):
    """A deletion as it stands."""

    model_config = ConfigDict(json_schema_extra={"examples": [DELETION, _UNDER_WAY]})

    tenant_id: str
    state: Literal["running", "failed", "done"]
    stage: Literal["asked", "closing", "removing", "draining", "checking", "done"]
    asked_by: str
    asked_at: str
    error: str | None = Field(description="Why it has failed. Asked for again, it goes on.")
    report: dict[str, Any] | None = Field(
        description="Once it is done: what was removed from where; `left`, which was counted in every place at "
        "`checked_at` and is empty; and through when the queue had been drained by then."
    )
