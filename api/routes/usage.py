"""What a tenant uses, and what each of its keys may."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter, Request

from api.auth import Access
from api.openapi import answer, example_of, needs, problems
from api.schemas.tenants import QuotasIn
from api.schemas.usage import AmountsOut, DayOut, UsageOut
from api.state import State, state_of
from core import instant
from core.access import Permission
from core.ports.usage import day_text, total
from core.usage import MAX_DAYS, days_of

router = APIRouter(tags=["usage"])
_DAY_US: Final = 86_400 * 1_000_000
_EXAMPLE: Final = example_of(UsageOut)
_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": {"type": "string", "format": "date"},
        "example": example,
    }
    for name, description, example in (
        ("from", "The first day, in UTC. Default: the first of this month.", "2026-11-01"),
        ("to", f"The day after the last, {MAX_DAYS} days later at most. Default: tomorrow.", "2026-12-01"),
    )
]


@router.get(
    "/usage",
    response_model=UsageOut,
    summary="Read what the tenant uses",
    description="Requests, events, bytes and reads by the day, as they are billed, with the tenant's quotas.",
    responses={**answer(200, _EXAMPLE), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.MANAGE), "parameters": _PARAMETERS},
)
async def read_usage(request: Request) -> UsageOut:
    state = state_of(request)
    access = await state.authenticator.tenant_access(request, Permission.MANAGE)
    return await _usage(state, request, access)


@router.get(
    "/tenants/{tenant_id}/usage",
    response_model=UsageOut,
    summary="Read what a tenant uses",
    description="The same for the platform's operators, by the tenant's id.",
    responses={**answer(200, _EXAMPLE), **problems(400, 401, 403, 404, 503)},
    openapi_extra={**needs(Permission.MANAGE), "parameters": _PARAMETERS},
)
async def read_tenants_usage(request: Request, tenant_id: str) -> UsageOut:
    state = state_of(request)
    return await _usage(state, request, await state.authenticator.managed_tenant(request, tenant_id))


async def _usage(state: State, request: Request, access: Access) -> UsageOut:
    first, end = days_of(request.query_params.multi_items(), instant.now_us() // _DAY_US)
    days = await state.backends.usage.days(access.scope, first, end)
    return UsageOut.model_validate(
        {
            "tenant_id": access.tenant.id,
            "from": day_text(first),
            "to": day_text(end),
            "data": [DayOut(day=day_text(each.day), **asdict(each.amounts)) for each in days],
            "total": AmountsOut(**asdict(total(each.amounts for each in days))),
            "quotas": QuotasIn(**asdict(access.tenant.quotas)),
        }
    )
