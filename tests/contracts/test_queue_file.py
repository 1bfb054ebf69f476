"""What the file queue promises beyond the port: processes, crashes, strange files, disk space."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from core.adapters.queue import file_database
from core.adapters.queue.file import FileQueue
from core.adapters.queue.file_database import QueueDatabase, translate
from core.errors import Blocked, Unavailable
from core.ports import Depth, Lease, Message
from tests.contracts.queue_process import BATCH
from tests.contracts.queues import drain

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "queue.db"


def start(role: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.contracts.queue_process", role, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


async def test_what_was_acknowledged_survives_sigkill_of_the_sender(path: Path) -> None:
    acknowledged: list[int] = []
    for _ in range(3):
        sender = start("send", path)
        assert sender.stdout is not None
        lines = [sender.stdout.readline() for _ in range(random.randint(1, 60))]
        sender.send_signal(signal.SIGKILL)
        rest = sender.stdout.read()
        sender.wait()
        acknowledged += [int(line) for line in (*lines, *rest.splitlines(keepends=True)) if line.endswith("\n")]
    async with FileQueue(path) as queue:
        waiting = (await queue.depth()).waiting
        received = Counter(int(lease.body.split()[0]) for lease in await drain(queue, waiting))
    assert received.total() == waiting
    assert not Counter(acknowledged) - received
    # One call's messages are one transaction, so each killed sender leaves at most one call that nobody heard about.
    assert waiting - len(acknowledged) <= 3 * BATCH


async def test_two_processes_share_the_messages(path: Path) -> None:
    async with FileQueue(path) as queue:
        consumers = [start("consume", path) for _ in range(2)]
        numbers = [str(number) for number in range(200)]
        for begin in range(0, 200, 10):
            await queue.send([Message(number.encode()) for number in numbers[begin : begin + 10]])
            await asyncio.sleep(0.02)
        outputs = [(await asyncio.to_thread(consumer.communicate))[0].split() for consumer in consumers]
        rest = [lease.body.decode() for lease in await drain(queue, 200 - sum(map(len, outputs)))]
        assert await queue.depth() == Depth(waiting=0, leased=0, dead=0)
    assert [consumer.returncode for consumer in consumers] == [0, 0]
    assert Counter(outputs[0] + outputs[1] + rest) == Counter(numbers)


async def test_many_may_make_the_file_at_once(path: Path) -> None:
    queues = [FileQueue(path) for _ in range(8)]
    assert await asyncio.gather(*(queue.send([Message(b"x")]) for queue in queues)) == [[None]] * 8
    assert (await queues[0].depth()).waiting == 8
    await asyncio.gather(*(queue.aclose() for queue in queues))


async def test_the_file_is_its_owners_alone(path: Path) -> None:
    async with FileQueue(path):
        assert {each.stat().st_mode & 0o077 for each in path.parent.iterdir()} == {0}


async def test_another_programs_files_are_refused_and_left_alone(tmp_path: Path) -> None:
    text, database, newer = tmp_path / "notes.txt", tmp_path / "other.db", tmp_path / "newer.db"
    text.write_text("my notes\n" * 500)
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE mine (x)")
    async with FileQueue(newer) as queue:
        await queue.send([Message(b"x")])
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 2")
    for foreign in (text, database, newer):
        before = foreign.read_bytes()
        queue = FileQueue(foreign)
        with pytest.raises(Blocked, match=foreign.name):
            await queue.open()
        (result,) = await queue.send([Message(b"x")])
        assert isinstance(result, Blocked)
        await queue.aclose()
        assert foreign.read_bytes() == before


async def test_a_damaged_file_is_blocked(path: Path) -> None:
    async with FileQueue(path) as queue:
        await queue.send([Message(os.urandom(5000)) for _ in range(50)])
    damaged = bytearray(path.read_bytes())
    damaged[8192:] = os.urandom(len(damaged) - 8192)
    path.write_bytes(damaged)
    queue = FileQueue(path)
    with pytest.raises(Blocked, match="malformed"):
        await queue.receive(10, 0, 30)
    await queue.aclose()


async def test_a_file_locked_too_long_is_unavailable_until_it_is_free(path: Path) -> None:
    async with FileQueue(path, busy_timeout=0.2) as queue:
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            (result,) = await queue.send([Message(b"x")])
            assert type(result) is Unavailable
            other.execute("ROLLBACK")
        assert await queue.send([Message(b"x")]) == [None]
        assert (await queue.depth()).waiting == 1


async def test_a_call_has_a_deadline(path: Path) -> None:
    async with FileQueue(path, deadline=0.2) as queue:
        with sqlite3.connect(path, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            (result,) = await queue.send([Message(b"x")])
            assert type(result) is Unavailable
            with pytest.raises(Unavailable):
                await queue.ping()
            other.execute("ROLLBACK")


def test_a_full_disk_is_blocked_and_loses_nothing(path: Path) -> None:
    database = QueueDatabase(path, 100, 5)
    database.send([Message(b"before")])
    pages = database._connection.execute("PRAGMA page_count").fetchone()[0]
    database._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.send([Message(bytes(100_000))])
    assert isinstance(translate(caught.value, path), Blocked)
    assert [claim.body for claim in database.claim(10, 1_000_000)] == [b"before"]
    database.close()


def test_a_send_and_an_ack_are_synced_and_a_lease_is_not(path: Path) -> None:
    database = QueueDatabase(path, 100, 5)
    levels = []

    def note(statement: str) -> None:
        if statement.startswith("PRAGMA synchronous ="):
            levels.append(statement.split()[-1])
        elif statement == "COMMIT":
            committed.append(levels[-1])

    committed: list[str] = []
    levels.append({1: "NORMAL", 2: "FULL"}[database._connection.execute("PRAGMA synchronous").fetchone()[0]])
    database._connection.set_trace_callback(note)
    for _ in range(2):
        database.send([Message(b"x"), Message(b"y")])
        claims = database.claim(10, 60_000_000)
        database.ack([(claim.id, claim.token) for claim in claims])
    assert committed == ["FULL", "NORMAL", "FULL"] * 2
    database.close()


async def test_a_deleted_file_is_made_anew(path: Path) -> None:
    async with FileQueue(path) as queue:
        await queue.send([Message(b"lost")])
        for each in path.parent.iterdir():
            each.unlink()
        assert await queue.send([Message(b"kept")]) == [None]
        async with FileQueue(path) as other:
            assert [lease.body for lease in await drain(other, 1)] == [b"kept"]


async def test_space_is_used_again(path: Path) -> None:
    async with FileQueue(path) as queue:
        for _ in range(150):
            await queue.send([Message(os.urandom(48 * 1024))] * 20)
            await drain(queue, 20)
        # 144 MiB went through. The write-ahead log begins again at 16 MiB.
        assert sum(each.stat().st_size for each in path.parent.iterdir()) < 32 * 1024 * 1024


async def test_a_groups_backlog_does_not_hold_back_others(path: Path) -> None:
    async with FileQueue(path) as queue:
        await queue.send([Message(f"noisy {number}".encode(), "noisy") for number in range(50)])
        await queue.send([Message(b"quiet", "quiet"), Message(b"shared")])
        first = await queue.receive(4, 0, 30)
        assert {b"quiet", b"shared"} <= {lease.body for lease in first}
        rest = await drain(queue, 48)
        noisy = [lease.body for lease in (*first, *rest) if lease.body.startswith(b"noisy")]
        assert noisy == [f"noisy {number}".encode() for number in range(50)]


@pytest.mark.parametrize("answered", [False, True], ids=["before its answer", "with its answer"])
async def test_a_cancelled_receive_keeps_no_message(path: Path, answered: bool) -> None:
    async with FileQueue(path) as queue:
        await queue.send([Message(b"x")])
        receiving = asyncio.create_task(queue.receive(1, 5, 600))
        await asyncio.sleep(0)
        time.sleep(0.3)  # the queue's thread leases the message, and its answer waits for the loop
        if answered:
            asyncio.get_running_loop().call_soon(receiving.cancel)
        else:
            receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        (lease,) = await queue.receive(1, 5, 30)
        assert lease.receives == 2


async def test_closing_answers_who_waits(path: Path) -> None:
    queue = FileQueue(path)
    waiting = asyncio.create_task(queue.receive(1, 60, 30))
    await asyncio.sleep(0.1)
    await queue.aclose()
    assert await waiting == []


async def test_a_handle_of_another_queue_holds_nothing(path: Path) -> None:
    async with FileQueue(path) as queue:
        await queue.send([Message(b"x")])
        foreign = [Lease(b"x", handle, 1, 0.0) for handle in ("", "1", "1.", "1.0", "a-b#c", "1.x")]
        assert await queue.extend(foreign, 30) == []
        assert await queue.ack(foreign) == 0
        await queue.release(foreign)
        assert await queue.depth() == Depth(waiting=1, leased=0, dead=0)


async def test_an_unforeseen_error_ends_the_call_alone(path: Path) -> None:
    async with FileQueue(path) as queue:
        with pytest.raises(Unavailable):
            await queue.ack([Lease(b"x", f"{2**70}.1", 1, 0.0)])
        assert await queue.send([Message(b"x")]) == [None]


def test_a_boot_ends_every_lease(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(file_database, "_BOOT_ID", boot)
    for id_, again in (("first", []), ("first", []), ("second", [b"x"]), (None, [b"x"]), (None, [])):
        boot.write_text(id_) if id_ else boot.unlink(missing_ok=True)
        database = QueueDatabase(path, 100, 5)
        if database.depth() == Depth(0, 0, 0):
            database.send([Message(b"x")])
            database.claim(1, 600_000_000)
        else:
            assert [claim.body for claim in database.claim(1, 600_000_000)] == again
        database.close()
