"""A service of its own whose processes may be killed: embedded servers, or the real ones behind proxies of its own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from core.tenant import for_system
from core.wiring import Backends
from infra.local.servers import Server, free_port, start_index, start_store
from tests.faults.proxy import Proxy, in_front_of
from tests.faults.refusing import RefusingIndex, RefusingStore, refusing_index, refusing_store
from tests.flow.conftest import drop_live, live_environment
from tests.service import Client, Process, Service, environment, service

# A killed consumer's messages come again when their leases lapse.
LEASE = "4"
SERVERS = ["embedded", pytest.param("live", marks=pytest.mark.live)]
"""The names of the two functions below, as parameters of a test."""
_URLS = {"store": "MONGODB_URL", "index": "OPENSEARCH_URL"}


class Stack:
    """The processes by name: `api` and `consumer` of its own, `store` and `index` its own or the proxies of others'."""

    def __init__(self, home: Path, service: Service, servers: dict[str, Server], proxies: dict[str, Proxy]) -> None:
        self.home = home
        self.service = service
        self.servers = servers
        self.proxies = proxies

    store: RefusingStore
    """Where it was asked for, as is `index`."""
    index: RefusingIndex

    @property
    def names(self) -> list[str]:
        """What may be killed and started again with nothing lost: an index that is its own forgets."""
        return ["api", "consumer", "store"] + ["index"] * ("index" not in self.servers)

    def kill(self, name: str) -> None:
        """SIGKILL; of another's server, its connections."""
        if name in self.servers:
            self.servers[name].kill()
        elif name in self.proxies:
            self.proxies[name].gone()
        else:
            getattr(self.service, name).kill()

    def start(self, name: str) -> None:
        """Start again what was killed, on the same port; a store with its data, an index of its own empty."""
        if name in self.servers:
            start = start_store if name == "store" else start_index
            self.servers[name] = start(self.home, int(self.servers[name].url.rsplit(":", 1)[1].split("/")[0]))
        elif name in self.proxies:
            self.proxies[name].well()
        else:
            getattr(self.service, name).start()

    @contextmanager
    def hung(self, name: str) -> Iterator[None]:
        """It holds its connections and answers nothing: SIGSTOP, where it is its own."""
        if name not in self.servers:
            self.proxies[name].hung()
            yield
            self.proxies[name].well()
            return
        pid = self.servers[name].process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextmanager
    def another_api(self, **alter: object) -> Iterator[Process]:
        """A second API beside the first, of the same service; altered as `tests.faults.altered` tells."""
        settings = {**self.service.environment, "PORT": str(free_port()), "OCELOT_ALTER": json.dumps(alter)}
        module, arguments = ("tests.faults.altered", ("api.main",)) if alter else ("api.main", ())
        process = Process(module, settings, int(settings["PORT"]), "/api/v1/health", arguments=arguments)
        process.start()
        try:
            yield process
        finally:
            process.stop()

    def peak_mib(self, process: Process) -> int:
        """The most memory that the process has had, in MiB."""
        assert process.popen is not None
        status = Path(f"/proc/{process.popen.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024

    def forget(self, client: Client) -> None:
        """The index loses all that it has of the client's tenant; an index of its own, all that it has."""
        if "index" in self.servers:
            self.kill("index")
            self.start("index")
            return
        assert client.tenant is not None
        scope = for_system(client.tenant.id, "test")

        async def drop(backends: Backends) -> None:
            await backends.index.drop(scope)

        self.service.with_backends(drop)

    def down(self) -> None:
        """Stop all of it, stores last."""
        try:
            for proxy in self.proxies.values():
                proxy.well()
            self.service.stop()
        finally:
            for process in (self.service.api, self.service.consumer, *self.servers.values()):
                process.kill()


@contextmanager
def embedded(home: Path, *, proxied: bool = False, refusing: bool = False, **settings: str) -> Iterator[Stack]:
    """On an embedded store and index of its own; `proxied` and `refusing`: behind servers that do as they are told."""
    servers = {"store": start_store(home, free_port()), "index": start_index(home, free_port())}
    given = environment(home, servers["store"].url, servers["index"].url)
    with _started(home, {**given, **settings}, servers, proxied=proxied, refusing=refusing) as stack:
        yield stack


@contextmanager
def live(home: Path, *, proxied: bool = True, refusing: bool = False, **settings: str) -> Iterator[Stack]:
    """On the real servers, which are others' too: only what passes between them and this service can be harmed."""
    given = live_environment(home, int(settings.get("OCELOT_MAX_RECEIVES", "100")))
    try:
        with _started(home, {**given, **settings}, {}, proxied=proxied and not refusing, refusing=refusing) as stack:
            yield stack
    finally:
        drop_live(given)


@contextmanager
def _started(
    home: Path, settings: dict[str, str], servers: dict[str, Server], *, proxied: bool, refusing: bool
) -> Iterator[Stack]:
    # The long forms count far past the 100,000 up to which an answer's total is exact by default.
    settings = {"OCELOT_LEASE_SECONDS": LEASE, "OCELOT_TOTAL_BOUND": "100000000", **settings}
    with ExitStack() as stack:
        proxies = {}
        for name, variable in _URLS.items() if proxied else ():
            proxies[name], settings[variable] = stack.enter_context(in_front_of(settings[variable]))
        running = Stack(home, service(settings), servers, proxies)
        if refusing:
            running.store, settings["MONGODB_URL"] = stack.enter_context(refusing_store(settings["MONGODB_URL"]))
            running.index, settings["OPENSEARCH_URL"] = stack.enter_context(refusing_index(settings["OPENSEARCH_URL"]))
        stack.callback(running.down)
        running.service.start()
        yield running
