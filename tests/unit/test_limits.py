"""Quotas over several processes, on a clock of the tests' own: what is admitted stays within the documented bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.access import Permission
from core.errors import QuotaExceeded, Unavailable
from core.limits import BulkUse, Limiter, Sharing, Use
from core.limits.limiter import IDLE, STALE_AFTER
from core.limits.sharing import GONE_AFTER
from core.ports.usage import Amounts, Part, day_of
from core.tenant import Tenant, for_system
from core.tenant_settings import Quotas
from tests.usage import MemoryUsage

NOON = day_of("2026-11-21") * 86_400 + 43_200.0
TENANT = Tenant("aaaaaaaa", "A", bytes(32), 0)
DAY_US = 86_400 * 1_000_000
SCOPE = for_system(TENANT.id, "test")
TODAY = day_of("2026-11-21")


@dataclass
class World:
    """Processes of one service, and their clock."""

    quotas: Quotas
    now: float = 0.0
    store: MemoryUsage = field(default_factory=MemoryUsage)
    processes: list[tuple[Limiter, Sharing]] = field(default_factory=list)

    @property
    def tenant(self) -> Tenant:
        return replace(TENANT, quotas=self.quotas)

    async def start(self, count: int = 1) -> None:
        for _ in range(count):
            limiter = Limiter(self.clock, self.wall, f"p{len(self.processes)}")
            limiter.quotas_of = lambda tenant_id: self.quotas
            sharing = Sharing(limiter, self.store, self.clock, self.wall)
            await sharing.round()
            self.processes.append((limiter, sharing))
        await self.rounds()  # so that each knows of each

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return NOON + self.now

    def send(self, process: int, events: int = 1, size: int = 10, actor: str = "user") -> bool:
        """Whether a sending request is let in."""
        use = self.processes[process][0].use(self.tenant, actor)
        try:
            use.enter(Permission.WRITE)
            use.take(events, size)
        except QuotaExceeded:
            return False
        return True

    async def rounds(self) -> None:
        for _, sharing in self.processes:
            try:
                await sharing.round()
            except Unavailable:
                assert self.store.down

    async def run(
        self, seconds: float, offer: Callable[[int, float], int], outage: tuple[float, float] = (0, 0)
    ) -> list[int]:
        """Offer requests in steps of 50 ms, each process making its rounds at moments of its own; how many got in."""
        admitted = [0] * len(self.processes)
        begun = self.now
        for step in range(int(seconds * 20)):
            passed = step / 20
            self.now = begun + passed
            self.store.down = outage[0] <= passed < outage[1]
            for n, (_, sharing) in enumerate(self.processes):
                if step % 20 == 7 * n % 20:
                    try:
                        await sharing.round()
                    except Unavailable:
                        assert self.store.down
                admitted[n] += sum(self.send(n) for _ in range(offer(n, passed)))
        self.now = begun + seconds
        return admitted


def bound(rate: int, seconds: float, processes: int, unseen: float) -> float:
    """docs/limits.md: the rate over the time, a second's worth at once, and what the others may take unseen."""
    return rate * seconds + 1.05 * rate + (processes - 1) * (1.05 * rate + rate * unseen)


async def test_one_process_holds_the_limit_to_the_request() -> None:
    world = World(Quotas(requests_per_second=10))
    await world.start()
    assert sum(await world.run(20, lambda n, at: 3)) in (209, 210)


async def test_processes_hold_it_together_within_the_bound() -> None:
    for processes in (2, 3, 5):
        world = World(Quotas(requests_per_second=20))
        await world.start(processes)
        admitted = sum(await world.run(30, lambda n, at: 3))
        assert 20 * 30 <= admitted <= bound(20, 30, processes, 2)
    # Alone, each would let in as much as all may.
    assert bound(20, 30, 2, 2) < 2 * 20 * 30


async def test_one_that_is_asked_alone_has_all_of_it() -> None:
    world = World(Quotas(requests_per_second=20))
    await world.start(4)
    assert sum(await world.run(10, lambda n, at: 3 if n == 2 else 0)) in (219, 220)


