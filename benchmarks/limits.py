"""What quotas cost a single POST: their part of the API's CPU.

That is a few microseconds of half a millisecond, and an exchange between the processes once a second. Two loads of the
very same requests differ by more, on the same process too, so that throughput with and without shows nothing. The few
steps are timed where they are taken, by the clock of the running service under load, and the exchange by the CPU of an
almost idle service that makes it and of one that does not.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import data
from benchmarks.rows import Row, at_most
from benchmarks.servers import Measured, api, settings_of, token_of
from core.settings import Settings
from core.snapshots import REFRESH_SECONDS
from core.tenant_settings import Quotas
from core.wiring import open_backends
from infra.local.servers import free_port, start_index, start_store

REQUESTS = 8000
SECONDS = 20
_MANY = 1 << 40
_ALL = Quotas(_MANY, _MANY, _MANY, _MANY, _MANY, _MANY)
# The steps of a single POST, each with the reading of the clock around it, which is taken off again.
_TIMED = """
import atexit, json, os, statistics, time
from core.limits import Limiter, Use
clock, taken = time.perf_counter_ns, {}
def timed(owner, name):
    step = getattr(owner, name)
    def around(*arguments):
        started = clock()
        result = step(*arguments)
        ended = clock()
        use = result if name == "use" else arguments[0]
        taken.setdefault((use.is_limited, name), []).append(ended - started)
        return result
    setattr(owner, name, around)
def tell():
    nothing = statistics.median([-clock() + clock() for _ in range(10_000)])
    steps = [(limited, statistics.fmean(sorted(each)[: len(each) * 99 // 100])) for (limited, _), each in taken.items()]
    cost = {str(which): sum(each - nothing for limited, each in steps if limited is which) for which in (False, True)}
    open(os.environ["STEPS"], "w").write(json.dumps(cost))
for owner, name in ((Limiter, "use"), (Use, "enter"), (Use, "take"), (Use, "fields")):
    timed(owner, name)
atexit.register(tell)
import api.main
api.main.serve()
"""
_ALONE = """
import asyncio, api.main
from core.limits import Sharing
async def alone(self):
    await asyncio.Event().wait()
Sharing.run_forever = alone
api.main.serve()
"""


def run() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store, index = start_store(home), start_index(home)
        try:
            settings = settings_of(home, store.url, index.url)
            exchange = _exchange(settings)
            return [_row(settings, exchange, quotas) for quotas in (_ALL, Quotas())]
        finally:
            index.stop()
            store.stop()


def _row(settings: dict[str, str], exchange: float, quotas: Quotas) -> Row:
    """`exchange` is the part of a second's CPU that goes into it."""
    name = "six quotas" if quotas == _ALL else "no quotas"
    steps = Path(settings["OCELOT_HOME"]) / "steps.json"
    with api(settings | {"STEPS": str(steps)}, _TIMED) as server:
        server.token = _tenant(settings, quotas)
        _post(server, REQUESTS // 4)
        before = server.cpu()
        _post(server, REQUESTS)
        request = (server.cpu() - before) / REQUESTS
    step: float = json.loads(steps.read_text())[str(quotas == _ALL)] / 1e9
    part = step / request + exchange
    sys.stderr.write(f"  {name}: {step * 1e6:.1f} of {request * 1e6:.0f} us, the exchange {exchange:.1%}\n")
    return at_most(f"single POST, quotas' part of the API's CPU, {name}", part * 100, 3.0, "%")


def _exchange(settings: dict[str, str]) -> float:
    beside = {**settings, "PORT": str(free_port()), "OCELOT_CONSUMER_PORT": str(free_port())}
    with api(settings) as one, api(beside, _ALONE) as other:
        one.token = other.token = _tenant(settings, _ALL)
        ends = time.monotonic() + SECONDS
        before = one.cpu() - other.cpu()
        while time.monotonic() < ends:
            for server in (one, other):
                _post(server, 1)
            time.sleep(0.5)
        return max(0.0, one.cpu() - other.cpu() - before) / SECONDS


def _post(server: Measured, requests: int) -> None:
    server.load("/api/v1/logs", data.small(), connections=min(64, requests), requests=requests)


def _tenant(settings: dict[str, str], quotas: Quotas) -> str:
    """The token of a new tenant with these quotas, which every process knows of."""
    token, tenant = token_of(settings)

    async def change() -> None:
        async with open_backends(Settings.model_validate(settings)) as backends:
            if not await backends.control.replace_tenant(tenant, replace(tenant, quotas=quotas)):
                raise RuntimeError("the tenant has changed")

    asyncio.run(change())
    time.sleep(2 * REFRESH_SECONDS)
    return token
