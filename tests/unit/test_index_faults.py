"""What the adapter makes of an index that answers badly: recorded answers, given by a server of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from core.adapters.index.opensearch import OpenSearchIndex, open_index
from core.errors import Blocked, TimedOut, Unavailable
from core.query import EventQuery
from core.tenant import for_system
from tests.contracts.index_events import PLACEMENT, stamped

SCOPE = for_system("tenant00tenant00", "test")
DOCUMENT = stamped({"action": "a"}, SCOPE.tenant_id, 1)
NO_ALIAS = {"status": 404, "error": {"type": "index_not_found_exception", "reason": "is not an alias"}}
REJECTED = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "rejected"}}
WRITE_BLOCK = {"status": 403, "error": {"type": "cluster_block_exception", "reason": "blocked by: [FORBIDDEN/8]"}}
UNKNOWN = {"status": 400, "error": {"type": "illegal_argument_exception", "reason": "something new"}}
CREATED = {"status": 201}
SHARD_LIMIT = {
    "error": {
        "type": "validation_exception",
        "reason": "this action would add [1] total shards, but this cluster currently has [1000]/[1000] maximum normal"
        " shards open;",
    },
    "status": 400,
}
Answer = tuple[int, Any]


class Recorded:
    """A server that gives the answers it is told, and counts what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.url = ""

    def bulk(self, *items: Any) -> None:
        self.answers["_bulk"] = (200, {"items": [{"create": item} for item in items]})

    async def handle(self, request: web.Request) -> web.Response:
        kind = next((part for part in request.path.split("/") if part.startswith("_")), "PUT")
        self.asked.append(kind)
        await self.goes_on.wait()
        status, body = self.answers.get(kind, (404, ""))
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=text, content_type="application/json")


@pytest_asyncio.fixture
async def server() -> AsyncIterator[tuple[Recorded, OpenSearchIndex]]:
    recorded = Recorded()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", recorded.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    recorded.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    index = open_index(recorded.url)
    yield recorded, index
    recorded.goes_on.set()
    await index.aclose()
    await runner.cleanup()


Server = tuple[Recorded, OpenSearchIndex]


async def write(index: OpenSearchIndex) -> Any:
    return await index.index(SCOPE, PLACEMENT, [DOCUMENT])


async def search(index: OpenSearchIndex) -> Any:
    return await index.search(SCOPE, EventQuery(), after=None, limit=10, total_bound=10)


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        ((REJECTED,), Unavailable),
        ((WRITE_BLOCK,), Blocked),
        ((), Unavailable),
        ((CREATED, CREATED), Unavailable),
    ],
    ids=["rejected", "blocked", "no items", "too many items"],
)
async def test_a_bulk_that_failed_for_reasons_of_its_own(server: Server, items: Any, kind: type[Exception]) -> None:
    recorded, index = server
    recorded.bulk(*items)
    with pytest.raises(Unavailable) as caught:
        await write(index)
    assert type(caught.value) is kind
    assert recorded.asked == ["_bulk"]


async def test_one_rejected_document_fails_the_call(server: Server) -> None:
    recorded, index = server
    recorded.bulk(CREATED, REJECTED)
    with pytest.raises(Unavailable):
        await index.index(SCOPE, PLACEMENT, [DOCUMENT, stamped({"action": "b"}, SCOPE.tenant_id, 2)])


async def test_a_refusal_that_may_not_be_the_documents_parks_nothing(server: Server) -> None:
    recorded, index = server
    recorded.bulk(UNKNOWN)
    with pytest.raises(Unavailable):
        await write(index)
    assert recorded.asked == ["_bulk"] * 3


async def test_the_shard_limit_blocks(server: Server) -> None:
    recorded, index = server
    recorded.bulk(NO_ALIAS)
    recorded.answers["PUT"] = (400, SHARD_LIMIT)
    with pytest.raises(Blocked):
        await write(index)
    assert recorded.asked == ["_bulk", "PUT"]


async def test_an_alias_that_stays_away_is_no_endless_loop(server: Server) -> None:
    recorded, index = server
    recorded.bulk(NO_ALIAS)
    recorded.answers["PUT"] = (400, {"error": {"type": "resource_already_exists_exception"}, "status": 400})
    recorded.answers |= {"_cluster": (200, {}), "_aliases": (200, {})}
    with pytest.raises(Unavailable):
        await write(index)
    assert recorded.asked == ["_bulk", "PUT", "_cluster", "_aliases", "_bulk"]


async def test_an_index_whose_shard_does_not_start_gets_no_alias(server: Server) -> None:
    recorded, index = server
    recorded.bulk(NO_ALIAS)
    recorded.answers |= {"PUT": (200, {}), "_cluster": (408, {"timed_out": True})}
    with pytest.raises(Unavailable):
        await write(index)
    assert recorded.asked == ["_bulk", "PUT", "_cluster"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", ["", "<html>gateway</html>", {"error": "text"}, {"error": {"type": 1}}], ids=range(4))
async def test_a_status_is_never_retried_nor_shown(server: Server, status: int, body: Any) -> None:
    recorded, index = server
    recorded.answers |= {"_bulk": (status, body), "_search": (status, body)}
    for call in (write, search):
        with pytest.raises(Unavailable) as caught:
            await call(index)
        assert "gateway" not in str(caught.value)
        assert not isinstance(caught.value, TimedOut)
    assert recorded.asked == ["_bulk", "_search"]


PARTIAL = [
    {"timed_out": True, "_shards": {"failed": 0}, "hits": {"hits": []}},
    {"timed_out": False, "_shards": {"failed": 1}, "hits": {"hits": []}},
]


@pytest.mark.parametrize("answer", [*PARTIAL, "", "no JSON", {}, [], {"timed_out": False}], ids=range(7))
async def test_an_answer_in_part_is_none(server: Server, answer: Any) -> None:
    recorded, index = server
    recorded.answers["_search"] = (200, answer)
    with pytest.raises(Unavailable):
        await search(index)


@pytest.mark.parametrize("answer", ["", "no JSON", {"items": [{"index": {"status": 201}}]}, {"items": 1}], ids=range(4))
async def test_a_bulk_answered_by_something_else(server: Server, answer: Any) -> None:
    recorded, index = server
    recorded.answers["_bulk"] = (200, answer)
    with pytest.raises(Unavailable):
        await write(index)


@pytest.mark.parametrize("call", [write, search], ids=["write", "search"])
async def test_a_server_that_hangs_has_a_deadline(
    server: Server, call: Callable[[OpenSearchIndex], Awaitable[Any]]
) -> None:
    recorded, _ = server
    recorded.goes_on.clear()
    hasty = open_index(recorded.url, deadline=0.05, write_deadline=0.05)
    with pytest.raises(TimedOut):
        await call(hasty)
    assert len(recorded.asked) == 1
    await hasty.aclose()
