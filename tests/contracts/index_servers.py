"""The servers that the index's suite runs on, and a tenant of its own for each test, dropped after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from core import instant, matching
from core.adapters.index import mapping
from core.adapters.index.opensearch import OpenSearchIndex, open_index
from core.event import decode_stored
from core.placement import read_alias
from core.ports import HitPage, IndexDocument, IndexOutcome, Stored
from core.query import Condition, EventQuery, Match, Position, Value
from core.tenant import TenantScope, for_system, new_tenant_id
from tests import brute
from tests.conftest import LIVE_OPENSEARCH
from tests.contracts.index_events import PLACEMENT

EVERYTHING = EventQuery()


@dataclass
class Bench:
    """One tenant in one index."""

    index: OpenSearchIndex
    url: str
    scope: TenantScope
    real: bool
    """Whether this is OpenSearch itself: osmem takes some of what OpenSearch refuses."""

    async def put(self, documents: list[IndexDocument], placement: str = PLACEMENT) -> list[IndexOutcome | Exception]:
        """Index and make visible."""
        outcomes = await self.index.index(self.scope, placement, documents)
        await self.index.refresh(self.scope)
        return outcomes

    async def page(
        self, query: EventQuery = EVERYTHING, *, after: Position | None = None, limit: int = 1000, bound: int = 100_000
    ) -> HitPage:
        return await self.index.search(self.scope, query, after=after, limit=limit, total_bound=bound)

    async def ids(self, query: EventQuery = EVERYTHING) -> list[str]:
        return [hit.id for hit in (await self.page(query)).hits]

    async def agrees(self, query: EventQuery, documents: list[IndexDocument]) -> list[str]:
        """The ids found, which are those of the brute-force answer and of `core.matching`."""
        expected = brute.answer(query, [document.body for document in documents])
        assert {document.id for document in documents if matches(query, document.body)} == set(expected), query
        page = await self.page(query)
        assert [hit.id for hit in page.hits] == expected, query
        assert (page.total, page.total_exact) == (len(expected), True), query
        return expected


def matches(query: EventQuery, body: bytes) -> bool:
    """The answer of `core.matching` for an event's body."""
    decoded = decode_stored(body)
    times = instant.from_text(decoded.timestamp), instant.from_text(decoded.received_at)
    event = matching.event_of(Stored(decoded.id, "", *times, b"", body), decoded.tenant_id)
    return matching.compiled(query)(matching.Subject(event))


def where(field: str, text: str, match: Match = Match.EQUAL) -> EventQuery:
    return EventQuery(conditions=(Condition(field, (Value(text, match),)),))


async def flagged(bench: Bench) -> dict[str, str]:
    """The flags of the tenant's reduced documents, by id."""
    found: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=bench.url) as http:
        for flag in ("shortened", "named_only"):
            query = {"query": {"term": {mapping.FLAG: flag}}, "size": 100}
            answer = await http.post(f"/{read_alias(bench.scope.tenant_id)}/_search", json=query)
            found |= {hit["_id"]: flag for hit in answer.json()["hits"]["hits"]}
    return found


@pytest.fixture(
    scope="session",
    params=["osmem", pytest.param("opensearch", marks=pytest.mark.skipif(not LIVE_OPENSEARCH, reason="no OpenSearch"))],
)
def index_url(request: pytest.FixtureRequest) -> str:
    """The URL of a server with the OpenSearch API."""
    if request.param == "opensearch":
        return LIVE_OPENSEARCH or ""
    url: str = request.getfixturevalue("embedded_index").url
    return url


@pytest_asyncio.fixture(scope="session")
async def any_index(index_url: str) -> AsyncIterator[OpenSearchIndex]:
    """The adapter, one shard and no replica an index."""
    index = open_index(index_url, shards=1, replicas=0)
    yield index
    await index.aclose()


@pytest_asyncio.fixture
async def bench(any_index: OpenSearchIndex, index_url: str) -> AsyncIterator[Bench]:
    """A fresh tenant."""
    scope = for_system(new_tenant_id(), "test")
    yield Bench(any_index, index_url, scope, index_url == LIVE_OPENSEARCH)
    await any_index.drop(scope)


@pytest_asyncio.fixture(scope="module")
async def shared_bench(any_index: OpenSearchIndex, index_url: str) -> AsyncIterator[Bench]:
    """A tenant for all tests of a module that only read."""
    scope = for_system(new_tenant_id(), "test")
    yield Bench(any_index, index_url, scope, index_url == LIVE_OPENSEARCH)
    await any_index.drop(scope)
