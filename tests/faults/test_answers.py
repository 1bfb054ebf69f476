"""Servers whose answers come late, or break off in the middle: nothing is lost, nothing is there twice."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests import census
from tests.faults import stack as stacks
from tests.faults.stack import Stack

EVENTS = 20

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=stacks.SERVERS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service whose store and index are behind proxies."""
    with getattr(stacks, request.param)(tmp_path_factory.mktemp("answers"), proxied=True) as running:
        yield running


@pytest.mark.parametrize("name", ["store", "index"])
@pytest.mark.parametrize("how", ["slow", "broken"])
def test_what_was_accepted_meanwhile_arrives_once(stack: Stack, name: str, how: str) -> None:
    """A write whose answer breaks off is done: it is done again, and changes nothing."""
    client = stack.service.tenant(how)
    first = client.ingest({"action": "before"})
    client.found(1, action="before")
    proxy = stack.proxies[name]
    proxy.slow(0.2) if how == "slow" else proxy.broken()
    ids = {client.ingest({"action": "meanwhile", "request_id": str(n)}) for n in range(EVENTS)}
    time.sleep(2)  # the consumer is at them, again and again
    assert client.get("/logs", params={"action": "before"}).status_code in (200, 503)
    proxy.well()
    census.settle(stack.service, [client])
    held = census.take(stack.service, client)
    assert set(held.stored) == {first, *ids}
    assert sorted(held.stored) == sorted(held.indexed)
    assert (len(held.stored), held.altered) == (EVENTS + 1, [])
