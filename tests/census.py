"""Counting what a service holds: the ids in its store and in its index, none left out, none merged.

The service's own events (`ocelot.*`), of which looking makes more, are not counted.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field

from core.errors import Unavailable
from core.event import decode_stored
from core.query import OWN, EventQuery, without_own
from core.tenant import TenantScope, for_system
from core.wiring import Backends
from tests.service import Client, Service

_PAGE = 1000
_END = 1 << 53


@dataclass
class Census:
    """What one tenant has. `bodies` are the store's bytes by id; `indexed` lists an id as often as the index has it."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    stored: list[str] = field(default_factory=list)
    indexed: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    """Ids whose bytes do not have the hash that was stored with them."""


def take(service: Service, client: Client, timeout: float = 120) -> Census:
    """The census of the client's tenant, read from the backends and not through the service.

    Begun anew when a server that has much to do does not answer within its deadline.
    """
    assert client.tenant is not None
    scope = for_system(client.tenant.id, "test")
    deadline = time.monotonic() + timeout
    while True:
        try:
            counted: Census = service.with_backends(lambda backends: _count(backends, scope))
        except Unavailable:
            assert time.monotonic() < deadline, "not counted in time"
            time.sleep(1)
        else:
            return counted


async def _count(backends: Backends, scope: TenantScope) -> Census:
    census = Census()
    async for batch in backends.store.scan(scope, start=0, end=_END):
        for event in batch:
            if decode_stored(event.body).action.startswith(OWN):
                continue
            census.stored.append(event.id)
            census.bodies[event.id] = event.body
            if hashlib.sha256(event.body).digest() != event.hash:
                census.altered.append(event.id)
    await backends.index.refresh(scope)
    query, after = without_own(EventQuery(sort="received_at")), None
    while True:
        page = await backends.index.search(scope, query, after=after, limit=_PAGE, total_bound=0)
        census.indexed += [hit.id for hit in page.hits]
        if len(page.hits) < _PAGE:
            return census
        after = page.hits[-1]


def settle(service: Service, clients: list[Client], timeout: float = 100) -> None:
    """Wait until the queue and the outbox are empty and each tenant's index counts what its store does."""
    scopes = [for_system(client.tenant.id, "test") for client in clients if client.tenant is not None]
    deadline = time.monotonic() + timeout

    async def left(backends: Backends) -> str:
        try:
            depth, outbox = await backends.queue.depth(), await backends.outbox.size()
            counts = [(await backends.store.count(scope), await backends.index.count(scope)) for scope in scopes]
        except Unavailable as error:  # a server with much to do may not count within its deadline
            return error.message
        even = all(stored == indexed for stored, indexed in counts)
        done = depth.waiting == depth.leased == outbox == 0 and even
        return "" if done else f"queue {depth}, outbox {outbox}, stored and indexed {counts}"

    while rest := service.with_backends(left):
        assert time.monotonic() < deadline, f"not settled within {timeout:.0f} s: {rest}"
        time.sleep(0.5)
