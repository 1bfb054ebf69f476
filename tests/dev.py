"""`ocelot dev` as a newcomer runs it, and what can be asked of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from infra.local.servers import free_port
from tests.service import ROOT


class Dev:
    """A running `ocelot dev`, alone in a session as in a terminal, with nothing set but PORT and OCELOT_HOME."""

    def __init__(self, home: Path, port: int | None = None) -> None:
        self.home = home
        self.port = port or free_port()
        self.facts_file = home / "dev.json"
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "dev"],
            env=self.environment | {"PORT": str(self.port)},
            cwd=home.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG") or k.startswith("COVERAGE")}
        return {**clean, "PYTHONPATH": str(ROOT), "OCELOT_HOME": str(self.home)}

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line for line in self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def until(self, text: str, timeout: float = 60) -> Dev:
        deadline = time.monotonic() + timeout
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return self

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.facts_file.read_text())
        return facts

    @property
    def client(self) -> httpx.Client:
        facts = self.facts
        headers = {"Authorization": f"Bearer {facts['token']}"}
        return httpx.Client(base_url=facts["api_url"] + "/api/v1", headers=headers, timeout=30)

    def ocelot(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command in a second terminal, where OCELOT_HOME alone is set."""
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env=self.environment,
            cwd=self.home.parent,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(90)
        self.reader.join(10)
        return code


@contextmanager
def several() -> Iterator[list[Dev]]:
    """A list for what a test starts, all of it ended whatever happens."""
    running: list[Dev] = []
    yield running
    for dev in running:
        if dev.process.poll() is None:
            dev.interrupt()


def found(client: httpx.Client, timeout: float = 180, **query: str) -> list[dict[str, Any]]:
    """The events of a search that finds any."""
    deadline = time.monotonic() + timeout
    while True:
        answer = client.get("/logs", params=query)
        if answer.status_code == 200 and answer.json()["data"]:
            events: list[dict[str, Any]] = answer.json()["data"]
            return events
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def gone(pids: dict[str, int], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while left := [name for name, pid in pids.items() if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def send(dev: Dev, action: str) -> str:
    """An event, sent until it is accepted; its id."""
    deadline = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            answer = dev.client.post("/logs", json={"action": action, "message": "genuine"})
            if answer.status_code == 202:
                return str(answer.json()["id"])
        assert time.monotonic() < deadline, dev.output
        time.sleep(0.1)


def all_found(dev: Dev, ids: list[str]) -> None:
    """Wait until these events, and no others, are found by their text."""
    deadline = time.monotonic() + 60
    while True:
        answer = dev.client.get("/logs", params={"q": "genuine", "limit": 1000})
        if answer.status_code == 200 and sorted(one["id"] for one in answer.json()["data"]) == sorted(ids):
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
