"""What quotas cost a single POST: the API's CPU a request with all of them set, with none, and without the limiter."""

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

ROUNDS = 9
REQUESTS = 4000
_MANY = 1 << 40
_ALL = Quotas(_MANY, _MANY, _MANY, _MANY, _MANY, _MANY)
_WITHOUT = """
import api.main
from core.limits import Limiter
class Free:
    def enter(self): pass
    def check(self): pass
    def take(self, events, size): pass
    def give_back(self, *amounts): pass
    def answered(self, status): pass
    def fields(self): return []
free = Free()
Limiter.use = lambda self, tenant, actor, permission: free
api.main.serve()
"""


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store, index = start_store(home), start_index(home)
        try:
            return _rows(home, store.url, index.url)
        finally:
            index.stop()
            store.stop()


def _rows(home: Path, store: str, index: str) -> list[Row]:
    with_home, without_home = home / "with", home / "without"
    with_home.mkdir()
    without_home.mkdir()
    settings = settings_of(with_home, store, index)
    with api(settings) as ours, api(settings_of(without_home, store, index), _WITHOUT) as bare:
        token, tenant = token_of(settings)
        asyncio.run(_limit(settings, tenant))
        time.sleep(2 * REFRESH_SECONDS)
        limited = replace(ours, token=token)
        servers = (limited, ours, bare)
        for server in servers:
            _rate(server)
        rates = [[_rate(server) for server in servers] for _ in range(ROUNDS)]
    rows = []
    for n, name in enumerate(("six quotas", "no quotas")):
        ratio = median(each[n] / each[2] for each in rates)
        peer = median(each[2] for each in rates)
        rows.append(at_least(f"single POST, a tenant with {name}, against no limiter", peer * ratio, peer, 0.97,
                             "requests per second of API CPU"))  # fmt: skip
    return rows


async def _limit(settings: dict[str, str], tenant: Tenant) -> None:
    async with open_backends(Settings.model_validate(settings)) as backends:
        if not await backends.control.replace_tenant(tenant, replace(tenant, quotas=_ALL)):
            raise RuntimeError("the tenant has changed")


def _rate(server: Measured) -> float:
    """Requests per second of the server's CPU."""
    before = server.cpu()
    server.load("/api/v1/logs", data.small(), connections=64, requests=REQUESTS)
    return REQUESTS / (server.cpu() - before)
