"""`ocelot import` as a process of its own, against a real HTTP server that fails in the ways that servers do."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.importing.run import BATCH_EVENTS
from tests.flow import bulk_server
from tests.flow.bulk_server import TOKEN, BulkServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[BulkServer]:
    with bulk_server.running() as running:
        yield running


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """5,010 real-looking lines, every third equal to the one before."""
    lines = [
        json.dumps({"eventSource": "s3.amazonaws.com", "eventName": "GetObject", "requestID": str(n - n % 3 // 2)})
        for n in range(5_010)
    ]
    path = tmp_path / "trail.ndjson.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def _environment(home: Path, url: str, token: str = TOKEN) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("OCELOT_")},
        "PYTHONPATH": str(ROOT),
        "OCELOT_HOME": str(home),
        "OCELOT_URL": url,
        "OCELOT_TOKEN": token,
    }


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "cli.main", "import", *map(str, arguments)]


def _run(server: BulkServer, home: Path, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*arguments), env=_environment(home, server.url), capture_output=True, text=True, timeout=90, **options
    )


def _start(server: BulkServer, home: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _command(*arguments),
        env=_environment(home, server.url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _await_stored(server: BulkServer, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(server.stored) < count:
        assert time.monotonic() < deadline, "nothing comes in"
        time.sleep(0.01)


def test_every_line_is_one_event_and_a_second_import_changes_nothing(
    server: BulkServer, log: Path, tmp_path: Path
) -> None:
    first = _run(server, tmp_path / "home", log, "--format", "cloudtrail")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "trail.ndjson.gz: 5,010 events read, 5,010 accepted, 0 refused\n"
    assert len(server.stored) == 5_010
    assert server.largest < 4 * 1024 * 1024
    stored = dict(server.stored)
    renamed = tmp_path / "copy"
    renamed.write_bytes(gzip.decompress(log.read_bytes()))
    assert _run(server, tmp_path / "home", log, "--format", "cloudtrail").returncode == 0
    assert _run(server, tmp_path / "home", renamed, "--format", "cloudtrail").returncode == 0
    assert (server.stored, server.altered) == (stored, [])
    assert server.sent == 3 * 5_010


def test_faults_on_the_way_lose_nothing_and_double_nothing(server: BulkServer, log: Path, tmp_path: Path) -> None:
    server.faults = [
        bulk_server.busy, bulk_server.stored_but_dropped, bulk_server.half_again, bulk_server.unavailable,
        bulk_server.half_again, bulk_server.stored_but_dropped, bulk_server.busy,
    ]  # fmt: skip
    done = _run(server, tmp_path / "home", log, "--format", "cloudtrail")
    assert done.returncode == 0, done.stderr
    assert server.faults == []
    assert (len(server.stored), server.altered) == (5_010, [])
    assert server.sent > 5_010


def test_refused_lines_are_listed_and_the_others_go_in(server: BulkServer, tmp_path: Path) -> None:
    log, rejects = tmp_path / "log", tmp_path / "rejects.ndjson"
    good, unknown = {"action": "user.login"}, {"action": "user.login", "\x1b[31mcolour": 1}
    log.write_text("\n".join([json.dumps(good), "{broken", "", json.dumps(unknown), "[1]", json.dumps(good)]))
    done = _run(server, tmp_path / "home", log, "--format", "ndjson", "--rejects", rejects)
    assert done.returncode == 1
    assert done.stdout == "log: 5 events read, 2 accepted, 3 refused\n"
    assert len(server.stored) == 2
    listed = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(one["line"], one["code"]) for one in listed] == [
        (2, "malformed_json"), (4, "invalid_event"), (5, "not_an_object"),
    ]  # fmt: skip
    assert "log: line 2: malformed_json:" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_killed_import_goes_on_where_it_was(server: BulkServer, log: Path, tmp_path: Path) -> None:
    server.faults = [bulk_server.slow] * 100
    arguments = (log, "--format", "cloudtrail", "--in-flight", "1")
    child = _start(server, tmp_path / "home", *arguments)
    note = tmp_path / "home" / "imports"
    deadline = time.monotonic() + 60
    while not list(note.glob("*.json")) or len(server.stored) < 2 * BATCH_EVENTS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    child.communicate()
    done = _run(server, tmp_path / "home", *arguments)
    assert done.stdout == "trail.ndjson.gz: 5,010 events read, 5,010 accepted, 0 refused\n", done.stderr
    assert (len(server.stored), server.altered) == (5_010, [])
    assert server.sent < 2 * 5_010 - BATCH_EVENTS // 2
    assert list(note.iterdir()) == []
    again = server.sent
    assert _run(server, tmp_path / "home", *arguments).returncode == 0
    assert server.sent == again + 5_010


def test_restart_begins_at_the_first_line(server: BulkServer, log: Path, tmp_path: Path) -> None:
    state = tmp_path / "note.json"
    # The first batch goes in; the others find the server gone until patience ends.
    server.faults = [bulk_server.slow, *[bulk_server.unavailable] * 200]
    arguments = (log, "--format", "cloudtrail", "--in-flight", "1", "--state", state)
    failed = _run(server, tmp_path / "home", *arguments, "--patience", "1")
    assert failed.returncode == 1
    assert "gave up after 1 s without progress: 503" in failed.stderr
    assert f"stopped after line {BATCH_EVENTS}" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert len(server.stored) == BATCH_EVENTS
    server.faults, server.sent = [], 0
    assert _run(server, tmp_path / "home", *arguments, "--restart").returncode == 0
    assert server.sent == len(server.stored) == 5_010


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_cleanly_and_the_next_run_goes_on(
    server: BulkServer, log: Path, tmp_path: Path, number: signal.Signals
) -> None:
    server.faults = [bulk_server.slow] * 100
    arguments = (log, "--format", "cloudtrail", "--in-flight", "1")
    child = _start(server, tmp_path / "home", *arguments)
    _await_stored(server, BATCH_EVENTS)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "(not all of the file)" in out
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    settled = len(server.stored)
    assert settled < 5_010
    server.sent = 0
    assert _run(server, tmp_path / "home", *arguments).returncode == 0
    assert (len(server.stored), server.sent) == (5_010, 5_010 - settled)


def test_ctrl_c_while_a_pipe_is_silent(server: BulkServer, tmp_path: Path) -> None:
    child = _start(server, tmp_path / "home", "-", "--format", "ndjson")
    assert child.stdin is not None
    child.stdin.write('{"action":"a.b","tags":["x"]}\n' * (BATCH_EVENTS + 5))
    child.stdin.flush()
    _await_stored(server, BATCH_EVENTS)
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    _, err = child.communicate()
    assert err == ""
    assert len(server.stored) == BATCH_EVENTS


def test_stdin_is_read_to_its_end(server: BulkServer, log: Path, tmp_path: Path) -> None:
    with log.open("rb") as packed:
        done = _run(server, tmp_path / "home", "-", "--format", "cloudtrail", stdin=packed)
    assert (done.returncode, done.stdout) == (0, "stdin: 5,010 events read, 5,010 accepted, 0 refused\n")
    assert len(server.stored) == 5_010


def test_a_bad_token_and_no_server_are_one_line_each(server: BulkServer, log: Path, tmp_path: Path) -> None:
    for url, token, said in (
        (server.url, "secret-of-another", "the token is not accepted: 401 the token is not valid"),
        (server.url + "/elsewhere", TOKEN, "is not Ocelot's bulk endpoint: 404 Not Found"),
        ("http://127.0.0.1:9", TOKEN, "gave up after 0.5 s"),
        ("ftp://x", TOKEN, "not an http:// or https:// URL"),
    ):
        done = subprocess.run(
            _command(log, "--format", "k8s", "--patience", "0.5"),
            env=_environment(tmp_path / "home", url, token), capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert token not in done.stderr + done.stdout


def test_a_damaged_file_sends_what_is_whole_and_fails(server: BulkServer, log: Path, tmp_path: Path) -> None:
    log.write_bytes(log.read_bytes()[:-100])
    done = _run(server, tmp_path / "home", log, "--format", "cloudtrail")
    assert done.returncode == 1
    assert "damaged after line" in done.stderr
    assert len(server.stored) >= BATCH_EVENTS


def test_the_real_files_give_as_many_events_as_they_have_lines(
    server: BulkServer, audit_logs: Path, tmp_path: Path
) -> None:
    """Two of these files share a line; it is two events."""
    count = 0
    for name in ("cloudtrail_stratus", "cloudtrail_rule_tests"):
        path = audit_logs / f"{name}.ndjson.gz"
        count += len(gzip.decompress(path.read_bytes()).splitlines())
        assert _run(server, tmp_path / "home", path, "--format", "cloudtrail").returncode == 0
    assert len(server.stored) == count == 554
