"""How long an answer takes tells nothing either: what is another tenant's is looked for just as what never was.

Both are asked for in turns of random order, and their times compared by rank, so that no machine's speed or load tells:
whoever is slower is so for both. One in a million runs fails by chance.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from statistics import median

import pytest

from tests.figures import record
from tests.service import Client, Service

TURNS = 60
# In standard deviations of the sum of ranks; all of one before all of the other would be 9.4.
FAR_APART = 5.0


def apart(one: list[float], other: list[float]) -> float:
    """How far the ranks of two samples lie apart, in standard deviations (Mann and Whitney's U)."""
    ranked = sorted([(each, 0) for each in one] + [(each, 1) for each in other])
    u = sum(rank for rank, (_, which) in enumerate(ranked, 1) if which == 0) - len(one) * (len(one) + 1) / 2
    middle = len(one) * len(other) / 2
    return float((u - middle) / (middle * (len(one) + len(other) + 1) / 6) ** 0.5)


def test_samples_that_lie_apart_are_seen() -> None:
    chance = random.Random(1)
    one = [chance.gauss(10, 1) for _ in range(TURNS)]
    assert abs(apart(one, [chance.gauss(10, 1) for _ in range(TURNS)])) < 3
    assert abs(apart(one, [chance.gauss(12, 1) for _ in range(TURNS)])) > FAR_APART


@pytest.fixture(scope="module")
def theirs(running: Service) -> dict[str, list[str]]:
    """By its path, what another tenant has: sixty of each."""
    client = running.tenant("timed")
    events = client.post("/logs/bulk", json=[{"action": "timed"}] * TURNS).json()["items"]
    client.found(TURNS, action="timed")
    searches = [client.post("/searches", json={"name": f"s{n}", "query": "action=timed"}) for n in range(TURNS)]
    keys = [client.post("/keys", json={"name": f"k{n}", "roles": ["reader"]}) for n in range(TURNS)]
    return {
        "/logs/{}": [item["id"] for item in events],
        "/searches/{}": [answer.json()["id"] for answer in searches],
        "/keys/{}": [answer.json()["client_id"] for answer in keys],
    }


@pytest.mark.parametrize("path", ["/logs/{}", "/searches/{}", "/keys/{}"])
def test_what_is_anothers_takes_as_long_as_what_never_was(
    request: pytest.FixtureRequest, tenant: Client, theirs: dict[str, list[str]], path: str
) -> None:
    never = [each[:-4] + f"{int(each[-4:], 16) ^ 0xFFFF:04x}" for each in theirs[path]]
    asked = [(each, False) for each in theirs[path]] + [(each, True) for each in never]
    random.Random(7).shuffle(asked)
    took: dict[bool, list[float]] = {False: [], True: []}
    for each, never_was in asked:
        took[never_was].append(_timed(lambda url: tenant.get(url).status_code, path.format(each)))
    distance = apart(took[False], took[True])
    assert abs(distance) < FAR_APART, took
    record(
        request, "Told apart by time", path=path, anothers=f"{1000 * median(took[False]):.1f} ms",
        never_was=f"{1000 * median(took[True]):.1f} ms", apart=f"{distance:+.1f} of {FAR_APART:.0f}",
    )  # fmt: skip


def _timed(ask: Callable[[str], int], url: str) -> float:
    began = time.perf_counter()
    assert ask(url) == 404
    return time.perf_counter() - began
