"""`ocelot search` as a process of its own: what it asks, the cursor that it follows, and what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow import bulk_server
from tests.flow.bulk_server import TOKEN, BulkServer

ROOT = Path(__file__).parents[2]
# Bytes that a decode and encode would alter: spaces, 1.50, 1e400.
EVENT = (
    b'{"id":"1","timestamp":"2026-11-21T11:40:00.123456Z","severity":"WARNING","outcome":"denied",'
    b'"action":"aws.s3.GetObject","user_id":"bert-jan","ip_address":"10.8.8.10","resource_id":"bucket",'
    b'"message":"not [red]allowed[/red]\\u001b[2J","metadata":{"n" : 1.50, "huge":1e400}}'
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BulkServer]:
    """A server that the environment's dev.json names, as `ocelot dev` leaves it."""
    with bulk_server.running() as running:
        dev = {"api_url": running.url, "docs_url": "", "tenant_id": "t", "token": TOKEN, "platform_token": "p"}
        (tmp_path / "dev.json").write_text(json.dumps(dev))
        yield running


def _page(*events: bytes, cursor: str | None = None, total: int = 3, relation: str = "exact") -> bytes:
    rest = {"next_cursor": cursor, "total": total, "total_relation": relation, "watermark": {}}
    return b'{"data": [' + b",\n".join(events) + b"], " + json.dumps(rest).encode()[1:]


def _search(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCELOT_")}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "search", *arguments],
        env={**inherited, "PYTHONPATH": str(ROOT), "OCELOT_HOME": str(home), "COLUMNS": "200", **environment},
        capture_output=True,
        timeout=60,
    )


def test_json_gives_the_exact_bytes_of_every_page(server: BulkServer, tmp_path: Path) -> None:
    server.pages = [_page(EVENT, EVENT, cursor="c1"), _page(EVENT)]
    done = _search(tmp_path, "--all", "--json")
    assert done.stdout == (EVENT + b"\n") * 3
    assert server.asked == [[("limit", "1000")], [("limit", "1000"), ("cursor", "c1")]]


def test_what_is_asked_arrives_as_written(server: BulkServer, tmp_path: Path) -> None:
    server.pages = [_page()]
    done = _search(
        tmp_path, "denied é&", "--filter", "action=user.*", "-F", "metadata.a=b=c", "--filter", "outcome!=success",
        "--from", "-24h", "--to", "2026-11-21T11:40:00+02:00", "--sort", "timestamp", "--limit", "7",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert server.asked == [[
        ("q", "denied é&"), ("action", "user.*"), ("metadata.a", "b=c"), ("outcome!", "success"),
        ("from", "-24h"), ("to", "2026-11-21T11:40:00+02:00"), ("sort", "timestamp"), ("limit", "7"),
    ]]  # fmt: skip


def test_a_limit_past_a_page_is_kept_over_pages(server: BulkServer, tmp_path: Path) -> None:
    server.pages = [_page(*[EVENT] * 1000, cursor="c1"), _page(*[EVENT] * 200, cursor="c2")]
    done = _search(tmp_path, "--limit", "1200", "--json")
    assert len(done.stdout.splitlines()) == 1200
    assert [dict(asked)["limit"] for asked in server.asked] == ["1000", "200"]


def test_the_table_shows_who_did_what_and_nothing_that_moves_the_cursor(server: BulkServer, tmp_path: Path) -> None:
    server.pages = [_page(EVENT, total=100_000, relation="at_least")]
    out = _search(tmp_path).stdout.decode()
    for shown in ("2026-11-21 11:40:00", "WARNING", "aws.s3.GetObject", "bert-jan", "10.8.8.10", "bucket"):
        assert shown in out
    assert "not [red]allowed[/red] [2J" in out
    assert "\x1b" not in out
    assert "1 of at least 100,000 events" in out


def test_errors_are_one_line_without_a_token(server: BulkServer, tmp_path: Path) -> None:
    for arguments, environment, said in (
        (
            ["--url", server.url, "--token", "secret-of-another"],
            {},
            "the token is not accepted: the token is not valid",
        ),
        (["--url", "http://127.0.0.1:9", "--token", "secret-of-another"], {}, "does not answer"),
        (["--url", "http://elsewhere.test"], {}, "give its --token too"),
        (["--filter", "action"], {}, "--filter takes field=value"),
        ([], {"OCELOT_HOME": str(tmp_path / "none")}, "no Ocelot to talk to: start one with `ocelot dev`"),
    ):
        done = _search(tmp_path, *arguments, **environment)
        error = done.stderr.decode()
        assert done.returncode in (1, 2)
        assert said in error
        assert len(error.splitlines()) == 1
        assert "secret-of-another" not in error
        assert TOKEN not in error


def test_a_reader_that_has_seen_enough_is_no_error(server: BulkServer, tmp_path: Path) -> None:
    server.pages = [_page(*[EVENT] * 1000, cursor="c1") for _ in range(5)]
    command = f"{sys.executable} -m cli.main search --limit 5000 --json | head -1"
    done = subprocess.run(
        ["sh", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT), "OCELOT_HOME": str(tmp_path)},
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (EVENT + b"\n", b"")
