"""Whether what was accepted is stored and indexed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from api.openapi import answer, example_of, needs, problems
from api.schemas.completeness import CompletenessOut
from api.state import state_of
from core import instant
from core.access import Permission
from core.completeness import MAX_INTERVALS, Completeness, Count, Report, intervals_of
from core.gaps import Gap
from core.ports import Hole
from core.query.parameters import parameter_fault, read_parameter, single_of
from core.query.values import moment

router = APIRouter(prefix="/logs", tags=["logs"])
_encode: Final = msgspec.json.Encoder().encode
_DAY: Final = 86_400_000_000
_NAMES: Final = frozenset({"from", "to", "interval"})
_WHEN: Final = "RFC 3339 with an offset, or relative to now, such as `-7d`"


def _parameter(name: str, description: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description,
            "schema": {"type": "string", **more}}  # fmt: skip


_PARAMETERS: Final = [
    _parameter("from", f"Accepted (`received_at`) from here on. {_WHEN}.", default="-24h"),
    _parameter("to", f"Accepted before this. {_WHEN}.", default="now"),
    _parameter(
        "interval",
        f"`auto`, seconds, minutes or hours that divide a day (`15m`), or `1d`, `1w`, `1M`, `1q`, `1y`; "
        f"{MAX_INTERVALS} of them at most. Intervals are whole: the first begins at or before `from`.",
        default="auto",
    ),
]


@router.get(
    "/completeness",
    response_model=CompletenessOut,
    summary="Prove that nothing is missing",
    description="For each interval how many events were accepted, stored and indexed, what became of the others, and "
    "whether the counts agree; what differs is named where it is known. An envelope that never arrived shows as a hole "
    "in its producer's sequence.",
    responses={**answer(200, example_of(CompletenessOut)), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.READ), "parameters": _PARAMETERS},
)
async def completeness(request: Request) -> Response:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.READ)
    parameters = request.query_params.multi_items()
    for name, _ in parameters:
        if name not in _NAMES:
            raise parameter_fault(name, "is none of from, to, interval", "unknown_parameter")
    asked = single_of(parameters, _NAMES)
    now = instant.now_us()
    start = read_parameter("from", lambda text: moment(text, now), asked.get("from", "-24h"))
    end = read_parameter("to", lambda text: moment(text, now), asked.get("to", "now"))
    interval, edges = intervals_of(start, end, asked.get("interval", "auto"))
    ports = state.backends
    counting = Completeness(ports.store, ports.index, ports.ledger, ports.accounts, ports.parking, ports.outbox)
    report = await counting.report(access.scope, interval, edges)
    return Response(_encode(_json(report)), media_type="application/json")


def _json(report: Report) -> dict[str, Any]:
    return {
        "state": report.state.value,
        "interval": report.interval.text,
        "complete_through": _time(report.complete_through),
        "intervals": [_count(count) for count in report.counts],
        "gaps": [_gap(gap) for gap in report.gaps],
        "holes": [_hole(hole) for hole in report.holes],
        "next_from": _time(report.next_start),
    }


def _count(count: Count) -> dict[str, Any]:
    return {
        "start": _time(count.start),
        "end": _time(count.end),
        "state": count.state.value,
        **asdict(count.tally),
        "due": count.tally.due,
        "stored": count.stored,
        "indexed": count.indexed,
        "waiting": count.waiting,
        "unindexable": count.unindexable,
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return asdict(gap) | {"start": _time(gap.start), "end": _time(gap.end)}


def _hole(hole: Hole) -> dict[str, Any]:
    return asdict(hole) | {"after": _time(hole.after), "before": _time(hole.before)}


def _time(us: int | None) -> str | None:
    return None if us is None else instant.to_text(us)
