"""A request for statistics as URL parameters: a search's filters, and

- `interval`: `auto` (the default), `none`, or as in `core.timeline.interval_of`; `time_zone`: an IANA name;
- `over`: the time to count over, `timestamp` (the default), `received_at` or `facet.<name>` of a date;
- `by` (repeated): a named field or `facet.<name>`; `top`: how many values each shows;
- `distinct` (repeated): a named field or `facet.<name>`, whose different values are counted;
- `percentiles` (repeated): `facet.<name>` of a number; `percents`: which, with commas between.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from core import timeline
from core.event import FREE_FIELDS
from core.facets import Facet, Facets, FacetType
from core.query import TIME_FIELDS, EventQuery, parse
from core.query.parameters import parameter_fault, read_parameter, single_of
from core.stats import MAX_PERCENTS, MAX_TARGETS, MAX_TOP, NAMED_TARGETS, Group, Ranks, Target
from core.timeline import Interval

FACET: Final = "facet."
DEFAULT_TOP: Final = 10
DEFAULT_PERCENTS: Final = (50.0, 90.0, 95.0, 99.0)
_SINGLE: Final = ("interval", "time_zone", "over", "top", "percents")
_REPEATED: Final = ("by", "distinct", "percentiles")
_NOT_HERE: Final = ("sort", "limit", "cursor")
_PERCENT: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,6})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class StatsRequest:
    """`interval` is None for one that fits the range; `over` is None for no timeline."""

    query: EventQuery
    over: Target | None
    interval: Interval | None
    zone: ZoneInfo
    groups: tuple[Group, ...] = ()
    distinct: tuple[Target, ...] = ()
    ranks: tuple[Ranks, ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        over = () if self.over is None else (self.over,)
        return (*over, *(g.target for g in self.groups), *self.distinct, *(r.facet for r in self.ranks))


def facets_named(parameters: Sequence[tuple[str, str]]) -> set[str]:
    """The facets that a request names, whether there are such or not."""
    names = {text for key, text in parameters if key in (*_REPEATED, "over")}
    return {text.removeprefix(FACET) for text in names if text.startswith(FACET)}


def parse_stats(parameters: Sequence[tuple[str, str]], facets: Facets, now: int) -> StatsRequest:
    """Raises `InvalidQuery` naming each fault's parameter."""
    for key, _ in parameters:
        if key in _NOT_HERE:
            raise parameter_fault(key, "has no meaning for statistics", "unknown_parameter")
    page = parse([(k, v) for k, v in parameters if k not in (*_SINGLE, *_REPEATED)], now)
    single = single_of(parameters, _SINGLE)
    targets = {name: _targets(parameters, name, facets) for name in _REPEATED}
    top, percents = _top(single.get("top")), _percents(single.get("percents"))
    over, interval = _over(single, facets)
    return StatsRequest(
        query=page.query,
        over=over,
        interval=interval,
        zone=read_parameter("time_zone", timeline.zone_of, single.get("time_zone", "UTC")),
        groups=tuple(Group(target, top) for target in targets["by"]),
        distinct=targets["distinct"],
        ranks=tuple(Ranks(_number(target), percents) for target in targets["percentiles"]),
    )


def name_of(target: Target) -> str:
    return FACET + target.name if isinstance(target, Facet) else target


def _targets(parameters: Sequence[tuple[str, str]], name: str, facets: Facets) -> tuple[Target, ...]:
    written = list(dict.fromkeys(value for key, value in parameters if key == name))
    if len(written) > MAX_TARGETS:
        raise parameter_fault(name, f"may be given {MAX_TARGETS} times: ask in several requests")
    return tuple(_target(name, text, facets) for text in written)


def _target(parameter: str, text: str, facets: Facets) -> Target:
    if text.startswith(FACET):
        facet = facets.named(text.removeprefix(FACET))
        if facet is None:
            raise parameter_fault(parameter, "names no declared facet", "unknown_facet")
        if facet.type is FacetType.DATE and parameter != "over":
            raise parameter_fault(parameter, "cannot be a date: count over it with `over`")
        return facet
    if parameter == "over" or text in NAMED_TARGETS:
        return text
    if text.split(".", 1)[0] in FREE_FIELDS:
        raise parameter_fault(parameter, "cannot be a path into free-form data: declare a facet for it")
    raise parameter_fault(parameter, "is neither a named field nor a facet such as facet.amount")


def _over(single: dict[str, str], facets: Facets) -> tuple[Target | None, Interval | None]:
    target = _target("over", single.get("over", "timestamp"), facets)
    is_time = target.type is FacetType.DATE if isinstance(target, Facet) else target in TIME_FIELDS
    if not is_time:
        raise parameter_fault("over", "must be timestamp, received_at or a facet of the type date")
    written = single.get("interval", "auto")
    if written == "none":
        return None, None
    return target, None if written == "auto" else read_parameter("interval", timeline.interval_of, written)


def _number(target: Target) -> Facet:
    if isinstance(target, Facet) and target.type is FacetType.NUMBER:
        return target
    raise parameter_fault("percentiles", "must be a facet of the type number")


def _top(text: str | None) -> int:
    if text is None:
        return DEFAULT_TOP
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= MAX_TOP):
        raise parameter_fault("top", f"must be 1 to {MAX_TOP}")
    return int(text)


def _percents(text: str | None) -> tuple[float, ...]:
    if text is None:
        return DEFAULT_PERCENTS
    written = text.split(",")
    if len(written) > MAX_PERCENTS or not all(_PERCENT.fullmatch(each) for each in written):
        raise parameter_fault(
            "percents", f"must be {MAX_PERCENTS} numbers at most with commas between, such as 50,99.9"
        )
    percents = tuple(dict.fromkeys(map(float, written)))
    if not all(0 < percent <= 100 for percent in percents):
        raise parameter_fault("percents", "must be above 0 and at most 100")
    return percents
