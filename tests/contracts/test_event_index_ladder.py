"""What becomes of events that the index refuses, on osmem and on OpenSearch."""

from __future__ import annotations

import pytest

from core.adapters.index import bulk, ladder
from core.ports import IndexDocument, IndexOutcome
from core.query import EventQuery, Match
from tests.contracts.index_events import stamped
from tests.contracts.index_servers import Bench, any_index, bench, flagged, index_url, where

__all__ = ["any_index", "bench", "index_url"]

INDEXED, PRESENT, REDUCED = IndexOutcome.INDEXED, IndexOutcome.PRESENT, IndexOutcome.REDUCED


AWKWARD = {
    "immense": b'{"long":"%s","k":"v"}' % (b"x" * 60_000),
    "immense with path": b'{"long":"%s","k":"v"}' % (b"x" * 32_760),
    "immense, several bytes a character": b'{"long":"%s","k":"v"}' % ("€".encode() * 20_000),
    "long key": b'{"%s":1,"k":"v"}' % (b"k" * 60_000),
    "long keys, deep": b'{"a":%s1%s,"k":"v"}' % (b'{"%s":' % (b"k" * 2000) * 40, b"}" * 40),
    "key twice": b'{"twice":1,"k":"w","twice":{"x":2},"k":"v"}',
    "long number": b'{"n":%s,"k":"v"}' % (b"7" * 2000),
    "longer number": b'{"n":%s,"k":"v"}' % (b"7" * 5000),
}


async def test_what_the_index_refuses_gets_in_reduced(bench: Bench) -> None:
    tenant_id = bench.scope.tenant_id
    good = stamped({"action": "good", "metadata": {"k": "v"}}, tenant_id, 99)
    documents = [
        stamped(b'{"action":"odd","user_id":"u%d","metadata":%s}' % (n, metadata), tenant_id, n)
        for n, metadata in enumerate(AWKWARD.values())
    ]
    outcomes = await bench.put([*documents, good])
    assert outcomes[-1] is INDEXED
    if bench.real:
        assert outcomes[:-1] == [REDUCED] * len(documents)
    else:
        assert set(outcomes[:-1]) <= {INDEXED, REDUCED}
        assert outcomes[list(AWKWARD).index("key twice")] is REDUCED
    assert len(await bench.ids(where("action", "odd"))) == len(documents)
    for n, document in enumerate(documents):
        assert await bench.ids(where("id", document.id)) == [document.id]
        assert await bench.ids(where("user_id", f"u{n}")) == [document.id]
    assert len(await bench.ids(where("metadata.k", "v"))) == len(documents) + 1
    reduced = {d.id for d, outcome in zip(documents, outcomes, strict=False) if outcome is REDUCED}
    assert await flagged(bench) == dict.fromkeys(reduced, "shortened")
    assert await bench.put([*documents, good]) == [PRESENT] * (len(documents) + 1)


async def test_a_shortened_value_is_found_by_its_beginning(bench: Bench) -> None:
    body = b'{"action":"a","metadata":{"long":"begin%s","twice":1,"twice":2,"n":%s}}' % (b"x" * 60_000, b"7" * 2000)
    document = stamped(body, bench.scope.tenant_id, 1)
    assert await bench.put([document]) == [REDUCED]
    for query in (
        where("metadata.long", "beginx", Match.PREFIX), where("metadata.long", "", Match.EXISTS),
        where("metadata.twice", "1"), where("metadata.twice", "2"), where("metadata.n", "7" * 2000),
    ):  # fmt: skip
        assert await bench.agrees(query, [document]) == [document.id]


async def test_the_last_rung_keeps_the_named_fields(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unchanged(event_id: str, body: bytes, facets: bytes) -> bytes:
        return bulk.entry(event_id, body, facets)

    monkeypatch.setattr(ladder, "RUNGS", (unchanged, ladder.named_only))
    body = b'{"action":"a","user_id":"u","message":"said so","metadata":{"k":1,"k":2}}'
    document = stamped(body, bench.scope.tenant_id, 1)
    assert await bench.put([document]) == [REDUCED]
    assert await bench.ids(where("user_id", "u")) == [document.id]
    assert await bench.ids(EventQuery(text="said")) == [document.id]
    assert await flagged(bench) == {document.id: "named_only"}


async def test_an_event_that_no_rung_helps_is_that_documents_fault_alone(bench: Bench) -> None:
    tenant_id = bench.scope.tenant_id
    good = stamped({"action": "a"}, tenant_id, 1)
    unknown = stamped({"action": "a"}, tenant_id, 2)
    unknown = IndexDocument(unknown.id, unknown.body[:-1] + b',"surprise":1}')
    broken = stamped({"action": "a"}, tenant_id, 3)
    broken = IndexDocument(broken.id, broken.body[:-1] + b",}")
    outcomes = await bench.put([unknown, good, broken])
    assert [type(outcome).__name__ for outcome in outcomes] == ["Invalid", "IndexOutcome", "Invalid"]
    assert await bench.ids() == [good.id]
