"""The processes of `ocelot dev`: started in order, started again when one dies, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.errors import Unavailable
from core.ports.ledger import REBUILD_NOTICE
from core.settings import Settings
from core.wiring import open_backends
from infra.local.servers import Server, free_port, start_index, start_store

_READY_SECONDS: Final = 60.0
GRACE_SECONDS: Final = 30.0
# A child that dies this often in a minute is broken, and starting it again hides that.
_MAX_RESTARTS: Final = 10


class DevFailed(RuntimeError):
    """The stack did not come up; the message is for the user."""


@dataclass(slots=True)
class Child:
    """A process of the stack and how to start it again."""

    name: str
    start: Callable[[], Server]
    server: Server


class Stack:
    """The running stack in `home`; ports are chosen once, so that a restarted child is found where it was."""

    def __init__(self, home: Path, port: int, started: Callable[[Stack], None]) -> None:
        self.home = home
        self.port = port
        self._started = started
        """Told of the stack after each start of a child."""
        self.store_port = free_port()
        self.index_port = free_port()
        self.consumer_port = free_port()
        self.children: list[Child] = []
        self.restarts: list[float] = []

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the stack's API and consumer, which the `ocelot` command also finds in dev.json."""
        return {
            "OCELOT_QUEUE": "file",
            "OCELOT_HOME": str(self.home),
            "MONGODB_URL": f"mongodb://127.0.0.1:{self.store_port}/?w=majority&journal=true",
            "OPENSEARCH_URL": f"http://127.0.0.1:{self.index_port}",
            "ARCHIVE_URL": (self.home.resolve() / "archive").as_uri(),
            "OCELOT_INDEX_REPLICAS": "0",
            "OCELOT_REBUILD_ON_START": "true",
            "OCELOT_HOST": "127.0.0.1",
            "PORT": str(self.port),
            "OCELOT_CONSUMER_PORT": str(self.consumer_port),
        }

    @property
    def pids(self) -> dict[str, int]:
        """The process of each child by its name."""
        return {child.name: child.server.process.pid for child in self.children}

    @property
    def api_url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self) -> None:
        """Start the stores, then consumer and API; ready on return."""
        self._add("store", lambda: start_store(self.home, self.store_port))
        self._add("index", lambda: start_index(self.home, self.index_port))
        self._add("consumer", lambda: self._service("consumer", f"http://127.0.0.1:{self.consumer_port}/health"))
        self._add("api", lambda: self._service("api", f"http://127.0.0.1:{self.port}/api/v1/health"))

    def stop(self) -> None:
        """API, consumer, index, store: whoever is fed stops after its feeder has drained."""
        for child in reversed(self.children):
            child.server.stop(GRACE_SECONDS)
        self.children.clear()

    def revive(self) -> bool:
        """Start again what has died; whether anything had. A new index is empty: the consumer fills it at its start.

        What dies meanwhile is the next call's, stores before those that wait for them.
        """
        dead = [child for child in self.children if child.server.process.poll() is not None]
        for child in dead:
            now = time.monotonic()
            self.restarts = [at for at in self.restarts if now - at < 60] + [now]
            if len(self.restarts) > _MAX_RESTARTS:
                raise DevFailed(f"the {child.name} keeps ending; see {self.home / (child.name + '.log')}")
            say(f"the {child.name} ended (exit code {child.server.process.returncode}); starting it again")
            if child.name == "index":
                asyncio.run(_say_rebuilding(self))
            child.server = child.start()
            self._started(self)
            if child.name == "index":
                consumer = next(c for c in self.children if c.name == "consumer")
                consumer.server.stop(GRACE_SECONDS)
        return bool(dead)

    def _add(self, name: str, start: Callable[[], Server]) -> None:
        child = Child(name, start, start())
        self.children.append(child)
        if child.server.process.poll() is not None:
            raise DevFailed(f"the {name} ended while starting; see {self.home / (name + '.log')}")
        self._started(self)

    def _service(self, name: str, health: str) -> Server:
        """Start it and wait until it answers; it has ended again if it or one of its stores died meanwhile."""
        log = self.home / f"{name}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", f"{name}.main"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**os.environ, **self.environment},
            )
        server = Server(name, health, process)
        deadline = time.monotonic() + _READY_SECONDS
        while not _answers(health):
            if process.poll() is not None:
                break
            if self._store_is_gone():
                server.kill()
                break
            if time.monotonic() > deadline:
                server.kill()
                raise DevFailed(f"the {name} did not answer within {_READY_SECONDS:.0f} s; see {log}")
            time.sleep(0.05)
        return server

    def _store_is_gone(self) -> bool:
        return any(c.name in ("store", "index") and c.server.process.poll() is not None for c in self.children)


async def _say_rebuilding(stack: Stack) -> None:
    """Mark every tenant's index as being rebuilt, until the consumer, which starts after it, has looked.

    Without it, answers from the new and empty index called themselves complete for 5 s. Every reader knows on return.
    """
    async with open_backends(Settings.model_validate(stack.environment)) as backends:
        with contextlib.suppress(Unavailable):
            for tenant in await backends.control.tenants():
                await backends.ledger.set_rebuilding(tenant.id, True)
    await asyncio.sleep(REBUILD_NOTICE)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError):
        return False


def say(text: str) -> None:
    """Tell the user."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
