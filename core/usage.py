"""Which days of usage are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.ports.usage import day_of, day_text
from core.query.parameters import parameter_fault, single_of

MAX_DAYS: Final = 366


def days_of(parameters: Sequence[tuple[str, str]], today: int) -> tuple[int, int]:
    """The days (since 1970) `from` the first `to` the end, not included; raises `InvalidQuery`.

    By default from the first of the month of the last day, which is today unless the end is given.
    """
    for name, _ in parameters:
        if name not in ("from", "to"):
            raise parameter_fault(name, "is neither from nor to", "unknown_parameter")
    given = single_of(parameters, {"from", "to"})
    end = _day("to", given.get("to"), today + 1)
    last = max(end - 1, day_of("0001-01-01"))
    first = _day("from", given.get("from"), day_of(f"{day_text(last)[:8]}01"))
    if not first < end <= first + MAX_DAYS:
        raise parameter_fault("to", f"must be 1 to {MAX_DAYS} days after from", "range")
    return first, end


def _day(name: str, text: str | None, default: int) -> int:
    try:
        return default if text is None else day_of(text)
    except ValueError:
        raise parameter_fault(name, "must be a day such as 2026-11-21", "day") from None
