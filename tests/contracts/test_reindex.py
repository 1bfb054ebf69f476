"""The rebuild of an index beside the live one: killed before and after every single step, with events coming in."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient

from consumer.jobs import reindex
from consumer.jobs.reindex import SLACK, Reindex
from consumer.jobs.runner import Work
from core import instant
from core.adapters.index.opensearch import OpenSearchIndex
from core.adapters.store.events import MongoEventStore
from core.adapters.store.indexes import ensure_indexes
from core.adapters.store.jobs import MongoJobs
from core.adapters.store.ledger import MongoLedger
from core.envelope import Record
from core.errors import Conflict
from core.ids import uuid7s
from core.jobs import REINDEX, Claim, Job, Json
from core.placement import place, span_of
from core.ports import Generation, IndexDocument, Rebuilding, Receipt
from core.query import EventQuery
from core.rows import row_of
from core.tenant import Tenant, for_system, new_tenant_id
from tests.contracts.index_servers import any_index, index_url
from tests.killing import Killed, Port

__all__ = ["any_index", "index_url"]
SECOND = 1_000_000
DAY = 86_400 * SECOND
_numbers = itertools.count(1)


class World:
    """A tenant's store and index, a job, and what kills whoever runs it."""

    def __init__(self, database: Any, index: OpenSearchIndex) -> None:
        now = instant.now_us()
        self.tenant = Tenant(new_tenant_id(), "t", b"s" * 32, now - 40 * DAY)
        self.scope = for_system(self.tenant.id, "test")
        self.index = index
        self.store = MongoEventStore(database)
        self.ledger = MongoLedger(database)
        self.jobs = MongoJobs(database, lambda: instant.now_us() + self.passed)
        self.passed = 0
        self.steps = 0
        self.kill_at = 0
        self.kill_before = True
        self.coming = False

    async def tenant_of(self, tenant_id: str) -> Tenant | None:
        return self.tenant if tenant_id == self.tenant.id else None

    async def step(self, *, before: bool) -> None:
        if before:
            self.steps += 1
            if self.coming and self.steps % 9 == 0:
                await self.arrive(instant.now_us())
                await self.arrive(instant.now_us() - 3 * DAY)
        if self.steps == self.kill_at and before is self.kill_before:
            raise Killed

    async def arrive(self, received_at: int, *, indexed: bool = True) -> str:
        """An event as the consumer takes it: into the store, into the live index, then its receipt."""
        event_id = uuid7s(received_at, 1)[0]
        text = instant.to_text(received_at)
        event = {"id": event_id, "tenant_id": self.tenant.id, "timestamp": text, "received_at": text, "salt": "s",
                 "action": "a", "severity": "INFO"}  # fmt: skip
        placement = place(self.tenant.placements, received_at)
        number = next(_numbers)
        body = json.dumps(event, separators=(",", ":")).encode()
        await self.store.insert([row_of(Record(self.tenant.id, placement, body), f"e{number}")])
        if indexed:
            await self.index.index(self.scope, placement, [IndexDocument(event_id, body)])
        made_at, done_at = received_at + SECOND, instant.now_us()
        await self.ledger.record([Receipt("p", number, f"e{number}", made_at, {self.tenant.id: 1}, done_at)])
        return event_id

    async def create(self, **spec: int | None) -> Job:
        now = instant.now_us() + self.passed
        job = Job(uuid7s(now, 1)[0], self.tenant.id, REINDEX, spec, "key:k", now, now, now + DAY)
        await self.jobs.create(job, max_active=5)
        return job

    async def claim(self) -> Claim:
        self.passed += 120 * SECOND  # past any lease
        claim = await self.jobs.claim([REINDEX], 60)
        assert claim is not None
        return claim

    async def run(self, claim: Claim, *, killed: bool = False) -> Json:
        ports = (self.jobs, self, self.store, self.index, self.ledger)
        jobs, _, store, index, ledger = [Port(port, self) for port in ports] if killed else list(ports)
        control: Any = type("Control", (), {"tenant": staticmethod(self.tenant_of)})()
        handler = Reindex(jobs, control, store, index, ledger, settle=0)
        return await handler.run(Work(self.jobs, claim, 60))

    async def ids(self) -> tuple[list[str], list[str]]:
        """All that is stored, and all that is found."""
        stored = [e.id async for batch in self.store.scan(self.scope, start=0, end=1 << 60) for e in batch]
        await self.index.refresh(self.scope)
        page = await self.index.search(self.scope, EventQuery(), after=None, limit=1000, total_bound=10_000)
        return sorted(stored), sorted(hit.id for hit in page.hits)

    async def is_whole(self, job: Job, result: Json) -> None:
        stored, found = await self.ids()
        assert found == stored
        made = await self.index.generations(self.scope)
        assert len({each.placement for each in made}) == len(made)
        assert [each.placement for each in made if each.live and each.job == job.id] == result["placements"]
        assert await self.ledger.rebuilding(self.tenant.id) is Rebuilding.NO


