"""The processes of `ocelot dev`: what dies while another is being started again does not end all of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from infra.local import stack as stacks
from infra.local.servers import Server
from infra.local.stack import Child, DevFailed, Stack

_popen = subprocess.Popen


def sleeper(name: str = "store", url: str = "") -> Server:
    return Server(name, url, _popen(["sleep", "600"]))


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """Its services never answer."""
    monkeypatch.setattr(stacks.subprocess, "Popen", lambda *arguments, **named: _popen(["sleep", "600"]))
    return Stack(tmp_path, 1, lambda stack: None)


def test_a_store_that_dies_while_a_service_waits_for_it_is_started_first(stack: Stack) -> None:
    store, consumer = sleeper(), sleeper("consumer")
    started: list[str] = []

    def service() -> Server:
        started.append("consumer")
        if len(started) > 1:
            return sleeper("consumer")
        store.process.kill()
        store.process.wait()
        return stack._service("consumer", "http://127.0.0.1:1/health")

    def again() -> Server:
        started.append("store")
        return sleeper()

    stack.children = [Child("store", again, store), Child("consumer", service, consumer)]
    consumer.process.kill()
    consumer.process.wait()
    while stack.revive():
        pass
    stack.stop()
    assert started == ["consumer", "store", "consumer"]


def test_a_stack_of_which_something_ends_at_once_does_not_come_up(stack: Stack) -> None:
    ended = sleeper()
    ended.process.kill()
    ended.process.wait()
    with pytest.raises(DevFailed, match="the store ended while starting"):
        stack._add("store", lambda: ended)
