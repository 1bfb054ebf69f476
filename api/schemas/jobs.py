"""Jobs as clients see them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class JobOut(BaseModel):
    """A job. What `spec` and `result` hold is told by its kind."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "019aa5b0-4c1e-7000-8f3a-5b2d9c0e4f61",
                    "kind": "export",
                    "state": "done",
                    "spec": {"format": "ndjson", "parameters": {"user_id": ["ana"]}},
                    "done": 1204,
                    "total": 1204,
                    "result": {"events": 1204, "bytes": 691200, "sha256": "9f2c..."},
                    "error": None,
                    "attempts": 1,
                    "asked_by": "key:ock_6c1f0a9be2d34785c0d1e2f3",
                    "created_at": "2026-11-21T11:40:00.000000Z",
                    "updated_at": "2026-11-21T11:40:09.120411Z",
                    "expires_at": "2026-11-28T11:40:09.120411Z",
                }
            ]
        }
    )

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
