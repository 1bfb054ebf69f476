from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.adapters.queue.bell import Bell
from core.adapters.queue.file import FileQueue
from core.ports import Message

# A minute stands for "never": each wait here either ends at once or fails its test.
NEVER = 60
AT_ONCE = 20


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell.make()
    if made is None:
        pytest.skip("no inotify here")
    yield made
    made.close()


async def test_a_ring_ends_the_wait(bell: Bell) -> None:
    started = time.monotonic()
    waiting = asyncio.create_task(asyncio.to_thread(bell.wait, NEVER))
    await asyncio.sleep(0.05)
    bell.ring()
    await waiting
    assert time.monotonic() - started < AT_ONCE


def test_another_process_that_writes_ends_the_wait(bell: Bell, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert bell.watch(file)
    started = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", f"open({str(file)!r}, 'w').write('x')"]):
        bell.wait(NEVER)
    assert time.monotonic() - started < AT_ONCE


def test_what_came_before_the_wait_ends_it_once(bell: Bell) -> None:
    bell.ring()
    bell.ring()
    started = time.monotonic()
    bell.wait(NEVER)
    assert time.monotonic() - started < AT_ONCE
    started = time.monotonic()
    bell.wait(0.1)
    assert time.monotonic() - started > 0.05


def test_a_file_that_is_not_there_is_not_watched(bell: Bell, tmp_path: Path) -> None:
    assert not bell.watch(tmp_path / "missing")


async def test_the_queue_works_without_a_bell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bell, "make", lambda: None)
    async with FileQueue(tmp_path / "queue.db") as consumer, FileQueue(tmp_path / "queue.db") as sender:
        waiting = asyncio.create_task(consumer.receive(1, NEVER, 30))
        await asyncio.sleep(0.05)
        await sender.send([Message(b"x")])
        async with asyncio.timeout(AT_ONCE):
            assert [lease.body for lease in await waiting] == [b"x"]


async def test_the_queue_hears_a_send_by_the_bell_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.adapters.queue.file._LOOK_SECONDS", NEVER)
    monkeypatch.setattr("core.adapters.queue.file._LAST_LOOK_SECONDS", NEVER)
    async with FileQueue(tmp_path / "queue.db") as sender:
        await sender.send([Message(b"x")])
        async with FileQueue(tmp_path / "queue.db") as consumer:
            await sender.ack(await sender.receive(1, 0, 30))
            waiting = asyncio.create_task(consumer.receive(1, NEVER, 30))
            await asyncio.sleep(0.05)
            await sender.send([Message(b"y")])
            async with asyncio.timeout(AT_ONCE):
                assert [lease.body for lease in await waiting] == [b"y"]
