"""Exports while processes die: a job ends with the whole file, a stream is seen to break off and goes on."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults import stack as stacks
from tests.faults.stack import Stack
from tests.flow.exports import done, link_of
from tests.service import Client

EVENTS = 1_500
PADDING = "x" * 20_000
ROUNDS = 3


def filled(stack: Stack) -> Client:
    client = stack.service.tenant("exports")
    for start in range(0, EVENTS, 100):
        events = [{"action": "x", "metadata": {"n": n, "pad": PADDING}} for n in range(start, start + 100)]
        answer = client.post("/logs/bulk", json=events)
        assert answer.json()["accepted"] == 100
    client.found(EVENTS, timeout=90)
    return client


def again(ask: Any, timeout: float = 60) -> httpx.Response:
    """The answer once it is no 503, as a client that obeys Retry-After gets it."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer: httpx.Response = ask()
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
            continue
        if answer.status_code != 503 or time.monotonic() > deadline:
            return answer
        time.sleep(0.5)


def read_into(got: bytearray, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        got += piece


@pytest.mark.timeout(300)
@pytest.mark.parametrize("servers", ["embedded", pytest.param("live", marks=pytest.mark.live)])
def test_a_killed_consumers_export_ends_whole(servers: str, tmp_path: Path) -> None:
    """30 MB are two parts of a file: a consumer is killed before, between and after them."""
    with getattr(stacks, servers)(tmp_path) as stack:
        client = filled(stack)
        whole = client.get("/logs/export").content
        assert whole.count(b"\n") == EVENTS
        job_id = client.post("/exports", json={}).json()["id"]
        attempts = 0
        for _ in range(ROUNDS):
            deadline = time.monotonic() + 60
            while (job := client.get(f"/exports/{job_id}").json())["attempts"] <= attempts and job["state"] != "done":
                assert time.monotonic() < deadline, job
                time.sleep(0.02)
            attempts = job["attempts"]
            time.sleep(random.uniform(0, 1.5))
            stack.kill("consumer")
            stack.start("consumer")
        job = done(client, job_id, timeout=90)
        file = httpx.get(stack.service.url + link_of(job), timeout=60)
        assert file.content == whole
        assert job["result"]["sha256"] == hashlib.sha256(whole).hexdigest()
        assert (job["result"]["events"], job["attempts"] > 1) == (EVENTS, True)


@pytest.mark.timeout(300)
def test_a_store_that_dies_breaks_the_stream_which_then_goes_on(tmp_path: Path) -> None:
    with stacks.embedded(tmp_path) as stack:
        client = filled(stack)
        whole = client.get("/logs/export").content
        got = bytearray()
        with client.stream("GET", "/logs/export", headers={"Accept-Encoding": "identity"}) as response:
            cursor = response.headers["X-Ocelot-Cursor"]
            pieces = response.iter_raw(1 << 16)
            got += next(pieces)
            stack.kill("store")
            with pytest.raises(httpx.TransportError):
                read_into(got, pieces)
        stack.start("store")
        kept = bytes(got[: got.rfind(b"\n") + 1])
        assert 0 < len(kept) < len(whole)
        last = json.loads(kept.splitlines()[-1])["id"]
        rest = again(lambda: client.get("/logs/export", params={"cursor": cursor, "after": last}))
        assert rest.status_code == 200
        assert kept + rest.content == whole
