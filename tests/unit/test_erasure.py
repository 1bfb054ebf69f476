"""Erasing a person on stores in memory: what goes and what stays, whatever kills it, and when it must not begin."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
from mongomock_motor import AsyncMongoMockClient

from consumer.jobs.deletion import Pace
from consumer.jobs.erasure import Erasure
from consumer.jobs.runner import JobRunner
from core import erasure, instant
from core.adapters.archive.objects import open_archive
from core.adapters.store.accounts import MongoAccounts
from core.adapters.store.control import MongoControl
from core.adapters.store.events import MongoEventStore
from core.adapters.store.holds import MongoHolds
from core.adapters.store.jobs import MongoJobs
from core.adapters.store.ledger import MongoLedger
from core.adapters.store.outbox import MongoOutbox
from core.adapters.store.parking import MongoParking
from core.adapters.store.quarantine import MongoQuarantine
from core.adapters.store.segments import MongoSegments
from core.adapters.store.tombstones import MongoTombstones
from core.archiving.files import SegmentFiles
from core.holds import Hold
from core.ids import uuid7s
from core.jobs import ERASURE, EXPORT, REINDEX, Job, JobState
from core.ports import Depth, Heartbeat, HitPage, OutboxEntry, Parked, Stored
from core.ports.quarantine import Form, Kept, Quarantined
from core.query import Condition, EventQuery, Position, Value
from core.segments import SegmentState
from core.tenant import Tenant, TenantScope, for_system
from tests.contracts.stores import START, body_of, row
from tests.unit.ports import anything
from tests.unit.test_deletion import Counting, Killed

MINE, OTHER = "aaaaaaaa", "aaaaaaaab"
SCOPE = for_system(MINE, "test")
BEFORE = START + 1_000
PLACEMENT = "202605"


class Index:
    """Ids with their `user_id`, for the tenant `MINE` alone."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[int, str]] = {}

    async def refresh(self, scope: TenantScope) -> None: ...

    async def search(
        self, scope: TenantScope, query: EventQuery, *, after: Position | None, limit: int, total_bound: int
    ) -> HitPage:
        hits = [Position(at, id_) for id_, (at, user) in self.held.items() if user == "ana" and at < BEFORE]
        return HitPage(hits[:limit], len(hits), total_exact=True)

    async def remove(self, scope: TenantScope, placement: str, ids: list[str]) -> int:
        assert placement in (PLACEMENT, "202606")
        return sum(self.held.pop(each, None) is not None for each in ids)


class Queue:
    async def depth(self) -> Depth:
        return Depth(0, 0, 0)


