"""`Usage` on every backend, and in memory."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from core.adapters.store.client import open_client, store_calls
from core.adapters.store.indexes import ensure_indexes
from core.adapters.store.usage import KEPT, MongoUsage
from core.ports import Amounts, DayUsage, Part, Usage
from core.ports.usage import day_of, day_text
from core.tenant import for_system
from core.tenant_settings import UNLIMITED, Quotas
from tests.conftest import LIVE_MONGODB
from tests.contracts.stores import BACKENDS
from tests.usage import MemoryUsage

DAY = day_of("2026-11-21")
AT = DAY * 86_400_000_000
PART = Part("acme0001", "", DAY, "p-0", Amounts(4, 30, 2000, 1), AT + 5)
SCOPE = for_system("acme0001", "test")
OTHER = for_system("acme0002", "test")
BACKENDS_OF_USAGE = [pytest.param("memory", id="memory"), *BACKENDS[1:]]


@pytest.fixture(params=BACKENDS_OF_USAGE)
async def usage(request: pytest.FixtureRequest) -> AsyncIterator[Usage]:
    if request.param == "memory":
        yield MemoryUsage()
        return
    url = str(LIVE_MONGODB) if request.param == "live" else request.getfixturevalue("embedded_store").url
    client, name = open_client(url), f"ocelot_test_{uuid.uuid4().hex[:12]}"
    await ensure_indexes(client[name])
    yield MongoUsage(client[name])
    with store_calls(30):
        await client.drop_database(name)
    client.close()


async def test_a_day_is_the_sum_of_its_parts_each_kept_in_its_last_form(usage: Usage) -> None:
    await usage.record([PART, replace(PART, name="q-0", amounts=Amounts(1, 1, 1, 1))], shared=False)
    grown = replace(PART, amounts=Amounts(5, 40, 3000, 2), at=AT + 9)
    for _ in range(2):
        await usage.record([grown, replace(PART, day=DAY + 1)], shared=True)
    await usage.record([], shared=True)
    first = DayUsage(DAY, Amounts(6, 41, 3001, 3))
    assert await usage.days(SCOPE, DAY, DAY + 1) == [first]
    assert await usage.days(SCOPE, DAY - 30, DAY + 30) == [first, DayUsage(DAY + 1, PART.amounts)]
    assert await usage.days(SCOPE, DAY + 2, DAY + 9) == []


async def test_figures_are_those_of_the_tenant_itself(usage: Usage) -> None:
    longer = Part("acme00011", "", DAY, "p-2", Amounts(7, 7, 7, 7), AT)
    key = replace(PART, key="key:a.b$c:d", name="p-3")
    other = replace(PART, tenant_id="acme0002", amounts=Amounts(9, 9, 9, 9))
    await usage.record([PART, longer, key, other], shared=True)
    assert await usage.days(SCOPE, DAY, DAY + 1) == [DayUsage(DAY, PART.amounts)]
    assert await usage.days(OTHER, DAY, DAY + 1) == [DayUsage(DAY, other.amounts)]
    assert key in await usage.recent(AT)


async def test_what_was_shared_lately_comes_with_all_parts_of_its_day(usage: Usage) -> None:
    await usage.record([replace(PART, name="q-0", at=AT + 1)], shared=False)
    assert await usage.recent(AT) == []
    await usage.record([PART], shared=True)
    await usage.record([replace(PART, tenant_id="acme0002", at=AT + 2)], shared=True)
    found = await usage.recent(AT + 5)
    assert sorted(found, key=lambda part: part.name) == [PART, replace(PART, name="q-0", at=AT + 1)]
    # A clock that lags behind the others' takes nothing out of sight.
    await usage.record([replace(PART, name="q-0", at=AT + 3)], shared=True)
    assert {part.name for part in await usage.recent(AT + 5)} == {"p-0", "q-0"}
    assert await usage.recent(AT + 6) == []


async def test_processes_tell_their_beats_until_they_end(usage: Usage) -> None:
    assert await usage.beat("p", 1) == {"p": 1}
    assert await usage.beat("q", 5) == {"p": 1, "q": 5}
    assert await usage.beat("p", 2) == {"p": 2, "q": 5}
    await usage.ended("q", 4)
    assert await usage.beat("p", 3) == {"p": 3, "q": 5}
    await usage.ended("q", 5)
    await usage.ended("q", 5)
    assert await usage.beat("p", 4) == {"p": 4}
    await usage.ended("p")
    assert await usage.beat("r", 1) == {"r": 1}


async def test_quotas_of_keys_are_set_by_their_own_tenant(usage: Usage) -> None:
    few, many = Quotas(requests_per_second=5, bytes_per_day=10**13), Quotas(events_per_day=0)
    await usage.set_key_quotas(SCOPE, "ock_1", few)
    await usage.set_key_quotas(OTHER, "ock_2", few)
    await usage.set_key_quotas(SCOPE, "ock_1", many)
    await usage.set_key_quotas(OTHER, "ock_1", UNLIMITED)
    assert await usage.key_quotas() == {"ock_1": many, "ock_2": few}
    await usage.set_key_quotas(SCOPE, "ock_1", UNLIMITED)
    assert await usage.key_quotas() == {"ock_2": few}


async def test_a_keys_account_is_dropped_after_a_week_and_a_tenants_stays(usage: Usage) -> None:
    if isinstance(usage, MemoryUsage):
        pytest.skip("it does not last that long")
    old = replace(PART, day=DAY - 9, at=AT - KEPT - 1)
    await usage.record([old, replace(old, key="key:x"), replace(PART, key="key:x", at=1 << 60)], shared=True)
    await usage.beat("p", 1)
    assert {(part.key, part.day) for part in await usage.recent(0)} == {("", DAY - 9), ("key:x", DAY)}


def test_days_are_written_as_they_are_read() -> None:
    assert [day_text(0), day_text(DAY), day_of("1970-01-02")] == ["1970-01-01", "2026-11-21", 1]
    for bad in ("2026-11-31", "2026-11", "yesterday", "20261121x"):
        with pytest.raises(ValueError, match=r"not a day|day is out of range"):
            day_of(bad)
