"""`ocelot dev` as a newcomer uses it, in a terminal of its own, and as a crash leaves it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.local.servers import free_port
from tests.service import ROOT

FACTS = {"api_url", "docs_url", "tenant_id", "token", "platform_token"}
CHILDREN = {"store", "index", "consumer", "api"}

# Processes start and stop many times: on a loaded machine that takes its time.
pytestmark = pytest.mark.timeout(300)


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
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

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
        self._reader.join(10)
        return code


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Dev]]:
    """What a test starts, ended whatever happens."""
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


def test_a_newcomers_first_day(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path / "home")
    started.append(dev)
    while not dev.facts_file.exists():  # written when all is ready
        assert dev.process.poll() is None, dev.output
        time.sleep(0.02)
    facts = dev.facts
    assert stat.S_IMODE(dev.facts_file.stat().st_mode) == 0o600
    assert set(facts) >= FACTS
    ready = httpx.get(f"{facts['api_url']}/api/v1/ready", timeout=10).json()
    assert ready["dependencies"] == {"queue": "up", "store": "up", "index": "up"}
    assert httpx.get(facts["docs_url"], timeout=10).status_code == 200

    event_id = _printed_curls_work(dev.until("Ctrl-C stops"))
    _commands_of_a_second_terminal_work(dev)
    second = Dev(tmp_path / "second")
    started.append(second)
    refused = Dev(dev.home)
    assert refused.process.wait(60) == 1
    refused._reader.join(10)
    assert len(refused.lines) == 1, refused.output
    assert "another stack runs in" in refused.output
    assert dev.client.get(f"/logs/{event_id}").status_code == 200
    second.until("Ctrl-C stops")
    assert second.facts["tenant_id"] != facts["tenant_id"]
    assert second.client.get("/logs").json()["total"] == 0
    assert dev.client.get("/logs").json()["total"] == 1
    assert second.client.get("/logs", headers={"Authorization": f"Bearer {facts['token']}"}).status_code == 401

    pids = dev.facts["pids"]
    assert set(pids) == CHILDREN
    assert dev.interrupt() == 0, dev.output
    gone(pids)
    assert not dev.facts_file.exists()
    assert "stopped" in dev.lines[-1]
    assert "Traceback" not in dev.output

    again = Dev(dev.home)
    started.append(again)
    again.until("Ctrl-C stops")
    assert again.facts["tenant_id"] == facts["tenant_id"]
    assert again.client.get(f"/logs/{event_id}").json()["action"] == "user.login"
    assert [one["id"] for one in found(again.client, q="signed")] == [event_id]
    assert again.interrupt() == 0


def _printed_curls_work(dev: Dev) -> str:
    """Run both printed commands as they are; the id of the event sent."""
    commands = re.findall(r"^  (curl (?:.*\\\n)*.*)$", dev.output, re.MULTILINE)
    assert len(commands) == 2, dev.output
    sent, asked = ([*shlex.split(command.replace("\\\n", " "))] for command in commands)
    answer = json.loads(subprocess.run(sent, capture_output=True, text=True, check=True, timeout=30).stdout)
    assert found(dev.client, q="signed")[0]["id"] == answer["id"]
    listed = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout)
    assert [one["id"] for one in listed["data"]] == [answer["id"]]
    return str(answer["id"])


def _commands_of_a_second_terminal_work(dev: Dev) -> None:
    made = dev.ocelot("tenant", "create", "Acme", "--json")
    assert made.returncode == 0, made.stderr
    tenant = json.loads(made.stdout)
    listed = dev.ocelot("tenant", "list", "--json")
    names = {json.loads(line)["tenant_id"]: json.loads(line)["name"] for line in listed.stdout.splitlines()}
    assert names[tenant["tenant_id"]] == "Acme"
    assert names[dev.facts["tenant_id"]] == "first"
    for arguments, expected in ((("--tenant", tenant["tenant_id"]), 0), ((), 1)):
        token = dev.ocelot("token", *arguments).stdout.strip()
        answer = dev.client.get("/logs", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["total"]) == (200, expected)
    form = {k: tenant[k] for k in ("client_id", "client_secret")} | {"grant_type": "client_credentials"}
    token = dev.client.post("/token", data=form).json()["access_token"]
    assert dev.client.get("/logs", headers={"Authorization": f"Bearer {token}"}).json()["total"] == 0
    parked = dev.ocelot("parked", "list")
    assert (parked.returncode, parked.stdout) == (0, ""), parked.stderr
    assert dev.ocelot("token", "--tenant", "nosuchtenant").returncode == 1


def test_what_is_killed_comes_back(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path / "home")
    started.append(dev)
    dev.until("Ctrl-C stops")
    ids = [_send(dev, "before")]
    found(dev.client, action="before")
    for name in ("api", "consumer", "store", "index"):
        pids = dev.facts["pids"]
        os.kill(pids[name], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while dev.facts["pids"][name] == pids[name]:
            assert time.monotonic() < deadline, dev.output
            time.sleep(0.1)
        ids.append(_send(dev, f"after.{name}"))
        assert found(dev.client, action=f"after.{name}")[0]["id"] == ids[-1]
    # The index came back empty: it is filled again from the store.
    assert len(found(dev.client, q="genuine")) > 0
    _all_found(dev, ids)

    orphans = dev.facts["pids"]
    dev.process.kill()
    dev.process.wait()
    assert all(psutil.pid_exists(pid) for pid in orphans.values())
    again = Dev(dev.home)
    started.append(again)
    again.until("Ctrl-C stops")
    gone(orphans)
    _all_found(again, ids)
    ids.append(_send(again, "last"))
    _all_found(again, ids)
    pids = again.facts["pids"]
    assert again.interrupt() == 0, again.output
    gone(pids)


def test_an_index_that_comes_back_empty_never_calls_itself_complete(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path / "home")
    started.append(dev)
    dev.until("Ctrl-C stops")
    _all_found(dev, [_send(dev, f"kept.{n}") for n in range(3)])
    os.kill(dev.facts["pids"]["index"], signal.SIGKILL)
    with dev.client as client:
        late, deadline = 0, time.monotonic() + 90
        while late < 5:
            assert time.monotonic() < deadline, dev.output
            late += "the consumer ended" in dev.output
            for query in ({"action": "kept.*"}, {"q": "genuine"}):
                answer = client.get("/logs", params=query)
                if answer.status_code == 200:
                    found = answer.json()
                    assert found["total"] == 3 or found["watermark"]["rebuilding"], (query, found)


def test_a_stale_file_of_facts_is_not_believed(tmp_path: Path, started: list[Dev]) -> None:
    """Scripts wait for dev.json: one that a crash left behind is gone before anything starts."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dev.json").write_text('{"stale": true}')
    dev = Dev(home)
    started.append(dev)
    dev.until("starting the stack")
    assert not dev.facts_file.exists() or "stale" not in dev.facts
    dev.until("Ctrl-C stops")
    assert "stale" not in dev.facts


def test_a_taken_port_is_told_at_once(tmp_path: Path, started: list[Dev]) -> None:
    """Another program answers on the port: its answers must not pass for this stack's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        dev = Dev(tmp_path / "home", port)
        started.append(dev)
        assert dev.process.wait(30) == 1
        dev._reader.join(10)
        assert len(dev.lines) == 1, dev.output
        assert f"port {port} cannot be had" in dev.output
        assert not dev.facts_file.exists()


def _send(dev: Dev, action: str) -> str:
    deadline = time.monotonic() + 60
    while True:
        with suppress(httpx.TransportError):
            answer = dev.client.post("/logs", json={"action": action, "message": "genuine"})
            if answer.status_code == 202:
                return str(answer.json()["id"])
        assert time.monotonic() < deadline, dev.output
        time.sleep(0.1)


def _all_found(dev: Dev, ids: list[str]) -> None:
    deadline = time.monotonic() + 60
    while True:
        answer = dev.client.get("/logs", params={"q": "genuine", "limit": 1000})
        if answer.status_code == 200 and sorted(one["id"] for one in answer.json()["data"]) == sorted(ids):
            return
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)