class World:
    def __init__(self, folder: Path) -> None:
        database = self.database = AsyncMongoMockClient()["d"]
        self.calls, self.dies_before = 0, -1
        self.store, self.index, self.jobs = MongoEventStore(database), Index(), MongoJobs(database)
        self.outbox, self.parking, self.holds = MongoOutbox(database), MongoParking(database), MongoHolds(database)
        self.accounts, self.segments = MongoAccounts(database), MongoSegments(database)
        self.tombstones, self.ledger = MongoTombstones(database), MongoLedger(database)
        self.quarantine = MongoQuarantine(database)
        self.archive = open_archive(folder.as_uri(), region="x")
        self.files = SegmentFiles(self.archive, 1)

    async def fill(self) -> World:
        """For each of two tenants: a person's events and others', in the log, in the archive and set aside."""
        self.control = await MongoControl.open(self.database)
        for tenant_id in (MINE, OTHER):
            scope = for_system(tenant_id, "test")
            await self.control.create_tenant(Tenant(tenant_id, "t", b"s" * 32, 0))
            for at, user, action in ((1, "ana", "x"), (2, "ben", "x"), (1000, "ana", "x"), (3, "ana", "ocelot.read")):
                await self.add(scope, at, user, action)
            for n, users in enumerate((("ana", "ben"), ("ana",), ("ben",))):
                events = [self.stored(tenant_id, 4 + at, user) for at, user in enumerate(users)]
                segment = await self.files.write(scope, uuid7s(START, 1)[0], events, at=n)
                await self.segments.add(scope, dataclasses.replace(segment, state=SegmentState.REMOVED))
            for n, user in enumerate(("ana", "ben")):
                body = body_of(tenant_id, {"user_id": user}, at=START)
                await self.parking.park([parked(f"{tenant_id}-p{n}", tenant_id, body, START)])
            for n, body in enumerate((b'{"user_id":"ana","action":7}', b'{"user_id":"ana"}', b'{"user_id":"ben"}')):
                kept = Kept(
                    id=f"{tenant_id}-q{n}", at=START, code="c", fields=[], form=Form.EVENT, body=body, size=1,
                    sha256="",
                )  # fmt: skip
                await self.quarantine.keep([Quarantined(tenant_id, kept)])
            await self.parking.park([parked(f"{tenant_id}-p3", tenant_id, b'{"user_id":"ana', None)])
        ids = [each["_id"] for each in await self.database["events"].find().to_list(None)]
        await self.outbox.add([OutboxEntry(id_, MINE, PLACEMENT, BEFORE) for id_ in ids[:4]])
        self.index.held["only-here"] = (START + 1, "ana")
        for state in (JobState.DONE, JobState.RUNNING):
            job = dataclasses.replace(self.job(EXPORT), state=state)
            await self.jobs.create(job, max_active=9)
            await self.archive.put(f"exports/{MINE}/{job.id}/file", b"x")
        await self.ledger.beat(Heartbeat("p", 0, BEFORE))
        await self.ledger.advance(BEFORE)
        return self

    async def add(self, scope: TenantScope, at: int, user: str, action: str) -> None:
        body = body_of(scope.tenant_id, {"user_id": user, "action": action}, at=START + at)
        made = row(scope, body)
        await self.store.insert([made])
        if scope.tenant_id == MINE and not action.startswith("ocelot."):
            self.index.held[made.id] = (START + at, user)

    def stored(self, tenant_id: str, at: int, user: str) -> Stored:
        made = row(for_system(tenant_id, "test"), body_of(tenant_id, {"user_id": user}, at=START + at))
        return Stored(
            made.id, made.placement, made.timestamp, made.received_at, made.hash, made.body, made.content, made.envelope
        )

    def job(self, kind: str) -> Job:
        now = instant.now_us()
        return Job(uuid7s(now, 1)[0], MINE, kind, {}, "op", START, now, now + 60_000_000)

    async def ask(self) -> str:
        spec, progress = erasure.begun("ana", BEFORE)
        assert "ana" not in json.dumps(spec)
        job = dataclasses.replace(self.job(ERASURE), spec=spec, progress=progress, asked_by="admin")
        await self.jobs.create(job, max_active=1)
        return job.id

    def backends(self, *, counting: bool = False) -> Any:
        names = (
            "control", "store", "index", "jobs", "outbox", "parking", "holds", "accounts", "segments", "tombstones",
            "ledger", "archive", "quarantine",
        )  # fmt: skip
        ports: dict[str, object] = {name: getattr(self, name) for name in names} | {"queue": Queue()}
        if counting:
            ports |= {name: Counting(ports[name], anything(self)) for name in names if name != "store"}
        return anything(SimpleNamespace(**ports))

    async def run(self, *, counting: bool = False) -> Job:
        handler = Erasure(self.backends(counting=counting), self.files, Pace(0, 0, 0))
        claim = await self.jobs.claim([ERASURE], 60)
        assert claim is not None
        await JobRunner(self.jobs, {ERASURE: handler}, keep=60)._run(claim)
        found = await self.jobs.get(SCOPE, claim.job.id)
        assert found is not None
        return found

    async def left(self) -> dict[str, list[str]]:
        """What names the person, of `MINE`, in each place."""
        found: dict[str, list[str]] = {}
        for name in ("events", "parked", "jobs", "quarantine"):
            documents = await self.database[name].find({"tenant_id": MINE}).to_list(None)
            found[name] = [text for each in documents if "ana" in (text := repr(each))]
        found["outbox"] = [each["_id"] for each in await self.database["outbox"].find().to_list(None)]
        found["index"] = [user for at, user in self.index.held.values() if user == "ana" and at < BEFORE]
        found["archive"] = [each.id for s in await self.own_segments(SCOPE) for each in s if b'"ana"' in each.body]
        return found

    async def own_segments(self, scope: TenantScope) -> list[list[Stored]]:
        listed = await self.segments.listing(scope, after=None, limit=99)
        assert all(each.state is SegmentState.REMOVED for each in listed)
        return [await self.files.read(each) for each in listed]


def parked(id_: str, tenant_id: str, body: bytes, received_at: int | None) -> Parked:
    return Parked(id_, tenant_id, None, "r", "d", body, PLACEMENT, None, "e", 1, START, received_at)


@pytest.fixture
async def world(tmp_path: Path) -> World:
    return await World(tmp_path).fill()


async def check(world: World, job: Job) -> None:
    """All of the person that was meant is gone, and nothing else is."""
    assert (job.state, job.error) == (JobState.DONE, None)
    left = await world.left()
    stay = sorted(found for text in left.pop("events") for found in re.findall(r'"action":"([^"]+)"', text))
    assert stay == ["ocelot.read", "x"], "what came afterwards, and the service's own"
    assert left.pop("outbox") is not None
    assert left == {"parked": [], "jobs": [], "quarantine": [], "index": [], "archive": []}
    assert await world.database["events"].count_documents({"tenant_id": MINE}) == 3
    assert await world.database["events"].count_documents({"tenant_id": OTHER}) == 4
    assert await world.database["parked"].count_documents({"tenant_id": OTHER}) == 3
    assert await world.database["quarantine"].count_documents({"tenant_id": OTHER}) == 3
    assert [len(each) for each in await world.own_segments(SCOPE)] == [1, 1]
    assert sorted(len(each) for each in await world.own_segments(for_system(OTHER, "test"))) == [1, 1, 2]
    assert await world.archive.files(f"archive/{MINE}") == 2
    assert await world.archive.files(f"exports/{MINE}") == 0
    assert job.result is not None
    assert (job.result["left"], job.result["before"]) == (0, instant.to_text(BEFORE))
    tally = await world.accounts.tally(SCOPE, 0, 1 << 60)
    assert (tally.erased, tally.archived) == (3, -2), "each once, whatever was repeated"
    [tombstone] = await world.tombstones.standing(0)
    assert (tombstone.id, tombstone.report is None, tombstone.stage) == (job.id, True, "done")
    assert tombstone.person is not None
    assert tombstone.person.covers("ana", BEFORE - 1)
    assert not tombstone.person.covers("ana", BEFORE)
    assert not tombstone.person.covers("Ana", 0)


