"""What quotas cost a single POST: the API's CPU a request with all of them set, with none, and without the limiter.

One process serves all three, in turns of a fraction of a second: two processes on a busy machine differ by more than
what is measured.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks import data
from benchmarks.rows import Row, at_least
from benchmarks.servers import Measured, api, settings_of, token_of
from core.settings import Settings
from core.snapshots import REFRESH_SECONDS
from core.tenant import Tenant
from core.tenant_settings import Quotas
from core.wiring import open_backends
from infra.local.servers import start_index, start_store

ROUNDS = 90
REQUESTS = 400
_MANY = 1 << 40
_ALL = Quotas(_MANY, _MANY, _MANY, _MANY, _MANY, _MANY)
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
        tenants = [token_of(settings) for _ in range(3)]
        changes = ({"quotas": _ALL}, {}, {"name": "free"})
        for (_, tenant), change in zip(tenants, changes, strict=True):
            asyncio.run(_set(settings, tenant, change))
        time.sleep(2 * REFRESH_SECONDS)
        servers = [replace(server, token=token) for token, _ in tenants]
        for each in servers:
            _cost(each)
        costs = [_round(servers, n % len(servers)) for n in range(ROUNDS)]
    rows = []
    for n, name in enumerate(("six quotas", "no quotas")):
        bare = 1 / median(each[2] for each in costs)
        ratio = median(each[2] / each[n] for each in costs)
        rows.append(at_least(f"single POST, a tenant with {name}, against no limiter", bare * ratio, bare, 0.97,
                             "requests per second of API CPU"))  # fmt: skip
    return rows


def _round(servers: list[Measured], first: int) -> list[float]:
    """The cost of each, beginning with another one each time: who comes after whom makes a difference."""
    order = [*range(first, len(servers)), *range(first)]
    found = {n: _cost(servers[n]) for n in order}
    return [found[n] for n in range(len(servers))]


async def _set(settings: dict[str, str], tenant: Tenant, change: dict[str, object]) -> None:
    async with open_backends(Settings.model_validate(settings)) as backends:
        if not await backends.control.replace_tenant(tenant, replace(tenant, **change)):  # type: ignore[arg-type]
            raise RuntimeError("the tenant has changed")


def _cost(server: Measured) -> float:
    """Seconds of the server's CPU a request."""
    before = server.cpu()
    server.load("/api/v1/logs", data.small(), connections=64, requests=REQUESTS)
    return (server.cpu() - before) / REQUESTS
