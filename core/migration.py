"""Migrations: from the layout that an older version left in store and index to this version's.

Expand steps add what this version needs and take nothing away, so that older processes work on; contract steps take
away what only older processes used, and come when none is left. Each step may be run again, and by several at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from core import instant
from core.errors import Conflict, OcelotError, Unavailable

log = logging.getLogger(__name__)
LAYOUT: Final = 2
"""Of the store and the index, as this version reads and writes them; counts up with each contract step."""
ANNOUNCE_SECONDS: Final = 30.0
ALIVE: Final = 150 * 1_000_000
"""Microseconds since its last word after which a process counts as ended."""
LEASE: Final = 30 * 1_000_000
"""Microseconds for which a killed migration keeps others waiting."""


class Phase(StrEnum):
    EXPAND = "expand"
    CONTRACT = "contract"


@dataclass(frozen=True, slots=True)
class Step:
    """One change. Without `is_done`, the store's record tells whether it was made."""

    id: str
    phase: Phase
    title: str
    run: Callable[[], Awaitable[object]]
    is_done: Callable[[], Awaitable[bool]] | None = None
    layout: int = 1
    """Of a contract step: the least layout that a process must know to work on after it."""


@dataclass(frozen=True, slots=True)
class Applied:
    at: int
    layout: int
    """The least layout that a process must know since then."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that said it lives; one of a version that says nothing of it has layout 1."""

    id: str
    layout: int


class MigrationRecords(Protocol):
    """What was done, and who is at work; in the store."""

    async def applied(self) -> dict[str, Applied]:
        """By the step's id."""

    async def is_restoring(self) -> bool:
        """Whether a backup is being put into the store."""

    async def mark(self, step_id: str, applied: Applied) -> None:
        """Once; the first time counts."""

    async def take(self, owner: str, now: int, until: int) -> bool:
        """Whether `owner` has the only permission to migrate, from `now` until then; also to prolong it."""

    async def release(self, owner: str) -> None: ...

    async def announce(self, process: Process, at: int) -> None:
        """That the process lives."""

    async def processes(self, since: int) -> list[Process]:
        """Those heard of since then."""

    async def is_fresh(self) -> bool:
        """Whether nothing is in the store yet."""


@dataclass(frozen=True, slots=True)
class StepState:
    step: Step
    applied_at: int | None
    """None where only the thing itself tells that it is there."""
    is_done: bool


class Migrator:
    """Brings store and index to this version's layout; `clock` gives microseconds."""

    def __init__(
        self,
        records: MigrationRecords,
        steps: Sequence[Step],
        owner: str,
        clock: Callable[[], int] = instant.now_us,
    ) -> None:
        self._records = records
        self._steps = steps
        self._owner = owner
        self._clock = clock

    async def status(self) -> list[StepState]:
        """Every step in its order; raises `Unavailable` when the store cannot tell."""
        return await self._states(self._steps)

    async def is_ready(self) -> bool:
        """Whether this version can work on the store: every recorded expand step is made.

        Raises `Conflict` when a newer version has taken away what this one needs, `Unavailable` while a backup is put
        into the store.
        """
        if await self._records.is_restoring():
            raise Unavailable("store", "a backup is being restored, or its restore was broken off: `ocelot restore`")
        applied = await self._records.applied()
        if any(each.layout > LAYOUT for each in applied.values()):
            raise Conflict("the store was migrated past this version, which can work on it no more")
        return all(s.id in applied for s in self._steps if s.phase is Phase.EXPAND and s.is_done is None)

    async def expand(self, *, index: bool = True) -> list[Step]:
        """Make every expand step that is missing; the steps made. A fresh store has nothing to contract.

        Without `index` the steps are left out that the index itself tells of, which then need not be up.
        """
        async with self._alone():
            fresh = await self._records.is_fresh()
            states = await self._states([step for step in self._steps if index or step.is_done is None])
            made = [await self._make(state.step) for state in states if _is_due(state, Phase.EXPAND)]
            if fresh:
                for step in self._steps:
                    if step.phase is Phase.CONTRACT:
                        await self._mark(step)
            return made

    async def contract(self) -> list[Step]:
        """Make every contract step that is missing; the steps made.

        Raises `Conflict` when an expand step is missing, or a process is alive that such a step would break.
        """
        async with self._alone():
            states = await self.status()
            if any(_is_due(state, Phase.EXPAND) for state in states):
                raise Conflict("run `ocelot migrate` first: not every expanding step is made")
            due = [state.step for state in states if _is_due(state, Phase.CONTRACT)]
            await self._require_none_older(max((step.layout for step in due), default=1))
            return [await self._make(step) for step in due]

    async def _require_none_older(self, layout: int) -> None:
        older = [p for p in await self._records.processes(self._clock() - ALIVE) if p.layout < layout]
        if older:
            several = f"{len(older)} processes of an older version are" if len(older) > 1 else "an older process is"
            raise Conflict(f"{several} at work, or was within the last minutes: contract when none is left")

    async def _states(self, steps: Sequence[Step]) -> list[StepState]:
        applied = await self._records.applied()
        states = []
        for step in steps:
            known = applied.get(step.id)
            is_done = known is not None if step.is_done is None else await step.is_done()
            states.append(StepState(step, known.at if known is not None else None, is_done))
        return states

    async def _make(self, step: Step) -> Step:
        log.info("migrating: %s (%s)", step.id, step.title)
        await step.run()
        await self._mark(step)
        return step

    async def _mark(self, step: Step) -> None:
        await self._records.mark(step.id, Applied(self._clock(), step.layout))

    def _alone(self) -> AbstractAsyncContextManager[None]:
        return _alone(self._records, self._owner, self._clock)


def _is_due(state: StepState, phase: Phase) -> bool:
    return state.step.phase is phase and not state.is_done


@asynccontextmanager
async def _alone(records: MigrationRecords, owner: str, clock: Callable[[], int]) -> AsyncIterator[None]:
    """While nobody else migrates; raises `Unavailable` when somebody does."""
    if not await records.take(owner, clock(), clock() + LEASE):
        raise Unavailable("store", "another process is migrating the store")
    prolonging = asyncio.create_task(_prolong(records, owner, clock))
    try:
        yield
    finally:
        prolonging.cancel()
        with suppress(OcelotError):
            await records.release(owner)


async def _prolong(records: MigrationRecords, owner: str, clock: Callable[[], int]) -> None:
    while True:
        await asyncio.sleep(LEASE / 3_000_000)
        with suppress(OcelotError):
            await records.take(owner, clock(), clock() + LEASE)


async def announce_forever(records: MigrationRecords, process_id: str) -> None:
    """Say now and again that this process lives and which layout it knows."""
    while True:
        with suppress(OcelotError):
            await records.announce(Process(process_id, LAYOUT), instant.now_us())
        await asyncio.sleep(ANNOUNCE_SECONDS)
