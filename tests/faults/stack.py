"""A service of its own whose processes may be killed: embedded servers, or the real ones and processes of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.servers import Server, free_port, start_index, start_store
from tests.flow.conftest import drop_live, live_environment
from tests.service import Service, environment, service

# A killed consumer's messages come again when their leases lapse.
LEASE = "4"


class Stack:
    """The processes by name: `api` and `consumer` always, `store` and `index` where they are this stack's own."""

    def __init__(self, home: Path, service: Service, store: Server | None = None, index: Server | None = None) -> None:
        self.home = home
        self.service = service
        self.store = store
        self.index = index

    @property
    def names(self) -> list[str]:
        return ["api", "consumer"] + ["store"] * (self.store is not None)

    def kill(self, name: str) -> None:
        """SIGKILL."""
        getattr(self.service, name, getattr(self, name, None)).kill()

    def start(self, name: str) -> None:
        """Start again what was killed, on the same port; a store with its data, an index empty."""
        if name == "store":
            self.store = start_store(self.home, _port(self.store))
        elif name == "index":
            self.index = start_index(self.home, _port(self.index))
        else:
            getattr(self.service, name).start()

    def pid(self, name: str) -> int:
        server = getattr(self, name, None)
        process = server.process if server is not None else getattr(self.service, name).popen
        return int(process.pid)

    @contextmanager
    def hung(self, name: str) -> Iterator[None]:
        """SIGSTOP: it holds its connections and answers nothing."""
        os.kill(self.pid(name), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid(name), signal.SIGCONT)

    def down(self) -> None:
        """Stop all of it, stores last."""
        try:
            self.service.stop()
        finally:
            for process in (self.service.api, self.service.consumer, self.index, self.store):
                if process is not None:
                    process.kill()


@contextmanager
def embedded(home: Path, **settings: str) -> Iterator[Stack]:
    """On an embedded store and index of its own."""
    store = start_store(home, free_port())
    index = start_index(home, free_port())
    made = service(environment(home, store.url, index.url, **{"OCELOT_LEASE_SECONDS": LEASE, **settings}))
    stack = Stack(home, made, store, index)
    try:
        made.start()
        yield stack
    finally:
        stack.down()


@contextmanager
def live(home: Path, **settings: str) -> Iterator[Stack]:
    """On the real servers, which are others' too: its own API and consumer alone may be killed."""
    made = service({**live_environment(home), "OCELOT_LEASE_SECONDS": LEASE, **settings})
    stack = Stack(home, made)
    try:
        made.start()
        yield stack
    finally:
        stack.down()
        drop_live(made.environment)


def _port(server: Server | None) -> int:
    assert server is not None
    return int(server.url.rsplit(":", 1)[1].split("/")[0])
