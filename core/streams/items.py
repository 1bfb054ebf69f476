"""What a subscription yields, and what the hub puts by for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from core.streams.place import Place


@dataclass(frozen=True, slots=True)
class Event:
    """An event that matches; `place` is right after it."""

    body: bytes
    place: Place


@dataclass(frozen=True, slots=True)
class Gap:
    """What came since the last item is not known. All events accepted from `since` (microseconds) on follow, out of the
    store, in the order of `received_at`: some of them may have been told of before."""

    reason: str
    since: int
    place: Place


@dataclass(frozen=True, slots=True)
class TooSlow:
    """The last item: the reader did not keep up. `missed` matching events after `place` were not told of."""

    missed: int
    place: Place


Item: TypeAlias = Event | Gap | TooSlow


class Told(NamedTuple):
    """What the hub tells a subscription: an event of its tenant (a body only if it matches), or that all is quiet."""

    body: bytes | None
    order: int
    """0: no event."""
    id: str
    mark: bytes | None
    floor: int
