"""What an export's job keeps from run to run: its checkpoint, and where its files lie in the archive."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from core.jobs import Job, Json
from core.query import EventQuery, Position

FILES: Final = "exports"


class Run(msgspec.Struct, frozen=True):
    """Parts that one run wrote, in a folder of its own: a runner that lost its lease cannot write into another's."""

    name: str
    parts: int


class Finished(msgspec.Struct, frozen=True):
    """The whole file."""

    name: str
    size: int
    sha256: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every event up to `after` is in the parts of `runs`, in order, `size` bytes in all.

    `bounded`: the query's end is fixed. `complete`: nothing is left to read. `file`: the parts are one file.
    """

    query: EventQuery
    bounded: bool = False
    after: Position | None = None
    events: int = 0
    runs: tuple[Run, ...] = ()
    size: int = 0
    complete: bool = False
    file: Finished | None = None

    def json(self) -> Json:
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built


def checkpoint_of(job: Job) -> Checkpoint:
    return msgspec.convert(job.progress.checkpoint, Checkpoint)


def folder_of(job: Job) -> str:
    """Where all that the job writes lies."""
    return f"{FILES}/{job.tenant_id}/{job.id}"


def part_names(job: Job, checkpoint: Checkpoint) -> list[str]:
    return [part_name(job, run.name, n) for run in checkpoint.runs for n in range(run.parts)]


def part_name(job: Job, run: str, number: int) -> str:
    return f"{folder_of(job)}/parts/{run}/{number:08}"