@given(
    processes=st.integers(2, 4),
    rate=st.integers(1, 60),
    turns=st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4), min_size=1, max_size=4),
    outage=st.tuples(st.integers(0, 12), st.integers(0, 12)),
)
async def test_whatever_is_offered_where_and_when(
    processes: int, rate: int, turns: list[list[int]], outage: tuple[int, int]
) -> None:
    """The proven bound, which an outage of the store does not widen."""
    world = World(Quotas(requests_per_second=rate))
    await world.start(processes)

    def offer(n: int, at: float) -> int:
        return turns[int(at * 2) % len(turns)][n]

    admitted = sum(await world.run(14, offer, (outage[0], outage[0] + outage[1])))
    assert admitted <= bound(rate, 14, processes, 6) + 1


async def test_with_the_store_down_each_takes_its_share_and_owes_little_afterwards() -> None:
    world = World(Quotas(requests_per_second=20))
    await world.start(2)
    await world.run(5, lambda n, at: 3)
    world.store.down = True
    await world.run(STALE_AFTER + 0.1, lambda n, at: 3, (0, 99))
    during = await world.run(20, lambda n, at: 3, (0, 99))
    assert all(195 <= each <= 215 for each in during)
    await world.run(1, lambda n, at: 0)
    after = sum(await world.run(10, lambda n, at: 3))
    assert 100 <= after <= bound(20, 10, 2, 2)


async def test_a_process_that_is_not_heard_of_keeps_its_share_until_it_is_gone() -> None:
    world = World(Quotas(requests_per_second=20))
    await world.start(2)
    await world.run(3, lambda n, at: 0)
    lost = world.processes.pop()
    await world.run(STALE_AFTER + 2, lambda n, at: 0)
    assert sum(await world.run(10, lambda n, at: 3)) <= 10 * 11 + 10
    await world.run(GONE_AFTER, lambda n, at: 0)
    assert sum(await world.run(10, lambda n, at: 3)) in (219, 220)
    assert "p1" not in await world.store.beat("p0", 999)
    world.processes.append(lost)
    await world.run(5, lambda n, at: 0)
    assert sum(await world.run(30, lambda n, at: 3)) >= 20 * 30


async def test_one_that_has_ended_gives_its_share_back_at_once() -> None:
    world = World(Quotas(requests_per_second=20))
    await world.start(2)
    await world.run(3, lambda n, at: 3)
    await world.processes.pop()[1].end()
    await world.run(STALE_AFTER + 2, lambda n, at: 0)
    assert sum(await world.run(10, lambda n, at: 3)) in (219, 220)


async def test_a_process_that_starts_knows_what_is_used_up() -> None:
    world = World(Quotas(requests_per_second=10, events_per_day=50))
    await world.start()
    assert sum(await world.run(10, lambda n, at: 1)) == 50
    world.now += 3600
    await world.rounds()
    await world.start()
    assert not world.send(1)
    busy = World(Quotas(requests_per_second=10))
    await busy.start()
    await busy.run(5, lambda n, at: 3)
    await busy.rounds()
    await busy.start()
    assert not busy.send(1)  # its bucket is as empty as the other's, and no emptier
    busy.now += 1.1
    assert busy.send(1)


async def test_what_another_took_long_ago_costs_nothing_now() -> None:
    world = World(Quotas(requests_per_second=10))
    await world.start(2)
    await world.run(5, lambda n, at: 3 * (n == 0))
    await world.rounds()
    world.now += IDLE + 1
    for _ in range(3):
        world.now += 20
        await world.rounds()
    assert world.send(1)
    await world.rounds()  # which shows all that the other took
    assert sum(world.send(1) for _ in range(20)) == 9


async def test_the_quota_of_a_day_holds_over_processes_and_ends_at_midnight() -> None:
    world = World(Quotas(events_per_day=100))
    await world.start(2)
    admitted = sum(await world.run(20, lambda n, at: 1))
    # 20 a second are offered to each: what one does not see of the other in two seconds.
    assert 100 <= admitted <= 100 + 40
    assert not world.send(0)
    world.now = 43_200.5
    assert world.send(0)
    await world.rounds()
    assert [each.amounts.events for each in await world.store.days(SCOPE, TODAY, TODAY + 2)] == [admitted, 1]


