"""What quotas cost a single POST: the API's CPU a request with all of them set, with none, and without the limiter.

One process serves all of them over the same connections, in turns of a fraction of a second: two processes on a busy
machine, or two loads of one, differ by more than what is measured. A second tenant without the limiter shows by how
much what does not differ at all seems to.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks import data
from benchmarks.load import Load, connected, request_of
from benchmarks.rows import Row, at_least
from benchmarks.servers import Measured, api, settings_of, token_of
from core.settings import Settings
from core.snapshots import REFRESH_SECONDS
from core.tenant import Tenant
from core.tenant_settings import Quotas
from core.wiring import open_backends
from infra.local.servers import start_index, start_store

CONNECTIONS = 64
ROUNDS = 200
REQUESTS = 10 * CONNECTIONS
_MANY = 1 << 40
_ALL = Quotas(_MANY, _MANY, _MANY, _MANY, _MANY, _MANY)
_CHANGES: dict[str, dict[str, object]] = {
    "a tenant with six quotas": {"quotas": _ALL},
    "a tenant with no quotas": {},
    "no limiter again": {"name": "free"},
    "no limiter": {"name": "free"},
}
_SERVE = """
import api.main
from core.limits import Limiter
class Free:
    def enter(self, permission): pass
    def check(self): pass
    def take(self, events, size): pass
    def give_back(self, *amounts): pass
    def answered(self, status): pass
    def fields(self): return []
free, use = Free(), Limiter.use
Limiter.use = lambda self, tenant, *more: free if tenant.name == "free" else use(self, tenant, *more)
api.main.serve()
"""


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store, index = start_store(home), start_index(home)
        try:
            return _rows(settings_of(home, store.url, index.url))
        finally:
            index.stop()
            store.stop()


def _rows(settings: dict[str, str]) -> list[Row]:
    with api(settings, _SERVE) as server:
        tenants = [token_of(settings) for _ in _CHANGES]
        for (_, tenant), change in zip(tenants, _CHANGES.values(), strict=True):
            asyncio.run(_set(settings, tenant, change))
        time.sleep(2 * REFRESH_SECONDS)
        requests = [request_of("/api/v1/logs", token, data.small()) for token, _ in tenants]
        costs = asyncio.run(_costs(server, requests))
    *names, _ = _CHANGES
    bare = median(each[-1] for each in costs)
    rows = []
    for n, name in enumerate(names):
        ratio = median(each[-1] / each[n] for each in costs)
        rows.append(at_least(f"single POST, {name}, against no limiter", ratio / bare, 1 / bare, 0.97,
                             "requests per second of API CPU"))  # fmt: skip
    return rows


async def _set(settings: dict[str, str], tenant: Tenant, change: dict[str, object]) -> None:
    async with open_backends(Settings.model_validate(settings)) as backends:
        if not await backends.control.replace_tenant(tenant, replace(tenant, **change)):  # type: ignore[arg-type]
            raise RuntimeError("the tenant has changed")


async def _costs(server: Measured, requests: Sequence[bytes]) -> list[list[float]]:
    """Seconds of the server's CPU a request, for each of `requests`, round by round."""
    load = Load()
    connections = await connected(load, server.port, CONNECTIONS)

    async def cost(n: int) -> float:
        before = server.cpu()
        await load.send(connections, requests[n], REQUESTS)
        return (server.cpu() - before) / REQUESTS

    found = []
    for first in range(len(requests) + ROUNDS):
        # Begins with another one each time: who comes after whom makes a difference.
        costs = {n % len(requests): await cost(n % len(requests)) for n in range(first, first + len(requests))}
        found.append([costs[n] for n in range(len(requests))])
    if any(status != 202 for status in load.statuses):
        raise RuntimeError(f"answers other than 202: {load.statuses}")
    for connection in connections:
        connection.close()
    return found[len(requests) :]
