"""The file queue after SIGKILL and a loss of power: whatever a call said is durable is there, whatever else is gone.

A loss of power takes what was never synced: what follows the last call that answered, in whole or in part, or turned
into something else. It cannot take what a call had synced before it answered.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from core.adapters.queue.file import FileQueue
from tests import figures
from tests.service import ROOT

SEED = int(os.environ.get("OCELOT_TEST_SEED", "20261121"))
CALLS = 30
# From here on the log is written into the file and begun anew: before, every sync of it is behind the one before.
LOG_BOUND = 12 * 1024 * 1024


async def test_a_loss_of_power_takes_nothing_that_was_acknowledged(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Cut at each moment between two calls, clean or with something left of what was being written."""
    path = tmp_path / "queue.db"
    told = killed_writer(path)
    chance = random.Random(SEED)
    cuts = 0
    for n, durable in enumerate(told):
        for how in ("clean", "torn", "garbled"):
            copy = tmp_path / f"{n}-{how}.db"
            lose_power(path, copy, durable["log"], how, chance)
            there = await held(copy)
            gone = set(durable["acked"])
            expected = set(range(durable["sent"])) - gone
            assert expected <= there, (n, how, sorted(expected - there))
            # Of what came after, anything may be there, but nothing that was acknowledged before.
            assert not there & gone, (n, how)
            copy.unlink()
            cuts += 1
    last = told[-1]
    figures.record(
        request, "The file queue", test=request.node.name, cuts=cuts, durable_sends=last["sent"],
        durable_acks=len(last["acked"]), lost=0, undone=0,
    )  # fmt: skip


def killed_writer(path: Path) -> list[dict[str, Any]]:
    """What a writer said until it was killed in the middle of a call."""
    command = [sys.executable, "-m", "tests.faults.queue_writer", str(path)]
    told = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            told.append(json.loads(line))
            if len(told) == CALLS:
                writer.kill()
                break
    assert told[-1]["log"] < LOG_BOUND
    assert all(earlier["log"] <= later["log"] for earlier, later in pairwise(told))
    return told


def lose_power(path: Path, copy: Path, synced: int, how: str, chance: random.Random) -> None:
    """A copy of the queue as a disk may have it, if the power went when `synced` bytes of its log were on it."""
    shutil.copyfile(path, copy)
    log = path.with_name(f"{path.name}-wal").read_bytes()
    rest = log[synced : synced + chance.randint(1, 20_000)]
    if how == "clean":
        rest = b""
    elif how == "garbled":
        rest = bytes(each if chance.random() < 0.5 else 0 for each in rest)
    copy.with_name(f"{copy.name}-wal").write_bytes(log[:synced] + rest)


async def held(path: Path) -> set[int]:
    """The numbers of all messages that the queue delivers."""
    numbers: list[int] = []
    async with FileQueue(path, max_receives=1_000) as queue:
        # Leases of the dead are this machine's own, of the same boot: they lapse in their time, here they are ended.
        await queue.open()
        end_leases(path)
        while leases := await queue.receive(50, 0, 600):
            numbers += [int(lease.body.split(b":")[0]) for lease in leases]
    assert len(numbers) == len(set(numbers))
    return set(numbers)


def end_leases(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE message SET until = 0 WHERE until IS NOT NULL")
    connection.commit()
    connection.close()