async def test_all_that_the_person_did_until_then_goes_from_every_place(world: World) -> None:
    shown = await erasure.preview(world.backends(), SCOPE, "ana", BEFORE)
    assert shown == {
        "events": 1, "events_exact": True, "archived_segments_to_read": 3, "exports_to_remove": 2, "held_by": None,
    }  # fmt: skip
    before = await world.left()
    assert [len(each) for each in before.values()] == [3, 2, 0, 2, 4, 2, 2]
    await world.ask()
    job = await world.run()
    assert job.result is not None
    assert job.result["removed"] == {
        "exports": 2, "events": 1, "index_only": 1, "parked": 2, "quarantined": 2, "archived_events": 2,
    }  # fmt: skip
    await check(world, job)


async def test_killed_before_any_of_its_calls_and_run_again_it_ends_the_same(tmp_path: Path) -> None:
    whole = await World(tmp_path / "whole").fill()
    await whole.ask()
    await check(whole, await whole.run(counting=True))
    assert whole.calls > 40
    for number in range(1, whole.calls + 1):
        world = await World(tmp_path / str(number)).fill()
        job = await world.ask()
        world.dies_before = number
        with pytest.raises(Killed):
            await world.run(counting=True)
        await world.database["jobs"].update_one({"_id": job}, {"$set": {"due_at": 1, "state": "running"}})
        await check(world, await world.run())


async def test_a_hold_on_one_of_the_events_refuses_all_of_it(world: World) -> None:
    ana = EventQuery(conditions=(Condition("user_id", (Value("ana"),)),))
    ben = EventQuery(conditions=(Condition("user_id", (Value("ben"),)),))
    before = await world.left()
    await world.holds.create(SCOPE, Hold("h-ben", MINE, ben, b"{}", "court", "x", 1, 1))
    await world.ask()
    await world.holds.create(SCOPE, Hold("h-ana", MINE, ana, b"{}", "court", "x", 1, 1))
    assert (await erasure.preview(world.backends(), SCOPE, "ana", BEFORE))["held_by"] == "h-ana"
    failed = await world.run()
    assert (failed.state, "h-ana" in (failed.error or "")) == (JobState.FAILED, True)
    assert {**await world.left(), "jobs": []} == before
    assert await world.tombstones.standing(0) == []
    # What only the archive has is covered as well.
    await world.database["events"].delete_many({"tenant_id": MINE})
    await world.jobs.retry(SCOPE, failed.id, 1 << 60)
    assert (await world.run()).state is JobState.FAILED
    await world.holds.release(SCOPE, "h-ana", by="x", at=2, reason="settled")
    await world.jobs.retry(SCOPE, failed.id, 1 << 60)
    assert (await world.run()).state is JobState.DONE


async def test_it_waits_for_the_queue_and_for_whoever_has_events_in_hand(world: World) -> None:
    job_id = await world.ask()
    await world.database["producers"].update_many({}, {"$set": {"at": BEFORE - 1, "frontier_at": BEFORE - 1}})
    before = await world.left()
    assert (await world.run()).state is JobState.QUEUED
    await world.ledger.beat(Heartbeat("p", 0, BEFORE))
    await world.ledger.advance(BEFORE)
    moving = world.job(REINDEX)
    await world.jobs.create(moving, max_active=1)
    await world.database["jobs"].update_one({"_id": job_id}, {"$set": {"due_at": 1}})
    assert (await world.run()).state is JobState.QUEUED
    assert await world.left() == before | {"jobs": ANY}
    await world.jobs.cancel(SCOPE, moving.id, 1 << 60)
    await world.database["jobs"].update_one({"_id": job_id}, {"$set": {"due_at": 1}})
    await check(world, await world.run())


async def test_a_damaged_file_of_the_archive_is_told_and_not_thrown_away(world: World) -> None:
    [segment, *_] = await world.segments.listing(SCOPE, after=None, limit=9)
    await world.archive.put(segment.name, b"damaged")
    await world.ask()
    failed = await world.run()
    assert (failed.state, segment.name in (failed.error or "")) == (JobState.FAILED, True)
    assert await world.archive.size(segment.name) == 7
