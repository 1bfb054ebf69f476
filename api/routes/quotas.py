"""What may be used with one key."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from fastapi import APIRouter, Request

from api.auth import Access
from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.schemas.usage import KeyQuotasIn
from api.state import State, state_of
from core import credentials
from core.access import Permission
from core.errors import NotFound
from core.ports import ApiKey
from core.tenant_settings import UNLIMITED, Quotas

router = APIRouter(prefix="/keys", tags=["keys"])
_EXAMPLE: Final[dict[str, Any]] = example_of(KeyQuotasIn)


@router.get(
    "/{key_id}/quotas",
    response_model=KeyQuotasIn,
    summary="Read an API key's quotas",
    responses={**answer(200, _EXAMPLE), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.MANAGE),
)
async def read_quotas(request: Request, key_id: str) -> KeyQuotasIn:
    state, access = await _managing(request)
    key = await _find(state, access, key_id)
    quotas = (await state.backends.usage.key_quotas()).get(key.id, UNLIMITED)
    return KeyQuotasIn(**asdict(quotas))


@router.put(
    "/{key_id}/quotas",
    response_model=KeyQuotasIn,
    summary="Replace an API key's quotas",
    description="They hold beside the tenant's, for all tokens of the key together, in every process within 5 seconds. "
    "What is left out has no limit.",
    responses={**answer(200, _EXAMPLE), **problems(400, 401, 403, 404, 408, 413, 415, 422, 503)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(KeyQuotasIn)},
)
async def replace_quotas(request: Request, key_id: str) -> KeyQuotasIn:
    state, access = await _managing(request)
    asked = await read_body(request, KeyQuotasIn)
    key = await _find(state, access, key_id)
    quotas = Quotas(**asked.model_dump())
    await state.backends.usage.set_key_quotas(access.scope, key.id, quotas)
    state.limiter.set_key_quotas(key.subject, quotas)
    return asked


async def _managing(request: Request) -> tuple[State, Access]:
    state = state_of(request)
    return state, await state.authenticator.tenant_access(request, Permission.MANAGE)


async def _find(state: State, access: Access, key_id: str) -> ApiKey:
    known = credentials.KEY_ID.fullmatch(key_id)
    key = await state.backends.keys.get(access.scope, key_id) if known else None
    if key is None:
        raise NotFound("no such key")
    return key
