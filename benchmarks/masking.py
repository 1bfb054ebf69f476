"""What masking costs an event, in microseconds, against Python's `re`; and how many events go slowly.

    python -m benchmarks.masking

The peers are the same patterns in `re`, and the single careless alternation that a first attempt would write. The row
of 500 CloudTrail events is a bulk as it comes, secrets and all.
"""

from __future__ import annotations

import gzip
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from benchmarks.data import DATA, cloudtrail
from core.masking import DEFAULT, DEFAULT_RULES, mask, mask_all
from core.masking.screen import patterns

GOAL_US: Final = 4.0
EVENTS: Final = 500
ROUNDS: Final = 15
_CARELESS: Final = re.compile(
    rb"pass(?:wor)?d|pwd|secret|token|authorization|api.?key|cookie|private.?key", re.IGNORECASE
)


def run() -> list[dict[str, Any]]:
    """Rows of `name`, `ours`, `peer`, `ratio` (peer over ours), `goal` (of ours), `met` and `unit`."""
    same = re.compile("|".join(patterns(DEFAULT_RULES).values()).encode(), re.IGNORECASE)
    rows = []
    for name, file, sizes in (
        ("masking, Windows event of 1.4 KB", "windows_large", range(1350, 1450)),
        ("masking, CloudTrail event", "cloudtrail", range(1 << 18)),
    ):
        events = [line for line in lines(file) if len(line) in sizes and mask(line) is line][:EVENTS]
        goal = GOAL_US if "1.4 KB" in name else None
        ours, careless = best(mask, events, ROUNDS), best(_CARELESS.search, events, ROUNDS)
        rows.append(_row(f"{name}, against a plain alternation in re", ours, careless, goal))
        rows.append(_row(f"{name}, against its own patterns in re", ours, best(same.search, events[:50], 1), goal))
    rows.append(_bulk())
    return rows


def _bulk() -> dict[str, Any]:
    events = cloudtrail(EVENTS)
    best = float("inf")
    for _ in range(3 * ROUNDS):
        start = time.process_time()
        mask_all(events)
        best = min(best, time.process_time() - start)
    return _row("mask_all, 500 CloudTrail events", best / EVENTS * 1e6, best(_CARELESS.search, events, 1), GOAL_US)


def slow_shares() -> list[dict[str, Any]]:
    """For each file of real logs: how many events the screen stops, go slowly and change, and a slow one's cost."""
    shares = []
    for path in sorted(DATA.glob("*.ndjson.gz")):
        events = list(lines(path.name.removesuffix(".ndjson.gz")))
        stopped = [line for line in events if DEFAULT.may_hold(line)]
        slow = [line for line in stopped if DEFAULT.is_likely(line)]
        changed = sum(DEFAULT.mask_slowly(line) is not line for line in slow)
        cost = best(mask, slow, 1) if slow else 0.0
        shares.append({
            "file": path.name, "events": len(events), "first": len(stopped) / len(events),
            "slow": len(slow) / len(events), "changed": changed, "us": cost,
        })  # fmt: skip
    return shares


def lines(name: str) -> Iterator[bytes]:
    with gzip.open(DATA / f"{name}.ndjson.gz") as file:
        for line in file:
            yield line.rstrip(b"\n")


def best(function: Callable[[bytes], object], events: list[bytes], rounds: int) -> float:
    """Microseconds an event in the best round: the others measure the machine's other work."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for event in events:
            function(event)
        best = min(best, time.process_time() - start)
    return best / len(events) * 1e6


def _row(name: str, ours: float, peer: float, goal: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "ratio": round(peer / ours, 1),
        "goal": goal,
        "met": goal is None or ours <= goal,
        "unit": "us/event",
    }


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:70} {row['ours']:7} us, re {row['peer']:8} us, goal {row['goal']}, met {row['met']}")
    for share in slow_shares():
        print(
            f"{share['file']:36} {share['events']:6} events, screen {share['first']:6.2%}, "
            f"slow {share['slow']:6.2%}, changed {share['changed']:3}, {share['us']:6.0f} us a slow one"
        )
