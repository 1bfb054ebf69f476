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
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from infra.local.facts import facts_of, greet, write
from infra.local.servers import ServerFailed
from infra.local.stack import GRACE_SECONDS, DevFailed, Stack, say

__all__ = ["DevFailed", "run"]


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
            say(f"starting the stack in {home} ...")
            stack.start()
            written = asyncio.run(facts_of(stack))
            write(facts, written)
            greet(stack, written)
            while not stopped["flag"]:
                time.sleep(0.2)
                if stack.revive():
                    write(facts, written | {"pids": stack.pids})
            say("\nstopping: draining the API, then the consumer, then the stores ...")
        except ServerFailed as error:
            raise DevFailed(str(error)) from None
        finally:
            facts.unlink(missing_ok=True)
            stack.stop()
        say("stopped; the data stays in " + str(home))


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
    deadline = time.monotonic() + GRACE_SECONDS
    while _started_at(pid) == started and time.monotonic() < deadline:
        time.sleep(0.1)
    with contextlib.suppress(ProcessLookupError):
        if _started_at(pid) == started:
            os.kill(pid, signal.SIGKILL)
