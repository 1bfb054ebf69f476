"""A producer of events beside the API: a command, or a job, that has something to record."""

from __future__ import annotations

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
