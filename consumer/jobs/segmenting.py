"""How retention cuts events into segments, and what its job keeps of that from run to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from consumer.jobs.retained import Ports
from core.jobs import Job
from core.ports import Stored
from core.segments import Segment
from core.tenant import TenantScope

_DAY: Final = 86_400_000_000


class Checkpoint(msgspec.Struct):
    """How far a job is, beside what the records of segments say.

    `writing`: the id and the first `received_at` of a segment that is being written, so that what a killed runner left
    of it is removed. `left` and `tail`, by placement: events passed over before the last segment, and after it.
    """

    done: list[str] = []
    dropped: list[str] = []
    writing: tuple[str, int] | None = None
    files: int = 0
    archived: int = 0
    bytes: int = 0
    left: dict[str, int] = {}
    tail: dict[str, int] = {}


@dataclass(slots=True)
class Gathered:
    """Events of the next segment; how many were passed over before the first of them, and since."""

    events: list[Stored] = field(default_factory=list)
    size: int = 0
    passed: int = 0
    passed_since: int = 0

    def ends_before(self, event: Stored, most_events: int, most_bytes: int) -> bool:
        """Whether the event begins another segment: this one is full, or of another day."""
        full = len(self.events) >= most_events or self.size >= most_bytes
        return bool(self.events) and (full or _day(event) != _day(self.events[0]))

    def meet(self, event: Stored, *, goes: bool) -> None:
        if goes:
            self.events.append(event)
            self.size += len(event.body)
            self.passed, self.passed_since = self.passed + self.passed_since, 0
        elif self.events:
            self.passed_since += 1
        else:
            self.passed += 1


async def forget_writing(ports: Ports, scope: TenantScope, state: Checkpoint) -> Segment | None:
    """The segment that was being written when a runner was killed, if it was recorded; else what there is of its file
    is removed."""
    if state.writing is None:
        return None
    segment_id, received_at = state.writing
    segment = await ports.segments.get(scope, segment_id)
    if segment is None:
        await ports.files.remove(scope, segment_id, received_at)
    return segment


def saved(job: Job) -> Checkpoint:
    kept = job.progress.checkpoint
    return Checkpoint() if not kept else msgspec.convert(kept, Checkpoint)


def _day(event: Stored) -> int:
    return event.received_at // _DAY