async def test_with_the_store_down_the_rest_of_a_day_is_shared() -> None:
    world = World(Quotas(events_per_day=1000))
    await world.start(2)
    used = sum(await world.run(2, lambda n, at: 1))
    for _ in range(2):
        await world.rounds()
    world.now += STALE_AFTER + 1
    rest = [0, 0]
    for n in (0, 1):
        while world.send(n):
            rest[n] += 1
    assert rest == [(1000 - used) // 2] * 2


def test_a_request_larger_than_the_bucket_is_let_in_by_a_full_one_and_owed() -> None:
    world = World(Quotas(events_per_second=10))
    limiter = Limiter(world.clock, world.wall)
    world.processes.append((limiter, Sharing(limiter, world.store)))
    assert world.send(0, events=35)
    assert not world.send(0)
    world.now += 2.5
    assert not world.send(0)
    world.now += 0.2
    assert world.send(0)
    assert not world.send(0, events=35)
    world.now += 1
    assert world.send(0, events=35)


def entered(limiter: Limiter, tenant: Tenant, permission: Permission = Permission.WRITE) -> Use:
    use = limiter.use(tenant, "user")
    use.enter(permission)
    return use


def test_what_is_not_accepted_is_given_back_and_a_refused_request_counts_for_nothing() -> None:
    world = World(Quotas(events_per_second=10, bytes_per_day=1000))
    limiter = Limiter(world.clock, world.wall)
    use = entered(limiter, world.tenant)
    taken = use.take(10, 900)
    for events, size, policies, wait in (
        (1, 10, ["tenant-events-second"], 1),
        (0, 101, ["tenant-bytes-day"], 43_200),
        (5, 101, ["tenant-events-second", "tenant-bytes-day"], 43_200),
    ):
        with pytest.raises(QuotaExceeded) as refused:
            entered(limiter, world.tenant).take(events, size)
        assert (refused.value.policies, refused.value.retry_after) == (policies, wait)
    with pytest.raises(QuotaExceeded):
        entered(limiter, world.tenant).check()
    use.give_back(taken, 4, 300)
    entered(limiter, world.tenant).check()
    entered(limiter, world.tenant).take(4, 400)
    assert limiter.parts(limiter.dirty(limited=True))[0].amounts == Amounts(3, 10, 1000, 0)


def test_a_bulk_is_given_back_if_it_was_taken() -> None:
    limiter = Limiter()
    use = entered(limiter, TENANT)
    BulkUse(use, 100).give_all_back()
    first, second = BulkUse(use, 100), BulkUse(use, 50)
    first.take(5)
    second.take(3)
    first.give_all_back()
    second.give_back(1, 20)
    assert limiter.parts(limiter.dirty(limited=False))[0].amounts == Amounts(1, 2, 30, 0)


def test_what_is_given_back_after_midnight_is_of_the_day_before() -> None:
    world = World(Quotas())
    limiter = Limiter(world.clock, world.wall, "p")
    use = limiter.use(world.tenant, "user")
    taken = use.take(3, 30)
    world.now = 43_201
    assert limiter.dirty(limited=True) == []
    limiter.use(world.tenant, "user").take(5, 50)
    use.give_back(taken, 1, 10)
    parts = {part.day: part.amounts for part in limiter.parts(limiter.dirty(limited=False))}
    assert parts == {TODAY: Amounts(0, 2, 20, 0), TODAY + 1: Amounts(0, 5, 50, 0)}


def test_managing_is_let_in_whatever_is_used_up() -> None:
    world = World(Quotas(requests_per_day=1))
    limiter = Limiter(world.clock, world.wall)
    entered(limiter, world.tenant, Permission.READ)
    with pytest.raises(QuotaExceeded):
        entered(limiter, world.tenant, Permission.READ)
    use = entered(limiter, world.tenant, Permission.MANAGE)
    assert dict(use.fields())[b"ratelimit"] == b'"tenant-requests-day";r=0;t=43200'
    assert limiter.parts(limiter.dirty(limited=True))[0].amounts == Amounts(requests=1)


def test_a_keys_quota_is_its_own_and_the_tenants_holds_beside_it() -> None:
    world = World(Quotas(requests_per_second=15))
    limiter = Limiter(world.clock, world.wall)
    limiter.key_quotas = {"key:a": Quotas(requests_per_second=10)}
    world.processes.append((limiter, Sharing(limiter, world.store)))
    assert sum(world.send(0, actor="key:a") for _ in range(20)) == 10
    fields = dict(limiter.use(world.tenant, "key:a").fields())
    assert fields[b"ratelimit-policy"] == b'"tenant-requests-second";q=15;w=1, "key-requests-second";q=10;w=1'
    assert fields[b"ratelimit"] == b'"key-requests-second";r=0;t=1'
    assert sum(world.send(0, actor="key:b") for _ in range(20)) == 5


def test_the_fields_tell_every_quota_and_the_tightest() -> None:
    world = World(Quotas(requests_per_second=10, events_per_day=100, bytes_per_second=1000))
    limiter = Limiter(world.clock, world.wall)
    use = limiter.use(world.tenant, "user")
    use.take(90, 100)
    use.enter(Permission.WRITE)
    assert dict(use.fields()) == {
        b"ratelimit-policy": b'"tenant-requests-second";q=10;w=1, '
        b'"tenant-events-day";q=100;w=86400;qu="events", '
        b'"tenant-bytes-second";q=1000;w=1;qu="content-bytes"',
        b"ratelimit": b'"tenant-events-day";r=10;t=43200',
    }
    assert Limiter().use(TENANT, "user").fields() == []


def test_a_quota_of_nothing_lets_nothing_in() -> None:
    for quotas in (Quotas(events_per_second=0), Quotas(bytes_per_day=0)):
        world = World(quotas)
        limiter = Limiter(world.clock, world.wall)
        use = entered(limiter, world.tenant)
        with pytest.raises(QuotaExceeded):
            use.take(1, 10)
        entered(limiter, world.tenant)
        assert b";r=0;" in dict(use.fields())[b"ratelimit"]


def test_a_changed_quota_holds_at_once_and_an_unchanged_bucket_stays_as_it_is() -> None:
    world = World(Quotas(requests_per_second=10, events_per_second=5))
    limiter = Limiter(world.clock, world.wall)
    world.processes.append((limiter, Sharing(limiter, world.store)))
    assert sum(world.send(0) for _ in range(9)) == 5
    world.quotas = Quotas(requests_per_second=10, events_per_second=50)
    assert sum(world.send(0) for _ in range(9)) == 5
    world.quotas = Quotas()
    assert sum(world.send(0) for _ in range(99)) == 99


async def test_idle_meters_are_dropped_once_they_are_recorded_and_lose_nothing() -> None:
    world = World(Quotas(requests_per_second=10))
    await world.start()
    limiter = world.processes[0][0]
    assert world.send(0)
    await world.rounds()
    for _ in range(2):  # after such a pause the first round reads its own part once more
        world.now += IDLE + 1
        await world.rounds()
    assert list(limiter._meters()) == []
    assert world.send(0)
    await world.rounds()
    assert [each.amounts.requests for each in await world.store.days(SCOPE, TODAY, TODAY + 1)] == [2]


async def test_a_meter_in_use_is_not_dropped() -> None:
    world = World(Quotas(requests_per_second=10))
    await world.start()
    limiter = world.processes[0][0]
    for _ in range(5):
        world.now += IDLE * 0.7
        assert world.send(0)
        await world.rounds()
    assert {part.name for part in await world.store.recent(0)} == {limiter._tenants[TENANT.id].tally.name}


async def test_everything_is_recorded_at_the_end_as_soon_as_the_store_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(Quotas())
    await world.start()
    assert world.send(0, events=7, size=70)
    world.store.down = True

    async def back(seconds: float) -> None:
        world.store.down = False

    monkeypatch.setattr("core.limits.sharing.asyncio.sleep", back)
    await world.processes[0][1].end()
    assert (await world.store.days(SCOPE, TODAY, TODAY + 1))[0].amounts == Amounts(1, 7, 70, 0)
    assert await world.store.beat("q", 1) == {"q": 1}


async def test_nothing_is_recorded_of_a_tenant_that_is_being_deleted() -> None:
    world = World(Quotas(events_per_day=9))
    await world.start()
    assert world.send(0)
    world.processes[0][0].is_gone = lambda tenant_id: tenant_id == TENANT.id
    await world.rounds()
    await world.processes[0][1].end()
    assert await world.store.days(SCOPE, TODAY, TODAY + 1) == []


def test_reads_are_counted_when_they_were_answered() -> None:
    limiter = Limiter()
    for status in (200, 304, 404, 503):
        entered(limiter, TENANT, Permission.READ).answered(status)
    assert limiter.parts(limiter.dirty(limited=False))[0].amounts == Amounts(requests=4, reads=2)


def test_parts_have_names_that_never_come_again() -> None:
    limiter = Limiter()
    names = [limiter._tally().name for _ in range(3)]
    assert len({*names, Limiter()._tally().name}) == 4
    assert Part("a", "", 0, names[0], Amounts(), 0).name.startswith(limiter.process)
