"""Counting the log."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api import audit
from api.openapi import STATS_PARAMETERS, answer, example_of, needs, problems
from api.pages import watermark_json
from api.schemas.stats import StatsOut
from api.state import State, state_of
from core import instant
from core.access import Permission
from core.facets import NONE, Facets
from core.statistics import Statistics
from core.stats import Rest
from core.stats_request import StatsRequest, facets_named, name_of, parse_stats
from core.tenant import Tenant

router = APIRouter(prefix="/logs", tags=["logs"])
RELATIVE_ERROR: Final = 0.01
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode: Final = msgspec.json.Encoder().encode


@router.get(
    "/stats",
    response_model=StatsOut,
    summary="Count events",
    description="Counts over time, by the values of named fields and facets, how many different values there are, and "
    "percentiles of facets; of the events that a search with the same filters finds. Each figure says how exact it is.",
    responses={**answer(200, example_of(StatsOut)), **problems(400, 401, 403, 429, 503)},
    openapi_extra={**needs(Permission.VIEW), "parameters": STATS_PARAMETERS},
)
async def count_events(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.VIEW)
    parameters = request.query_params.multi_items()
    facets = await _facets(state, access.tenant, facets_named(parameters))
    asked = parse_stats(parameters, facets, instant.now_us())
    counted = await state.counter.count(access.scope, asked)
    audit.noted(total=counted.figures.total, total_exact=True)
    return Response(_encode(_json(asked, counted)), media_type="application/json")


async def _facets(state: State, tenant: Tenant, named: set[str]) -> Facets:
    """The tenant's facets, those declared a moment ago too, which the access snapshot may not hold yet."""
    if all(tenant.facets.named(name) for name in named):
        return tenant.facets
    found = await state.backends.control.tenant(tenant.id)
    return NONE if found is None else found.facets


def _json(asked: StatsRequest, counted: Statistics) -> dict[str, Any]:
    figures = counted.figures
    return {
        "total": {"count": figures.total, "exactness": "exact"},
        "timeline": None if asked.over is None else _timeline(asked, counted),
        "groups": [
            {
                "by": name_of(group.target),
                "values": [{"value": value, "count": count} for value, count in figure.top],
                "other": figure.other,
                **asdict(figure.rest),
                "exactness": "bounded" if figure.error else "exact",
                "error_bound": figure.error,
            }
            for group, figure in zip(asked.groups, figures.groups, strict=True)
        ],
        "distinct": [
            {
                "of": name_of(target),
                "count": figure.count,
                **asdict(figure.rest),
                "exactness": "exact" if figure.exact else "approximate",
                "relative_error": 0 if figure.exact else RELATIVE_ERROR,
            }
            for target, figure in zip(asked.distinct, figures.distinct, strict=True)
        ],
        "percentiles": [
            {
                "of": name_of(ranks.facet),
                "count": figure.count,
                "min": figure.least,
                "max": figure.greatest,
                "values": [
                    {"percent": percent, "value": value}
                    for percent, value in zip(ranks.percents, figure.values, strict=False)
                ],
                "method": "nearest_rank",
                **asdict(figure.rest),
                "exactness": "exact",
            }
            for ranks, figure in zip(asked.ranks, figures.ranks, strict=True)
        ],
        "watermark": watermark_json(counted.watermark),
        "answered_by": counted.answered_by,
    }


def _timeline(asked: StatsRequest, counted: Statistics) -> dict[str, Any]:
    over, figure, span = counted.ask.over, counted.figures.over, counted.span
    edges = () if over is None else over.edges
    interval = asked.interval if over is None else over.interval
    return {
        "over": "" if asked.over is None else name_of(asked.over),
        "interval": None if interval is None else interval.text,
        "time_zone": asked.zone.key,
        "from": None if span is None or span.start is None else instant.to_text(span.start),
        "to": None if span is None or span.end is None else instant.to_text(span.end),
        "buckets": [
            {"start": _local(edge, asked.zone), "count": count}
            for edge, count in zip(edges, () if figure is None else figure.counts, strict=False)
        ],
        **asdict(Rest() if figure is None else figure.rest),
        "exactness": "exact",
    }


def _local(us: int, zone: ZoneInfo) -> str:
    """RFC 3339 with the zone's offset; in UTC where that is no whole number of minutes, as in places until 1972."""
    moment = (_EPOCH + timedelta(microseconds=us)).astimezone(zone)
    offset = moment.utcoffset() or timedelta()
    return (moment if offset.seconds % 60 == 0 else moment.astimezone(UTC)).isoformat()
