"""What every `EventIndex` guarantees, on osmem and on OpenSearch: writing, the ladder, tenants, aliases, faults."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from core.adapters.index import mapping
from core.adapters.index.opensearch import open_index
from core.errors import Blocked, Unavailable
from core.placement import read_alias, write_alias
from core.ports import IndexDocument, IndexOutcome
from core.query import Match
from core.tenant import for_system, new_tenant_id
from infra.local.servers import free_port
from tests.contracts.index_events import NOW, PLACEMENT, real_lines, stamped, wrapped
from tests.contracts.index_servers import EVERYTHING, Bench, any_index, bench, flagged, index_url, where

__all__ = ["any_index", "bench", "index_url"]

INDEXED, PRESENT, REDUCED = IndexOutcome.INDEXED, IndexOutcome.PRESENT, IndexOutcome.REDUCED


async def names(bench: Bench) -> set[str]:
    """The tenant's indices, as the server lists them."""
    async with httpx.AsyncClient(base_url=bench.url) as http:
        listed = await http.get(f"/ocelot-logs-{bench.scope.tenant_id}-*/_alias")
        return set(listed.json())


async def test_a_tenant_without_events_has_empty_pages(bench: Bench) -> None:
    page = await bench.page()
    assert (page.hits, page.total, page.total_exact) == ([], 0, True)
    assert await bench.index.count(bench.scope) == 0
    await bench.index.refresh(bench.scope)
    await bench.index.drop(bench.scope)
    await bench.index.ping()


async def test_no_documents_is_no_request(bench: Bench) -> None:
    assert await bench.index.index(bench.scope, PLACEMENT, []) == []
    assert await names(bench) == set()


async def test_the_first_event_makes_generation_and_aliases(bench: Bench) -> None:
    tenant_id = bench.scope.tenant_id
    assert await bench.put([stamped({"action": "a"}, tenant_id, 1)]) == [INDEXED]
    assert await names(bench) == {f"ocelot-logs-{tenant_id}-{PLACEMENT}-g1"}
    async with httpx.AsyncClient(base_url=bench.url) as http:
        made = (await http.get(f"/ocelot-logs-{tenant_id}-{PLACEMENT}-g1")).json()
    (found,) = made.values()
    assert found["aliases"] == {write_alias(tenant_id, PLACEMENT): {"is_write_index": True}, read_alias(tenant_id): {}}
    assert found["mappings"]["dynamic"] == "strict"


async def test_several_consumers_may_meet_the_missing_alias_at_once(bench: Bench) -> None:
    documents = [stamped({"action": "a"}, bench.scope.tenant_id, n) for n in range(8)]
    calls = [bench.index.index(bench.scope, PLACEMENT, [document]) for document in documents]
    assert await asyncio.gather(*calls) == [[INDEXED]] * 8
    assert await bench.index.count(bench.scope) == 8


async def test_placements_are_searched_as_one(bench: Bench) -> None:
    first, second = (stamped({"action": "a"}, bench.scope.tenant_id, n, us=NOW + n) for n in (1, 2))
    await bench.put([first], "202610")
    await bench.put([second], "202611")
    assert await bench.ids() == [second.id, first.id]
    assert len(await names(bench)) == 2


async def test_a_search_while_an_index_is_made_is_answered(bench: Bench) -> None:
    """A new index takes no search until its first shard has started: nobody may meet it before."""
    documents = [stamped({"action": "a"}, bench.scope.tenant_id, n) for n in range(3)]
    seen = []
    for placement, document in zip(("202609", "202610", "202611"), documents, strict=True):
        writing = asyncio.create_task(bench.put([document], placement))
        while not writing.done():
            seen.append((await bench.page()).total)
            await asyncio.sleep(0)
        assert await writing == [INDEXED]
    assert seen == sorted(seen)
    assert (await bench.page()).total == 3


async def test_an_index_left_without_its_aliases_gets_them(bench: Bench) -> None:
    """Its maker was killed in between."""
    tenant_id = bench.scope.tenant_id
    name = f"ocelot-logs-{tenant_id}-{PLACEMENT}-g1"
    settings, mappings = mapping.settings(1, 0), mapping.mappings()
    async with httpx.AsyncClient(base_url=bench.url) as http:
        made = await http.put(f"/{name}", json={"settings": settings, "mappings": mappings})
        assert made.status_code == 200
        assert await bench.put([stamped({"action": "a"}, tenant_id, 1)]) == [INDEXED]
        aliases = (await http.get(f"/{name}/_alias")).json()[name]["aliases"]
    assert set(aliases) == {write_alias(tenant_id, PLACEMENT), read_alias(tenant_id)}
    assert (await bench.page()).total == 1


