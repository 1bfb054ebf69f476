"""Which index an event belongs to: a pure function of tenant, placement history and `received_at`.

Because `received_at` is in the event's bytes, a redelivered event lands where it landed before; the client's own
`timestamp` would let one tenant's odd dates open an index for each of a thousand months.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final

PREFIX: Final = "ocelot-logs-"
NAME: Final = re.compile(r"[0-9]{4,8}")
"""What `place` gives."""


class Period(StrEnum):
    YEAR = "year"
    MONTH = "month"
    DAY = "day"


_EPOCH: Final = date(1970, 1, 1)
_DAY_US: Final = 86_400_000_000
_FORMATS: Final = {Period.YEAR: "%Y", Period.MONTH: "%Y%m", Period.DAY: "%Y%m%d"}


@dataclass(frozen=True, slots=True)
class Placement:
    """From `since` (microseconds) on, one index a `period`. A tenant's history of these only ever grows."""

    since: int = 0
    period: Period = Period.MONTH


def place(history: Sequence[Placement], received_at: int) -> str:
    """The placement (`202611`) of an event accepted at `received_at` microseconds; `history` is sorted by `since`."""
    period = next(p.period for p in reversed(history) if p.since <= received_at)
    return _label(period, received_at // _DAY_US)


@lru_cache(maxsize=1024)
def _label(period: Period, day: int) -> str:
    return (_EPOCH + timedelta(days=day)).strftime(_FORMATS[period])


def span_of(placement: str) -> tuple[int, int]:
    """From when to when (microseconds, the end not included) `received_at` may lie in a placement."""
    year, month, day = int(placement[:4]), int(placement[4:6] or 1), int(placement[6:] or 1)
    first = date(year, month, day)
    if len(placement) == len("20261121"):
        after = first + timedelta(days=1)
    elif len(placement) == len("202611"):
        after = date(year + month // 12, month % 12 + 1, 1)
    else:
        after = date(year + 1, 1, 1)
    return ((first - _EPOCH).days * _DAY_US, (after - _EPOCH).days * _DAY_US)


def placements_within(history: Sequence[Placement], start: int, end: int) -> list[str]:
    """Every placement of an event with `start <= received_at < end`, the oldest first."""
    moments = [*range(start, end, _DAY_US), max(start, end - 1)]
    # A history may change in the middle of a day.
    moments += [placement.since for placement in history if start <= placement.since < end]
    return list(dict.fromkeys(place(history, moment) for moment in sorted(moments)))


def write_alias(tenant_id: str, placement: str) -> str:
    """The alias that events of one placement are written to; a generation (`-g1`) stands behind it."""
    return f"{PREFIX}{tenant_id}-{placement}"


def next_alias(tenant_id: str, placement: str) -> str:
    """The alias of a generation that is being filled beside the live one."""
    return f"{write_alias(tenant_id, placement)}-next"


def read_alias(tenant_id: str) -> str:
    """The alias over the tenant's live generations, and nothing else: searches go here."""
    return f"{PREFIX}{tenant_id}"
