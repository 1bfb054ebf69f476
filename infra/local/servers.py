"""The embedded stack's two servers as processes: SecantusDB (MongoDB's protocol) and osmem (OpenSearch's, in memory).

Both come from PyPI wheels. SecantusDB is GPL: it is started as a program and never imported.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO


class ServerFailed(RuntimeError):
    """A server did not come up; the message says where its log is."""


@dataclass(slots=True)
class Server:
    """A running server in a session of its own, so that a terminal's Ctrl-C does not reach it."""

    name: str
    url: str
    process: subprocess.Popen[bytes]

    def stop(self, grace: float = 20.0) -> None:
        """SIGTERM, then SIGKILL after `grace` seconds."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start_store(home: Path, port: int = 0, *, timeout: float = 60.0) -> Server:
    """SecantusDB over the data in `home`/store; acknowledged writes survive SIGKILL (`--sync-on-commit`).

    The oplog bound is large because a change stream silently skips what is behind it.
    """
    port = port or free_port()
    data = home / "store"
    data.mkdir(parents=True, exist_ok=True)
    config = home / "secantusd.toml"
    config.touch()  # its own, empty: no settings file that lies about is picked up
    command = [
        _script("secantusd-py"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port),
        "--storage-path", str(data), "--log-level", "WARNING", "--cache-size", "256M",
        "--sync-on-commit", "--oplog-max-entries", "100000000", "--oplog-retention-seconds", "86400",
    ]  # fmt: skip
    url = f"mongodb://127.0.0.1:{port}/?w=majority&journal=true"
    server = Server("store", url, _spawn(command, home / "store.log"))
    _await(server, lambda: _listens(port), home / "store.log", timeout)
    return server


def start_index(home: Path, port: int = 0, *, timeout: float = 30.0) -> Server:
    """osmem-server: the OpenSearch API in memory, about 17 KB an event; empty at each start."""
    port = port or free_port()
    home.mkdir(parents=True, exist_ok=True)
    spec = find_spec("osmem_server")
    if spec is None or spec.origin is None:
        raise ServerFailed("osmem-server is not installed: pip install 'ocelot[embedded]'")
    binary = Path(spec.origin).parent / "bin" / ("osmem-server.exe" if sys.platform == "win32" else "osmem-server")
    command = [str(binary), "--addr", f"127.0.0.1:{port}", "--no-stdin-watch", "--no-ja"]
    url = f"http://127.0.0.1:{port}"
    server = Server("index", url, _spawn(command, home / "index.log"))
    _await(server, lambda: _answers(url), home / "index.log", timeout)
    return server


def _script(name: str) -> str:
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ServerFailed(f"{name} is not installed: pip install 'ocelot[embedded]'")
    return found


def _spawn(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    out: IO[bytes]
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=os.environ.copy()
        )


def _await(server: Server, ready: Callable[[], bool], log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            raise ServerFailed(f"the {server.name} ended while starting; see {log}")
        if ready():
            return
        time.sleep(0.05)
    server.kill()
    raise ServerFailed(f"the {server.name} did not answer within {timeout:.0f} s; see {log}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError):
        return False
