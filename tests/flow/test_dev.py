"""`ocelot dev` as a newcomer uses it, in a terminal of its own."""

from __future__ import annotations

import json
import re
import shlex
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.dev import Dev, found, gone, several

FACTS = {"api_url", "docs_url", "tenant_id", "token", "platform_token"}
CHILDREN = {"store", "index", "consumer", "api"}

# Processes start and stop many times: on a loaded machine that takes its time.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def started() -> Iterator[list[Dev]]:
    with several() as running:
        yield running


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
    refused.reader.join(10)
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
        dev.reader.join(10)
        assert len(dev.lines) == 1, dev.output
        assert f"port {port} cannot be had" in dev.output
        assert not dev.facts_file.exists()
