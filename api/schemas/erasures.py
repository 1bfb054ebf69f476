"""Erasing one person's events, as clients see it."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.event import MAX_STRING_BYTES

PREVIEW: Final[dict[str, Any]] = {
    "dry_run": True,
    "events": 211,
    "events_exact": True,
    "archived_segments_to_read": 12,
    "exports_to_remove": 1,
    "held_by": None,
}
REPORT: Final[dict[str, Any]] = {
    "before": "2026-11-21T11:40:00.000000Z",
    "queue_drained_through": "2026-11-21T11:40:01.204000Z",
    "tombstone_since": "2026-11-21T11:40:01.350000Z",
    "dead_letters": 0,
    "removed": {"events": 211, "index_only": 0, "parked": 0, "quarantined": 1, "archived_events": 40, "exports": 1},
    "left": 0,
    "checked_at": "2026-11-21T11:40:32.018000Z",
}


class ErasureIn(BaseModel):
    """Whose events."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"user_id": "ana"}]})

    user_id: str = Field(min_length=1, max_length=MAX_STRING_BYTES, description="As it is in the events, exactly.")


class ErasurePreviewOut(BaseModel):
    """What erasing the person would do now."""

    model_config = ConfigDict(json_schema_extra={"examples": [PREVIEW]})

    dry_run: Literal[True]
    events: int = Field(description="In the log; without `events_exact`, that many at least.")
    events_exact: bool
    archived_segments_to_read: int = Field(description="Files of the archive that may hold some: all are read.")
    exports_to_remove: int = Field(description="All exports that there are: any of them may hold some.")
    held_by: str | None = Field(description="A legal hold that covers one of the events: nothing is erased then.")
