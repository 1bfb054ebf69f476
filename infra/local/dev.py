"""`ocelot dev`: the whole service on one machine, without Docker and without a JVM.

Children run in sessions of their own, so that Ctrl-C reaches this process alone, which then stops them in order: API,
consumer, index, store. A child that dies is started again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from api.tokens import SigningKey, TokenIssuer
from core import accounts
from core.access import Role
from core.errors import Unavailable
from core.keys import signing_key_pem
from core.ports.ledger import REBUILD_NOTICE
from core.settings import Settings
from core.tenant import Tenant
from core.wiring import open_backends
from infra.local.servers import Server, ServerFailed, free_port, start_index, start_store

_TOKEN_SECONDS: Final = 12 * 3600
_READY_SECONDS: Final = 60.0
_GRACE_SECONDS: Final = 30.0
_FIRST_TENANT: Final = "first"
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
            child.server.stop(_GRACE_SECONDS)
        self.children.clear()

    def revive(self) -> bool:
        """Start again what has died; whether anything had. A new index is empty: the consumer fills it at its start."""
        dead = [child for child in self.children if child.server.process.poll() is not None]
        for child in dead:
            now = time.monotonic()
            self.restarts = [at for at in self.restarts if now - at < 60] + [now]
            if len(self.restarts) > _MAX_RESTARTS:
                raise DevFailed(f"the {child.name} keeps ending; see {self.home / (child.name + '.log')}")
            _say(f"the {child.name} ended (exit code {child.server.process.returncode}); starting it again")
            if child.name == "index":
                asyncio.run(_say_rebuilding(self))
            child.server = child.start()
            self._started(self)
            if child.name == "index":
                consumer = next(c for c in self.children if c.name == "consumer")
                consumer.server.stop(_GRACE_SECONDS)
        return bool(dead)

    def _add(self, name: str, start: Callable[[], Server]) -> None:
        self.children.append(Child(name, start, start()))
        self._started(self)

    def _service(self, name: str, health: str) -> Server:
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
                raise DevFailed(f"the {name} ended while starting; see {log}")
            if time.monotonic() > deadline:
                server.kill()
                raise DevFailed(f"the {name} did not answer within {_READY_SECONDS:.0f} s; see {log}")
            time.sleep(0.05)
        return server


def run(home: Path, port: int) -> None:
    """Run the stack until Ctrl-C or SIGTERM; raises `DevFailed`."""
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    stopped = {"flag": False}

    def stop(*_: object) -> None:
        stopped["flag"] = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with _locked(home), _pids(home) as remember:
        facts = home / "dev.json"
        # A killed run leaves its file behind, and scripts take the file for the sign that all is ready.
        facts.unlink(missing_ok=True)
        _require_free(port)
        stack = Stack(home, port, remember)
        try:
            _say(f"starting the stack in {home} ...")
            stack.start()
            written = asyncio.run(_facts(stack))
            _write(facts, written)
            _greet(stack, written)
            while not stopped["flag"]:
                time.sleep(0.2)
                if stack.revive():
                    _write(facts, written | {"pids": stack.pids})
            _say("\nstopping: draining the API, then the consumer, then the stores ...")
        except ServerFailed as error:
            raise DevFailed(str(error)) from None
        finally:
            facts.unlink(missing_ok=True)
            stack.stop()
        _say("stopped; the data stays in " + str(home))


def _require_free(port: int) -> None:
    """Raise `DevFailed` when another program listens on `port`, whose answers would pass for this stack's API."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DevFailed(f"port {port} cannot be had ({error.strerror}); set PORT to another") from None


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    with (home / "dev.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevFailed(f"another stack runs in {home}; set OCELOT_HOME and PORT to run a second one") from None
        yield


@contextlib.contextmanager
def _pids(home: Path) -> Iterator[Callable[[Stack], None]]:
    """End what an earlier run left behind when it was killed; remember what this one starts."""
    file = home / "dev.pids"
    with contextlib.suppress(OSError, ValueError):
        for pid, started in reversed(json.loads(file.read_text()).items()):  # stores last, as in `Stack.stop`
            if _started_at(int(pid)) == started:
                os.kill(int(pid), signal.SIGTERM)
                _await_end(int(pid), started)

    def remember(stack: Stack) -> None:
        file.write_text(json.dumps({str(pid): _started_at(pid) or "" for pid in stack.pids.values()}))

    yield remember
    file.unlink(missing_ok=True)


def _started_at(pid: int) -> str | None:
    """When a process began, in the kernel's ticks: tells it from a later one with the same id."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _await_end(pid: int, started: str) -> None:
    deadline = time.monotonic() + _GRACE_SECONDS
    while _started_at(pid) == started and time.monotonic() < deadline:
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        if _started_at(pid) == started:
            os.kill(pid, signal.SIGKILL)


async def _say_rebuilding(stack: Stack) -> None:
    """Mark every tenant's index as being rebuilt, until the consumer, which starts after it, has looked.

    Without it, answers from the new and empty index called themselves complete for 5 s. Every reader knows on return.
    """
    async with open_backends(Settings.model_validate(stack.environment)) as backends:
        with contextlib.suppress(Unavailable):
            for tenant in await backends.control.tenants():
                await backends.ledger.set_rebuilding(tenant.id, True)
    await asyncio.sleep(REBUILD_NOTICE)


async def _facts(stack: Stack) -> dict[str, Any]:
    """What scripts need to know of the stack: dev.json."""
    settings = Settings.model_validate(stack.environment)
    tenant = await _first_tenant(settings)
    issuer = TokenIssuer(SigningKey(signing_key_pem(settings, SigningKey.generate)), settings.issuer, settings.audience)

    def token(tenant_id: str | None, role: Role) -> str:
        return issuer.issue(subject="dev", tenant_id=tenant_id, roles=[role], lifetime=_TOKEN_SECONDS)

    return {
        "api_url": stack.api_url,
        "docs_url": f"{stack.api_url}/api/v1/docs",
        "tenant_id": tenant.id,
        "token": token(tenant.id, Role.ADMIN),
        "platform_token": token(None, Role.PLATFORM),
        "consumer_url": f"http://127.0.0.1:{stack.consumer_port}",
        "pids": stack.pids,
        "environment": stack.environment,
    }


def _write(path: Path, facts: dict[str, Any]) -> None:
    """Write dev.json whole and readable by its owner only."""
    draft = path.with_suffix(".part")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(facts, file, indent=2)
    draft.replace(path)


async def _first_tenant(settings: Settings) -> Tenant:
    async with open_backends(settings) as backends:
        for tenant in await backends.control.tenants():
            if tenant.name == _FIRST_TENANT:
                return tenant
        return await accounts.create_tenant(backends.control, _FIRST_TENANT)


def _greet(stack: Stack, facts: dict[str, Any]) -> None:
    event = '{"action":"user.login","user_id":"ana","message":"Ana signed in","metadata":{"via":"sso"}}'
    _say(
        f"""
Ocelot is up.

  API pages   {facts["docs_url"]}
  tenant      {facts["tenant_id"]}
  for scripts {stack.home / "dev.json"} (tokens, 12 h)
  logs        {stack.home}/api.log, consumer.log, store.log, index.log

Send an event:

  curl -sS {stack.api_url}/api/v1/logs -H 'Content-Type: application/json' \\
    -H 'Authorization: Bearer {facts["token"]}' \\
    -d '{event}'

Find it:

  curl -sS '{stack.api_url}/api/v1/logs?q=signed' \\
    -H 'Authorization: Bearer {facts["token"]}'

Ctrl-C stops everything; the data stays."""
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError):
        return False


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
