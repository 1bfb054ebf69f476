"""One line of the table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """`ratio` is how much better ours is than the peer's; `goal` bounds the ratio from below, or ours from above."""

    name: str
    ours: float
    peer: float | None
    ratio: float | None
    goal: str
    met: bool
    unit: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def at_least(name: str, ours: float, peer: float, goal: float, unit: str) -> Row:
    """More is better: ours over the peer's reaches `goal`."""
    ratio = ours / peer
    return Row(name, round(ours, 2), round(peer, 2), round(ratio, 2), f">= {goal:g}x", ratio >= goal, unit)


def at_most(name: str, ours: float, limit: float, unit: str, peer: float | None = None) -> Row:
    """Less is better: ours stays under `limit`."""
    ratio = None if peer is None else round(peer / ours, 2)
    shown = None if peer is None else round(peer, 2)
    return Row(name, round(ours, 2), shown, ratio, f"<= {limit:g} {unit}", ours <= limit, unit)
