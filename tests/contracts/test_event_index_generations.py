"""Generations of a placement, on osmem and on OpenSearch."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from core.errors import Conflict, Unavailable
from core.placement import next_alias, write_alias
from core.ports import Generation, IndexDocument, IndexOutcome
from tests.contracts.index_events import PLACEMENT, stamped
from tests.contracts.index_servers import Bench, any_index, bench, index_url, where

__all__ = ["any_index", "bench", "index_url"]


def document(bench: Bench, number: int) -> IndexDocument:
    return stamped({"action": "a"}, bench.scope.tenant_id, number)


SECOND = Generation(PLACEMENT, 2, False, 17, "job-1")


async def test_what_grew_with_its_events_is_the_live_one(bench: Bench) -> None:
    assert await bench.index.generations(bench.scope) == []
    await bench.put([document(bench, 1)])
    assert await bench.index.generations(bench.scope) == [Generation(PLACEMENT, 1, True)]


async def test_a_generation_is_filled_unseen_and_goes_live_in_one_step(bench: Bench) -> None:
    old = [document(bench, n) for n in range(3)]
    await bench.put(old)
    for _ in range(2):
        await bench.index.begin(bench.scope, SECOND)
    assert await bench.index.generations(bench.scope) == [Generation(PLACEMENT, 1, True), SECOND]
    beside = [document(bench, n) for n in range(10, 14)]
    assert await bench.index.index(bench.scope, PLACEMENT, beside, beside=True) == [IndexOutcome.INDEXED] * 4
    assert await bench.index.index(bench.scope, PLACEMENT, beside, beside=True) == [IndexOutcome.PRESENT] * 4
    await bench.put([document(bench, 3)])
    assert await bench.index.count(bench.scope) == 4  # neither more nor fewer than the live one has
    await bench.index.switch(bench.scope, SECOND)
    live = replace(SECOND, live=True)
    assert await bench.index.generations(bench.scope) == [Generation(PLACEMENT, 1, False), live]
    assert set(await bench.ids()) == {each.id for each in beside}  # at once, without a refresh
    await bench.put([document(bench, 20)])
    assert await bench.index.count(bench.scope) == 5
    with pytest.raises(Conflict):
        await bench.index.drop_generation(bench.scope, live)
    for _ in range(2):
        await bench.index.drop_generation(bench.scope, Generation(PLACEMENT, 1, False))
    assert await bench.index.generations(bench.scope) == [live]
    assert await bench.ids(where("id", old[0].id)) == []


async def test_a_generation_that_is_gone_is_not_made_by_a_write(bench: Bench) -> None:
    await bench.put([document(bench, 1)])
    with pytest.raises(Unavailable):
        await bench.index.index(bench.scope, PLACEMENT, [document(bench, 2)], beside=True)
    with pytest.raises(Unavailable):
        await bench.index.switch(bench.scope, SECOND)
    assert await bench.index.generations(bench.scope) == [Generation(PLACEMENT, 1, True)]
    async with httpx.AsyncClient(base_url=bench.url) as http:
        alias = next_alias(bench.scope.tenant_id, PLACEMENT)
        assert (await http.get(f"/{alias}")).status_code == 404
        assert (await http.get(f"/{write_alias(bench.scope.tenant_id, PLACEMENT)}-g2")).status_code == 404


async def test_a_placement_without_an_index_gets_one_by_going_live(bench: Bench) -> None:
    await bench.index.begin(bench.scope, SECOND)
    documents = [document(bench, 1)]
    await bench.index.index(bench.scope, PLACEMENT, documents, beside=True)
    await bench.index.switch(bench.scope, SECOND)
    assert await bench.ids() == [documents[0].id]
    assert await bench.index.index(bench.scope, PLACEMENT, documents) == [IndexOutcome.PRESENT]


async def test_generations_are_a_tenants_own(bench: Bench) -> None:
    from core.tenant import for_system

    await bench.put([document(bench, 1)])
    near = for_system(bench.scope.tenant_id[:8], "test")
    assert await bench.index.generations(near) == []


async def test_a_placement_is_dropped_whole_and_grows_anew(bench: Bench) -> None:
    await bench.index.drop_placement(bench.scope, PLACEMENT)
    await bench.put([document(bench, n) for n in range(3)])
    await bench.put([document(bench, 5)], "202610")
    await bench.index.begin(bench.scope, SECOND)
    for _ in range(2):
        await bench.index.drop_placement(bench.scope, PLACEMENT)
    assert await bench.index.generations(bench.scope) == [Generation("202610", 1, True)]
    assert await bench.index.count(bench.scope) == 1
    await bench.put([document(bench, 3)])
    assert await bench.index.count(bench.scope) == 2
