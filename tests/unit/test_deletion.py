"""Deleting a tenant on stores in memory: what goes and what stays, whatever kills it, and when it must not begin."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient

from consumer.jobs.afterwards import Afterwards
from consumer.jobs.deletion import Pace, TenantDeletion
from consumer.jobs.runner import MAX_ATTEMPTS, JobRunner
from core import deletion
from core.adapters.archive.objects import open_archive
from core.adapters.store.control import MongoControl
from core.adapters.store.events import MongoEventStore
from core.adapters.store.holds import MongoHolds
from core.adapters.store.jobs import MongoJobs
from core.adapters.store.ledger import MongoLedger
from core.adapters.store.purge import MongoPurge
from core.adapters.store.tombstones import MongoTombstones
from core.errors import Conflict, Unavailable
from core.holds import Hold
from core.jobs import JobState
from core.ports import Depth, Generation, Heartbeat
from core.query import EventQuery
from core.tenant import Tenant, TenantScope, TenantStatus, for_system
from tests.contracts.stores import rows
from tests.unit.ports import anything

MINE, OTHER = "aaaaaaaa", "aaaaaaaab"
SCOPE = for_system(MINE, "test")
NOW = 1_790_000_000_000_000
EVENTS = 5


class Killed(BaseException):
    """What a SIGKILL is to the code that it meets."""


class Index:
    def __init__(self) -> None:
        self.all = {
            MINE: [Generation("202611", 1, True), Generation("202612", 2, False)],
            OTHER: [Generation("x", 1, True)],
        }

    async def generations(self, scope: TenantScope) -> list[Generation]:
        return self.all.get(scope.tenant_id, [])

    async def drop(self, scope: TenantScope) -> None:
        self.all.pop(scope.tenant_id, None)


class Queue:
    async def depth(self) -> Depth:
        return Depth(0, 0, 3)


class Counting:
    """Stands for a port; the call before which the process is to die raises `Killed`."""

    def __init__(self, port: object, world: World) -> None:
        self._port, self._world = port, world

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._port, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            self._world.calls += 1
            if self._world.calls == self._world.dies_before:
                raise Killed
            return await own(*arguments, **named)

        return call


class World:
    """Two tenants with the same things, in every place."""

    def __init__(self, folder: Path) -> None:
        self.database = AsyncMongoMockClient()["d"]
        self.now, self.calls, self.dies_before = NOW, 0, -1
        self.index = Index()
        self.archive = open_archive(folder.as_uri(), region="x")
        self.jobs = MongoJobs(self.database)
        self.pace = Pace(closing=0, settle=0, drain_wait=0)

    async def fill(self) -> World:
        self.control = await MongoControl.open(self.database)
        self.ledger = MongoLedger(self.database, lambda: self.now)
        self.holds, self.tombstones = MongoHolds(self.database), MongoTombstones(self.database)
        for tenant_id in (MINE, OTHER):
            await self.control.create_tenant(Tenant(tenant_id, "t", b"s" * 32, 0))
            await MongoEventStore(self.database).insert(rows(for_system(tenant_id, "test"), EVENTS))
            await self.database["searches"].insert_one({"_id": f"s-{tenant_id}", "tenant_id": tenant_id})
            for each in deletion.archive_folders(tenant_id):
                await self.archive.put(f"{each}/2026/file", b"x")
        await self.beat(NOW + 1)
        return self

    async def beat(self, at: int) -> None:
        await self.ledger.beat(Heartbeat("p", 0, at))
        await self.ledger.advance(at)

    def backends(self, wrap: Callable[[object], object] = lambda port: port) -> Any:
        ports = {
            "control": self.control, "holds": self.holds, "tombstones": self.tombstones, "index": self.index,
            "purge": MongoPurge(self.database), "archive": self.archive, "ledger": self.ledger, "queue": Queue(),
        }  # fmt: skip
        return anything(SimpleNamespace(**{name: wrap(port) for name, port in ports.items()}, jobs=self.jobs))

    async def ask(self) -> str:
        tenant = await self.control.tenant(MINE)
        assert tenant is not None
        scope = None if tenant.status is TenantStatus.DELETING else SCOPE
        return (await deletion.ask(self.backends(), tenant, scope, "op", 60)).job

    async def run(self, *, counting: bool = False) -> None:
        """One attempt at whatever job is due."""
        backends = self.backends((lambda port: Counting(port, self)) if counting else (lambda port: port))
        handler = TenantDeletion(backends, self.pace, lambda: self.now)
        claim = await self.jobs.claim(["tenant_deletion"], 60)
        assert claim is not None
        runner = JobRunner(self.jobs, {"tenant_deletion": handler}, keep=60)
        await runner._run(claim)

    async def contents(self) -> dict[str, list[Any]]:
        names = sorted(await self.database.list_collection_names())
        return {name: await self.database[name].find().to_list(None) for name in names if name != "producers"}

    async def traces(self) -> list[str]:
        """Where the tenant is still named."""
        found = [
            name
            for name, documents in (await self.contents()).items()
            if any(MINE in repr(document).replace(OTHER, "") for document in documents)
        ]
        files = await deletion.archived(self.archive, MINE)
        return found + ["archive"] * (files > 0) + ["index"] * bool(self.index.all.get(MINE))


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(tmp_path).fill()


async def test_what_a_process_that_stood_still_writes_after_the_report_is_removed(world: World) -> None:
    """Found with a consumer that was stopped in the middle of a batch for two minutes."""
    others = await rest(world)
    indexed = world.index.all[MINE]
    await world.ask()
    look = Afterwards(world.backends(), lambda: world.now)
    await look.run()
    assert len(await world.traces()) > 2, "one that is under way is not its business"
    await world.run()
    assert await world.traces() == ["jobs", "tombstones"]
    await MongoEventStore(world.database).insert(rows(SCOPE, EVENTS))
    await world.database["accounts"].insert_one({"_id": f"e:{MINE}:1", "tenant_id": MINE})
    world.index.all[MINE] = indexed or [1]
    for each in deletion.archive_folders(MINE):
        await world.archive.put(f"{each}/2026/file", b"x")
    await look.run()
    assert await world.traces() == ["jobs", "tombstones"]
    assert await rest(world) == others


async def test_all_of_it_goes_and_the_report_says_so(world: World) -> None:
    others = await rest(world)
    shown = await deletion.preview(world.backends(), SCOPE)
    assert shown == {"events": EVENTS, "archive_files": 2, "records": {"searches": 1}, "holds": 0}
    job = await world.ask()
    tenant = await world.control.tenant(MINE)
    assert tenant is not None
    assert tenant.status is TenantStatus.DELETING
    await world.run()
    assert await world.traces() == ["jobs", "tombstones"]
    assert await rest(world) == others
    assert world.index.all.keys() == {OTHER}
    assert await deletion.archived(world.archive, OTHER) == 2
    found = await world.tombstones.get(MINE)
    assert found is not None
    ended = await world.jobs.get(SCOPE, job)
    assert ended is not None
    assert (ended.state, ended.result, found.stage, found.job) == (JobState.DONE, found.report, "done", job)
    assert found.report is not None
    assert found.report == found.report | {
        "tenant_id": MINE, "asked_by": "op", "left": {}, "dead_letters": 3,
        "closed_at": "2026-09-21T14:13:20.000000Z", "queue_drained_through": "2026-09-21T14:13:20.000001Z",
        "removed": {"events": EVENTS, "archive_files": 2, "indices": 2, "records": {"searches": 1}},
    }  # fmt: skip
    assert [each.id for each in await world.tombstones.standing(0)] == [MINE]


async def rest(world: World) -> list[Any]:
    """What is the other tenant's, or nobody's."""
    return [
        document
        for documents in (await world.contents()).values()
        for document in documents
        if MINE not in repr(document).replace(OTHER, "")
    ]


async def test_killed_before_any_of_its_calls_and_run_again_it_ends_the_same(tmp_path: Path) -> None:
    whole = await World(tmp_path / "whole").fill()
    await whole.ask()
    await whole.run(counting=True)
    assert whole.calls > 15
    for number in range(1, whole.calls + 1):
        world = await World(tmp_path / str(number)).fill()
        job = await world.ask()
        world.dies_before = number
        with pytest.raises(Killed):
            await world.run(counting=True)
        # Its lease lapses, and another takes it up.
        await world.database["jobs"].update_one({"_id": job}, {"$set": {"due_at": 1, "state": "running"}})
        await world.run()
        assert await world.traces() == ["jobs", "tombstones"], number
        found = await world.tombstones.get(MINE)
        assert found is not None
        assert found.report is not None
        assert (found.error, found.report["left"]) == (None, {})
        assert found.report["removed"]["events"] in (EVENTS, 0), "counted before it was killed, or after"


async def test_while_the_queue_is_not_drained_it_waits_and_what_comes_out_of_it_goes_too(world: World) -> None:
    world.now = NOW + 10
    job = await world.ask()
    await world.run()
    found = await world.tombstones.get(MINE)
    assert found is not None
    assert (found.stage, found.report, found.error) == ("draining", None, None)
    assert await world.control.tenant(MINE) is not None, "its own record goes last"
    waiting = await world.jobs.get(SCOPE, job)
    assert waiting is not None
    assert waiting.state is JobState.QUEUED
    # A consumer that had not read the tombstone yet:
    await MongoEventStore(world.database).insert(rows(SCOPE, 3))
    world.index.all[MINE] = [Generation("202611", 1, True)]
    await world.beat(NOW + 10)
    await world.database["jobs"].update_one({"_id": job}, {"$set": {"due_at": 1}})
    await world.run()
    found = await world.tombstones.get(MINE)
    assert found is not None
    assert found.report is not None
    assert found.report["removed"]["events"] == EVENTS + 3
    assert await world.traces() == ["jobs", "tombstones"]


async def test_a_hold_refuses_it_and_one_that_is_placed_at_the_last_moment_takes_the_tenant_back(world: World) -> None:
    before = await rest(world), await world.database["events"].count_documents({})
    hold = Hold("h1", MINE, EventQuery(), b"{}", "court", "ana", 1, 1)
    await world.holds.create(SCOPE, hold)
    assert (await deletion.preview(world.backends(), SCOPE))["holds"] == 1
    with pytest.raises(Conflict) as refused:
        await world.ask()
    assert (refused.value.code, "h1" in refused.value.message) == ("on_hold", True)
    assert await world.tombstones.get(MINE) is None
    await world.holds.release(SCOPE, "h1", by="ana", at=2, reason="")
    job = await world.ask()
    await world.holds.create(SCOPE, dataclasses.replace(hold, id="h2"))
    await world.run()
    failed, found = await world.jobs.get(SCOPE, job), await world.tombstones.get(MINE)
    assert failed is not None
    assert found is not None
    assert (failed.state, failed.error) == (JobState.FAILED, found.error)
    assert "h2" in (failed.error or "")
    assert (found.standing_since, await world.tombstones.standing(0)) == (None, [])
    tenant = await world.control.tenant(MINE)
    assert tenant is not None
    assert tenant.status is TenantStatus.SUSPENDED
    assert (await rest(world), await world.database["events"].count_documents({})) == before
    await world.holds.release(SCOPE, "h2", by="ana", at=2, reason="")
    assert await world.ask() != job
    await world.run()
    assert await world.traces() == ["jobs", "tombstones"]


async def test_asking_again_starts_no_second_job_and_starts_a_failed_one_anew(world: World) -> None:
    job = await world.ask()
    assert await world.ask() == job
    assert await world.database["jobs"].count_documents({}) == 1
    await world.database["jobs"].update_one({"_id": job}, {"$set": {"attempts": MAX_ATTEMPTS - 1}})

    async def down(scope: TenantScope) -> None:
        raise Unavailable("index", "index-7.internal is down")

    world.index.drop = down  # type: ignore[method-assign]
    await world.run()
    found = await world.tombstones.get(MINE)
    assert found is not None
    assert (found.error, found.stage) == ("the index is unavailable; try again", "removing")
    del world.index.drop
    again = await world.ask()
    found = await world.tombstones.get(MINE)
    assert found is not None
    assert (again != job, found.error, found.job) == (True, None, again)
    await world.run()
    assert await world.traces() == ["jobs", "tombstones"]


async def test_what_will_not_go_is_told_and_the_tenants_record_stays(world: World) -> None:
    async def stays(scope: TenantScope) -> None:
        await asyncio.sleep(0)

    world.index.drop = stays  # type: ignore[method-assign]
    job = await world.ask()
    await world.run()
    waiting, found = await world.jobs.get(SCOPE, job), await world.tombstones.get(MINE)
    assert waiting is not None
    assert found is not None
    assert (waiting.state, found.stage, found.report) == (JobState.QUEUED, "checking", None)
    assert await world.control.tenant(MINE) is not None