async def test_indexing_again_is_harmless(bench: Bench) -> None:
    documents = [stamped({"action": "a"}, bench.scope.tenant_id, n) for n in range(3)]
    assert await bench.put(documents[:2]) == [INDEXED, INDEXED]
    assert await bench.put(documents) == [PRESENT, PRESENT, INDEXED]
    assert await bench.put([documents[0], documents[0]]) == [PRESENT, PRESENT]
    assert await bench.index.count(bench.scope) == 3


async def test_one_call_with_the_same_event_twice_holds_it_once(bench: Bench) -> None:
    document = stamped({"action": "a"}, bench.scope.tenant_id, 1)
    assert await bench.put([document, document]) == [INDEXED, PRESENT]
    assert await bench.index.count(bench.scope) == 1


async def test_a_call_larger_than_one_request(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.adapters.index.bulk.MAX_BODY_BYTES", 2000)
    documents = [stamped({"action": "a", "message": "m" * 700}, bench.scope.tenant_id, n) for n in range(9)]
    assert await bench.put(documents[:1]) == [INDEXED]
    assert await bench.put(documents) == [PRESENT] + [INDEXED] * 8
    assert await bench.index.count(bench.scope) == 9


async def test_real_events_all_index(bench: Bench, audit_logs: Path) -> None:
    tenant_id = bench.scope.tenant_id
    documents = [stamped(wrapped(line), tenant_id, n) for n, line in enumerate(real_lines(audit_logs, 300))]
    assert len(documents) > 1500
    outcomes = []
    for start in range(0, len(documents), 500):
        outcomes += await bench.index.index(bench.scope, PLACEMENT, documents[start : start + 500])
    assert set(outcomes) <= {INDEXED, REDUCED}
    assert await bench.index.count(bench.scope) == len(documents)
    reduced = {document.id for document, outcome in zip(documents, outcomes, strict=True) if outcome is REDUCED}
    assert set(await flagged(bench)) == reduced


async def test_values_that_change_their_type_live_together(bench: Bench) -> None:
    shapes = [{"p": "x"}, {"p": {"q": 1}}, {"p": [1, {"q": "x"}]}, {"p": True}, {"p": 1.5}, {"p": {}}, {"p": None}, {}]
    shapes += [{"p": [[]]}, {"p": "2026-11-21"}]
    documents = [stamped({"action": "a", "metadata": m}, bench.scope.tenant_id, n) for n, m in enumerate(shapes)]
    assert await bench.put(documents) == [INDEXED] * len(shapes)
    for query in (
        where("metadata.p", "x"), where("metadata.p.q", "1"), where("metadata.p", "", Match.EXISTS),
        where("metadata.p", "true"), where("metadata.p", "1.5"), where("metadata.p.q", "", Match.EXISTS),
    ):  # fmt: skip
        assert await bench.agrees(query, documents)


async def test_another_tenants_index_is_never_touched(bench: Bench) -> None:
    other = Bench(bench.index, bench.url, for_system("x" + bench.scope.tenant_id[1:], "test"), bench.real)
    longer = Bench(bench.index, bench.url, for_system(bench.scope.tenant_id + "0", "test"), bench.real)
    try:
        for n, each in enumerate((bench, other, longer)):
            await each.put([stamped({"action": "a", "user_id": "u"}, each.scope.tenant_id, n)])
        for each in (bench, other, longer):
            assert len(await each.ids(where("user_id", "u"))) == await each.index.count(each.scope) == 1
        await bench.index.drop(bench.scope)
        assert await bench.index.count(bench.scope) == 0
        assert await other.index.count(other.scope) == await longer.index.count(longer.scope) == 1
    finally:
        await other.index.drop(other.scope)
        await longer.index.drop(longer.scope)


async def test_another_tenants_event_is_refused_before_anything_is_sent(bench: Bench) -> None:
    own = stamped({"action": "a"}, bench.scope.tenant_id, 1)
    foreign = stamped({"action": "a"}, new_tenant_id(), 2)
    misnamed = IndexDocument(stamped({"action": "a"}, bench.scope.tenant_id, 3).id, own.body)
    # As another encoder would write it, the tenant not where the stamps have it.
    reordered = IndexDocument(foreign.id, json.dumps(dict(reversed(json.loads(foreign.body).items()))).encode())
    for bad in (foreign, misnamed, reordered):
        with pytest.raises(ValueError, match="another"):
            await bench.index.index(bench.scope, PLACEMENT, [own, bad])
    assert await names(bench) == set()
    reordered = IndexDocument(own.id, json.dumps(dict(reversed(json.loads(own.body).items()))).encode())
    assert await bench.put([reordered]) == [INDEXED]


async def test_an_event_of_two_lines_is_refused_before_anything_is_sent(bench: Bench) -> None:
    """The attack: JSON allows a line break between two values, and a bulk body is cut at line breaks.

    A naive sender pastes this event into its body, where each line but the first is a command or its document:

        {"action": "b", "metadata": {"k": [1,
        {"delete": {"_id": "victim"}},
        {"create": {"_id": "z"}},
        {"x": 1}]}}

    The server refuses the first and the last as broken documents, each alone, and deletes the victim in between. The
    end of this test does just that by hand.
    """
    tenant_id = bench.scope.tenant_id
    victim = stamped({"action": "a"}, tenant_id, 1)
    await bench.put([victim])
    attack = stamped({"action": "b", "metadata": {"k": [1]}}, tenant_id, 2)
    lines = [b"[1,", b'{"delete":{"_id":"%s"}},' % victim.id.encode(), b'{"create":{"_id":"z"}},', b'{"x":1}]']
    for line_break in (b"\n", b"\r\n", b"\r"):
        body = attack.body.replace(b"[1]", line_break.join(lines))
        assert json.loads(body)["metadata"]["k"][1] == {"delete": {"_id": victim.id}}
        with pytest.raises(ValueError, match="more than one line"):
            await bench.index.index(bench.scope, PLACEMENT, [attack, IndexDocument(attack.id, body)])
    assert await bench.index.count(bench.scope) == 1
    async with httpx.AsyncClient(base_url=bench.url) as http:
        naive = b'{"create":{"_id":"y"}}\n' + attack.body.replace(b"[1]", b"\n".join(lines)) + b"\n"
        path = f"/{write_alias(tenant_id, PLACEMENT)}/_bulk"
        await http.post(path, content=naive, headers={"content-type": "application/x-ndjson"})
    assert await bench.index.count(bench.scope) == 0


@pytest.mark.parametrize("placement", ["", "202611-g1", "*", "../x", "abc", "202611,x"])
async def test_a_placement_is_digits(bench: Bench, placement: str) -> None:
    with pytest.raises(ValueError, match="placement"):
        await bench.index.index(bench.scope, placement, [stamped({"action": "a"}, bench.scope.tenant_id, 1)])


async def test_a_dead_index_is_unavailable() -> None:
    index = open_index(f"http://127.0.0.1:{free_port()}")
    scope = for_system(new_tenant_id(), "test")
    document = stamped({"action": "a"}, scope.tenant_id, 1)
    calls = (
        index.index(scope, PLACEMENT, [document]), index.count(scope), index.refresh(scope), index.drop(scope),
        index.search(scope, EVERYTHING, after=None, limit=1, total_bound=0), index.ping(),
    )  # fmt: skip
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, Unavailable)
        assert not isinstance(outcome, Blocked)
        assert outcome.dependency == "index"
    await index.aclose()


