"""A producer of events beside the API: a command, or a job, that has something to record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.commit import GroupCommit
from core.ports import Ledger, Queue


@asynccontextmanager
async def producer(queue: Queue, ledger: Ledger) -> AsyncIterator[GroupCommit]:
    """A group commit of its own, which the ledger knows of before its first envelope and as ended after its last.

    For a moment's work: one that lives longer has to beat every second.
    """
    commit = GroupCommit(queue)
    await ledger.beat(commit.heartbeat())
    try:
        yield commit
    finally:
        await commit.drain()
        await ledger.beat(commit.heartbeat(ended=True))


class Occasional:
    """A producer of a process that now and then has something to record: one for all of its life, which the ledger
    takes for ended in between, so that an idle one holds no watermark back."""

    def __init__(self, queue: Queue, ledger: Ledger) -> None:
        self._commit = GroupCommit(queue)
        self._ledger = ledger
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[GroupCommit]:
        """Its group commit, for a moment's work; raises `Unavailable` when the ledger cannot be told."""
        async with self._lock:
            await self._ledger.beat(self._commit.heartbeat())
            try:
                yield self._commit
            finally:
                await self._commit.drain()
                last = self._commit.heartbeat(ended=True)
                await self._ledger.beat(last)
                self._commit.voids_recorded(last.voided)
