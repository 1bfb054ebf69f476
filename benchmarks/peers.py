"""What Ocelot is measured against: the plain ways to do the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from fastapi import FastAPI
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, IPvAnyAddress

from core import envelope, instant
from core.envelope import Header, Record
from core.ports import Heartbeat, Message, Queue


class PlainEvent(BaseModel):
    """The event's contract as pydantic checks it: the same fields, types and bounds that Ocelot checks."""

    model_config = ConfigDict(extra="forbid")

    action: str = Field(min_length=1, max_length=8192)
    timestamp: AwareDatetime | None = None
    severity: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    outcome: Literal["success", "failure", "denied"] | None = None
    message: str | None = Field(None, max_length=65536)
    user_id: str | None = Field(None, max_length=8192)
    session_id: str | None = Field(None, max_length=8192)
    ip_address: IPvAnyAddress | None = None
    user_agent: str | None = Field(None, max_length=8192)
    resource_type: str | None = Field(None, max_length=8192)
    resource_id: str | None = Field(None, max_length=8192)
    request_id: str | None = Field(None, max_length=8192)
    trace_id: str | None = Field(None, max_length=8192)
    source: str | None = Field(None, max_length=8192)
    tags: list[str] | None = Field(None, max_length=64)
    before_state: dict[str, Any] | None = None
    after_state: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    idempotency_key: str | None = Field(None, max_length=255)


plain = FastAPI()


@plain.post("/bulk")
async def parse_only(events: list[PlainEvent]) -> dict[str, int]:
    """Parses and forgets: no token, no mask, no stamp, no queue."""
    return {"accepted": len(events)}


class OneSendEach:
    """In place of group commit: each request sends its own envelope and waits for it, one send after another."""

    def __init__(self, queue: Queue) -> None:
        self.pending_bytes = 0
        self.producer = "peer"
        self._queue = queue
        self._one = asyncio.Lock()

    @contextmanager
    def stamping(self) -> Iterator[int]:
        yield instant.now_us()

    async def submit(self, records: Sequence[Record], stamp: int | None = None) -> list[tuple[int, int, Exception]]:
        header = Header(
            id="peer",
            producer="peer",
            sequence=1,
            made_at=instant.now_us(),
            events={records[0].tenant_id: len(records)},
        )
        message = Message(envelope.pack(header, records))
        async with self._one:
            [error] = await self._queue.send([message])
        return [] if error is None else [(0, len(records), error)]

    def waited(self) -> float:
        """Nothing waits for an envelope."""
        return 0.0

    async def drain(self) -> None:
        """Nothing is ever left over."""

    def heartbeat(self, *, ended: bool = False) -> Heartbeat:
        return Heartbeat("peer", 0, instant.now_us(), ended=ended)

    def voids_recorded(self, voided: Sequence[int]) -> None:
        """Nothing is voided."""
