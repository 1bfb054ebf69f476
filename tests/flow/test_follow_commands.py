"""`ocelot tail` and `ocelot reindex` as processes against a running service, and how streams end when it stops."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.access import Role
from tests.service import Client, Service
from tests.streams import Follower, Socket

ROOT = Path(__file__).parents[2]


def command(client: Client, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments, "--url", str(client.base_url).removesuffix("/api/v1/")]


def environment(client: Client) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCELOT_")}
    return {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OCELOT_TOKEN": str(client.token)}


def done(client: Client, *arguments: str) -> subprocess.CompletedProcess[str]:
    made = command(client, *arguments)
    return subprocess.run(made, env=environment(client), capture_output=True, text=True, timeout=200)


class Tail:
    """`ocelot tail`, read by threads."""

    def __init__(self, client: Client, *arguments: str) -> None:
        made = command(client, "tail", *arguments)
        self.popen = subprocess.Popen(
            made, env=environment(client), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.out: list[str] = []
        self.err: list[str] = []
        for pipe, lines in ((self.popen.stdout, self.out), (self.popen.stderr, self.err)):
            threading.Thread(target=lambda pipe=pipe, lines=lines: lines.extend(pipe), daemon=True).start()

    def ids(self) -> list[str]:
        return [json.loads(line)["id"] for line in list(self.out)]


@contextmanager
def tailing(client: Client, *arguments: str) -> Iterator[Tail]:
    tail = Tail(client, *arguments)
    try:
        yield tail
    finally:
        tail.popen.kill()
        tail.popen.wait()


def until(holds: Callable[[], Any], timeout: float = 180) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shown_first(client: Client, tail: Tail) -> None:
    """Send events until the first is shown: from then on nothing that is sent is missed."""

    def sent_and_shown() -> bool:
        client.ingest({"action": "probe.first"})
        time.sleep(0.2)
        return bool(tail.out)

    until(sent_and_shown)


def test_a_stopping_service_ends_its_streams_and_tail_goes_on_after_it(running: Service) -> None:
    client = running.tenant()
    with (
        Follower(client) as follower,
        Socket(client) as websocket,
        tailing(client, "--filter", "action=probe.*", "--json") as tail,
    ):
        follower.started()
        websocket.started()
        shown_first(client, tail)
        asked = time.monotonic()
        assert running.api.stop() == 0
        stopped_in = time.monotonic() - asked
        running.api.start()
        assert stopped_in < 20
        for listener in (follower, websocket):
            assert listener.end()["reason"] == "server_stopping"
        assert websocket.close_code == 1012
        client.ingest({"action": "other"})
        later = [client.ingest({"action": f"probe.{n}", "metadata": {"n": n}}) for n in range(5)]
        until(lambda: set(later) <= set(tail.ids()))
        ids = tail.ids()
        assert len(ids) == len(set(ids))
        # What ended holds the watermark of those that go on no longer than its own events take.
        client.complete()
        stored = [client.get(f"/logs/{event_id}", params={"wait": 10}).text for event_id in later]
        assert {line.rstrip("\n") for line in tail.out} >= set(stored)
        assert any("trying again" in line for line in tail.err)
        assert all('"other"' not in line for line in tail.out)
        with Follower(client, follower.last_id) as again:
            assert set(later) <= set(again.events(6))


def test_tail_shows_rows_and_ends_when_its_token_does(running: Service) -> None:
    client = running.tenant()
    short = running.client(client.tenant, Role.READER, lifetime=15)
    with tailing(short) as tail:
        shown_first(client, tail)
        client.ingest({"action": "a", "message": "esc \u001b[2J", "user_id": "ana"})
        until(lambda: any("ana" in line for line in tail.out))
        assert "\u001b" not in "".join(tail.out)
        assert tail.popen.wait(40) == 1
        until(lambda: any("expired" in line for line in tail.err))


def test_tail_says_why_it_is_refused(running: Service) -> None:
    client = running.tenant()
    writer = running.client(client.tenant, Role.WRITER)
    for who, arguments in ((writer, []), (client, ["--filter", "colour=red"])):
        refused = done(who, "tail", *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("ocelot: ")


def test_reindex_waits_for_the_end_and_tells_the_outcome(running: Service) -> None:
    client = running.tenant()
    client.post("/logs/bulk", json=[{"action": "a"} for _ in range(20)])
    client.found(20)
    rebuilt = done(client, "reindex", "--from", "-1d")
    assert (rebuilt.returncode, rebuilt.stderr) == (0, "")
    assert rebuilt.stdout.splitlines()[0].startswith("job ")
    found = re.search(r"done: (\d+) of (\d+) events", rebuilt.stdout)
    assert found is not None  # the log's own events beside the twenty
    assert int(found[1]) == int(found[2]) >= 20
    assert f"{found[1]} events, 0 of them reduced, 0 refused by the index" in rebuilt.stdout
    begun = done(client, "reindex", "--no-wait")
    assert (begun.returncode, len(begun.stdout.splitlines())) == (0, 1)
    reader = running.client(client.tenant, Role.READER)
    for who, arguments, said in ((reader, [], "forbidden"), (client, ["--from", "tomorrow"], "received_from")):
        refused = done(who, "reindex", *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert said in refused.stderr