@pytest.fixture
async def world(any_index: OpenSearchIndex) -> AsyncIterator[World]:
    database = AsyncMongoMockClient()["reindex"]
    await ensure_indexes(database)
    made = World(database, any_index)
    now = instant.now_us()
    for ago in (35 * DAY, 34 * DAY, 3 * DAY, DAY, SECOND):
        await made.arrive(now - ago)
    yield made
    await any_index.drop(made.scope)


async def test_a_rebuild_makes_new_generations_with_everything(world: World) -> None:
    await world.arrive(instant.now_us(), indexed=False)  # what the index has lost comes back
    job = await world.create()
    result = await world.run(await world.claim())
    assert (result["indexed"], result["reduced"], result["failed"]) == (6, 0, 0)
    assert len(result["placements"]) >= 2
    await world.is_whole(job, result)
    again = await world.create()
    await world.is_whole(again, await world.run(await world.claim()))


async def test_a_range_rebuilds_the_placements_that_it_meets(world: World) -> None:
    now = instant.now_us()
    job = await world.create(received_from=now - SECOND, received_to=None)
    result = await world.run(await world.claim())
    assert result["placements"][0] == place(world.tenant.placements, now - SECOND)
    live = {each.placement: each for each in await world.index.generations(world.scope) if each.live}
    old = place(world.tenant.placements, now - 35 * DAY)
    assert (live[old].number, live[old].job) == (1, None)
    assert live[result["placements"][0]].job == job.id
    stored, found = await world.ids()
    assert found == stored


async def test_a_mark_goes_with_a_job_that_found_nothing_to_do(world: World) -> None:
    """Who misses an index marks the tenant; by the time of the job, retention may have taken its last event."""
    await world.ledger.set_rebuilding(world.tenant.id, True)
    start, _ = span_of("197001")
    await world.create(received_from=start, received_to=start + DAY)
    result = await world.run(await world.claim())
    assert result["placements"] == []
    assert await world.ledger.rebuilding(world.tenant.id) is Rebuilding.NO