async def test_a_write_block_is_blocked_and_passes(bench: Bench) -> None:
    tenant_id = bench.scope.tenant_id
    await bench.put([stamped({"action": "a"}, tenant_id, 1)])
    async with httpx.AsyncClient(base_url=bench.url) as http:
        settings = f"/ocelot-logs-{tenant_id}-{PLACEMENT}-g1/_settings"
        if (await http.put(settings, json={"index.blocks.write": True})).status_code != 200:
            pytest.skip("this server knows no write block")
        document = stamped({"action": "a"}, tenant_id, 2)
        try:
            if bench.real:
                with pytest.raises(Blocked):
                    await bench.index.index(bench.scope, PLACEMENT, [document])
        finally:
            await http.put(settings, json={"index.blocks.write": None})
    await bench.put([document])
    assert await bench.index.count(bench.scope) == 2


async def test_what_is_removed_is_gone_and_the_rest_stays(bench: Bench) -> None:
    tenant_id = bench.scope.tenant_id
    assert await bench.index.remove(bench.scope, PLACEMENT, ["0" * 8]) == 0  # before there is any index
    documents = [stamped({"action": "a"}, tenant_id, n) for n in range(5)]
    await bench.put(documents)
    gone = [document.id for document in documents[1:3]]
    assert await bench.index.remove(bench.scope, PLACEMENT, [*gone, "0" * 8]) == 2
    await bench.index.refresh(bench.scope)
    assert set(await bench.ids()) == {document.id for document in documents} - set(gone)
    assert await bench.index.remove(bench.scope, PLACEMENT, gone) == 0
    assert await bench.put(documents[1:3]) == [INDEXED, INDEXED]
    for names in (["a\n"], [documents[0].id, '"}}']):
        with pytest.raises(ValueError, match="not an event's id"):
            await bench.index.remove(bench.scope, PLACEMENT, names)
    with pytest.raises(ValueError, match="not a placement"):
        await bench.index.remove(bench.scope, "202611,other", [documents[0].id])
    assert len(await bench.ids()) == 5
