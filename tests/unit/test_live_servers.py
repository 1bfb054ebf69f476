"""Running a command with real servers up: what was started is stopped, what was up is left as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.local.live import SERVERS

# A server is a file that is there while it is up; `wait` holds its start back, `broken` makes it fail.
SCRIPT = """#!/bin/sh
here=$(dirname "$0"); name=$(basename "$0")
echo "$1 $name" >> "$here/calls"
case $1 in
  status) [ -e "$here/$name.up" ] || exit 3 ;;
  start)
    [ ! -e "$here/$name.broken" ] || { echo "$name: no compiler" >&2; exit 1; }
    while [ -e "$here/$name.wait" ]; do sleep 0.05; done
    touch "$here/$name.up"; echo "fetching"; echo "http://127.0.0.1/$name" ;;
  stop) rm -f "$here/$name.up" ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in SERVERS:
        (tmp_path / name).write_text(SCRIPT)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def start(folder: Path, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "infra.local.live", *command],
        env={**os.environ, "OCELOT_LIVE": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def up(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.up")}


def called(folder: Path, call: str) -> bool:
    calls = folder / "calls"
    return calls.exists() and call in calls.read_text().splitlines()


def wait_until(folder: Path, call: str) -> None:
    while not called(folder, call):  # bounded by the test's own timeout
        time.sleep(0.02)


def test_the_command_sees_the_servers_and_its_exit_code_is_kept(folder: Path) -> None:
    process = start(folder, "sh", "-c", f"ls {folder}/*.up | wc -l; env | grep ^OCELOT_TEST_ | sort; exit 7")
    out, _ = process.communicate()
    assert process.returncode == 7
    urls = sorted(f"{variable}=http://127.0.0.1/{name}" for name, variable in SERVERS.items())
    assert out.split() == [str(len(SERVERS)), *urls]
    assert up(folder) == set()


def test_a_server_that_was_up_stays_up(folder: Path) -> None:
    (folder / "mongo.up").touch()
    assert start(folder, "true").wait() == 0
    assert up(folder) == {"mongo"}
    assert not called(folder, "stop mongo")


def test_a_server_that_cannot_be_installed_is_said_loudly(folder: Path) -> None:
    (folder / "mongo.broken").touch()
    process = start(folder, "touch", str(folder / "ran"))
    _, err = process.communicate()
    assert process.returncode == 1
    assert "mongo: no compiler" in err
    assert "*** THE REAL SERVERS ARE NOT UP: mongo" in err
    assert not (folder / "ran").exists()
    assert up(folder) == set()


def test_a_missing_script_starts_nothing(folder: Path) -> None:
    (folder / "elasticmq").unlink()
    process = start(folder, "true")
    assert process.wait() == 1
    assert not (folder / "calls").exists()


def test_sigterm_while_a_server_starts_leaves_nothing(folder: Path) -> None:
    (folder / "mongo.wait").touch()
    process = start(folder, "touch", str(folder / "ran"))
    for name in SERVERS:
        wait_until(folder, f"start {name}")
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    (folder / "mongo.wait").unlink()
    assert called(folder, "stop mongo")
    time.sleep(0.2)  # a start that had outlived its caller would bring the server up now
    assert up(folder) == set()
    assert not (folder / "ran").exists()


def test_a_command_in_the_background_can_be_interrupted_all_the_same(folder: Path) -> None:
    script = f"trap 'exit 130' INT; touch {folder}/ready; while :; do sleep 0.05; done"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(folder, "sh", "-c", script)
    finally:
        signal.signal(signal.SIGINT, before)
    while not (folder / "ready").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143


def test_sigterm_lets_the_command_clean_up_before_the_servers_stop(folder: Path) -> None:
    script = (
        f"trap 'ls {folder}/*.up | wc -l > {folder}/cleaned; exit 130' INT; "
        f"touch {folder}/ready; while :; do sleep 0.05; done"
    )
    process = start(folder, "sh", "-c", script)
    while not (folder / "ready").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert (folder / "cleaned").read_text().split() == [str(len(SERVERS))]
    assert up(folder) == set()