async def test_the_mark_of_who_asked_stays_until_all_is_rebuilt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several lost indices the first is whole long before the last."""
    await world.ledger.set_rebuilding(world.tenant.id, True)
    job = await world.create()
    taken_away: list[list[str]] = []
    own = world.ledger.set_rebuilding

    async def marked(tenant_id: str, running: bool) -> None:
        if not running:
            made = await world.index.generations(world.scope)
            taken_away.append([each.placement for each in made if each.live and each.job == job.id])
        await own(tenant_id, running)

    monkeypatch.setattr(world.ledger, "set_rebuilding", marked)
    result = await world.run(await world.claim())
    assert len(result["placements"]) >= 2
    assert taken_away == [result["placements"]]


@pytest.mark.parametrize("stride", [pytest.param(4, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_killed_at_any_step_and_run_again_it_ends_the_same(world: World, before: bool, stride: int) -> None:
    world.coming, world.kill_before = True, before
    for kill_at in itertools.count(1 if before else min(stride, 3), stride):
        job = await world.create(received_from=instant.now_us() - SECOND, received_to=None)
        world.steps, world.kill_at = 0, kill_at
        killed, result = False, {}
        try:
            result = await world.run(await world.claim(), killed=True)
        except Killed:
            killed = True
        whole = world.steps < kill_at
        world.kill_at = 0
        if killed:
            assert (await world.ids())[1]  # searches go on
            result = await world.run(await world.claim(), killed=True)
        stored, found = await world.ids()
        assert found == stored, kill_at
        made = await world.index.generations(world.scope)
        assert len({each.placement for each in made}) == len(made), (kill_at, made)
        assert {each.placement for each in made if each.job == job.id} == set(result["placements"]), kill_at
        assert await world.ledger.rebuilding(world.tenant.id) is Rebuilding.NO
        await world.jobs.cancel(world.scope, job.id, 0)
        if whole:
            assert kill_at > 15
            return


async def test_who_was_killed_counts_no_event_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex, "_BATCH", 2)
    monkeypatch.setattr(reindex, "_SAVE_SECONDS", 0.0)
    moment = instant.now_us() - SECOND
    for _ in range(6):
        await world.arrive(moment)
    for kill_at in range(6, 14):
        await world.create(received_from=None, received_to=None)
        world.steps, world.kill_at = 0, kill_at
        with pytest.raises(Killed):
            await world.run(await world.claim(), killed=True)
        world.kill_at = 0
        claim = await world.claim()
        assert (await world.run(claim))["indexed"] == 11, kill_at
        await world.jobs.cancel(world.scope, claim.job.id, 0)


async def test_what_was_on_its_way_to_the_old_generation_is_run_again(world: World) -> None:
    """Written to the old one at the last moment: neither young by its own time nor seen by the filling."""
    job = await world.create(received_from=instant.now_us() - SECOND, received_to=None)
    switch = world.index.switch
    late: list[str] = []

    class Late:
        """The index, and a consumer that is slow: stored and sent before the aliases move, receipted after."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.index, name)

        async def switch(self, scope: Any, generation: Generation) -> None:
            late.append(await world.arrive(instant.now_us() - SLACK - 3600 * SECOND))
            await switch(scope, generation)

    control: Any = type("Control", (), {"tenant": staticmethod(world.tenant_of)})()
    handler = Reindex(world.jobs, control, world.store, Late(), world.ledger, settle=0)  # type: ignore[arg-type]
    result = await handler.run(Work(world.jobs, await world.claim(), 60))
    assert late
    await world.is_whole(job, result | {"placements": result["placements"]})


async def test_two_rebuilds_at_once_do_not_destroy_each_other(world: World) -> None:
    first = await world.create(received_from=instant.now_us() - SECOND, received_to=None)
    held = await world.claim()
    world.steps, world.kill_at, world.kill_before = 0, 12, True
    with suppress(Killed):
        await world.run(held, killed=True)
    world.kill_at = 0
    begun = [each for each in await world.index.generations(world.scope) if each.job == first.id]
    assert begun
    assert not begun[0].live
    await world.create(received_from=instant.now_us() - SECOND, received_to=None)
    second = await world.jobs.claim([REINDEX], 60)  # the first still holds its lease
    assert second is not None
    assert second.job.id != first.id
    with pytest.raises(Conflict):
        await world.run(second)
    assert begun[0] in await world.index.generations(world.scope)


def test_windows_are_merged() -> None:
    from consumer.jobs.reindex import _merged

    def merged(*windows: tuple[int, int]) -> list[tuple[int, int]]:
        return list(_merged(windows))

    assert merged() == []
    assert merged((5, 5), (6, 4)) == []
    assert merged((0, 5), (10, 20), (4, 8), (20, 22)) == [(10, 22), (0, 8)]
    for one, two in itertools.product(_spans(), _spans()):
        covered = {n for start, end in merged(one, two) for n in range(start, end)}
        assert covered == {n for start, end in (one, two) for n in range(start, end)}


def _spans() -> Iterator[tuple[int, int]]:
    return ((start, end) for start in range(5) for end in range(5))
