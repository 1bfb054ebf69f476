"""`ocelot dev` when its processes, or it itself, are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.dev import Dev, all_found, found, gone, send, several

# Processes start and stop many times: on a loaded machine that takes its time.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def started() -> Iterator[list[Dev]]:
    with several() as running:
        yield running


def test_what_is_killed_comes_back(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path / "home")
    started.append(dev)
    dev.until("Ctrl-C stops")
    ids = [send(dev, "before")]
    found(dev.client, action="before")
    for name in ("api", "consumer", "store", "index"):
        pids = dev.facts["pids"]
        os.kill(pids[name], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while dev.facts["pids"][name] == pids[name]:
            assert time.monotonic() < deadline, dev.output
            time.sleep(0.1)
        ids.append(send(dev, f"after.{name}"))
        assert found(dev.client, action=f"after.{name}")[0]["id"] == ids[-1]
    # The index came back empty: it is filled again from the store.
    assert len(found(dev.client, q="genuine")) > 0
    all_found(dev, ids)

    orphans = dev.facts["pids"]
    dev.process.kill()
    dev.process.wait()
    assert all(psutil.pid_exists(pid) for pid in orphans.values())
    again = Dev(dev.home)
    started.append(again)
    again.until("Ctrl-C stops")
    gone(orphans)
    all_found(again, ids)
    ids.append(send(again, "last"))
    all_found(again, ids)
    pids = again.facts["pids"]
    assert again.interrupt() == 0, again.output
    gone(pids)


def test_an_index_that_comes_back_empty_never_calls_itself_complete(tmp_path: Path, started: list[Dev]) -> None:
    dev = Dev(tmp_path / "home")
    started.append(dev)
    dev.until("Ctrl-C stops")
    all_found(dev, [send(dev, f"kept.{n}") for n in range(3)])
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
