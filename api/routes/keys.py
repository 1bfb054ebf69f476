"""API keys: made, listed, changed, given a new secret, revoked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from api.auth import Access
from api.models import read_body
from api.openapi import answer, body_of, example_of, needs, problems
from api.packing import UNPACKED
from api.paging import PAGING, paging_of
from api.schemas.keys import KeyChangeIn, KeyRecordOut, KeysOut, NewKeyIn, NewSecretOut, RotateIn, SecretOut
from api.state import State, state_of
from core import credentials, grants, instant
from core.access import Permission
from core.errors import NotFound, Unavailable
from core.ports import ApiKey

router = APIRouter(prefix="/keys", tags=["keys"])
_EXAMPLE: Final[dict[str, Any]] = example_of(KeyRecordOut)
_NEW: Final[dict[str, Any]] = example_of(NewSecretOut)
_ROTATED: Final = _NEW | {
    "secrets": [
        {"number": 1, "created_at": "2026-11-21T11:40:00.000000Z", "expires_at": "2026-12-22T09:00:00.000000Z"},
        {"number": 2, "created_at": "2026-12-21T09:00:00.000000Z", "expires_at": None},
    ]
}
_WRITES: Final = (400, 401, 403, 408, 413, 415, 422, 503)


@router.post(
    "",
    status_code=201,
    response_model=NewSecretOut,
    summary="Make an API key",
    description="The answer shows its secret, this once. Its roles may allow no more than the caller has.",
    responses={**answer(201, _NEW), **problems(*_WRITES, 409)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(NewKeyIn)},
)
async def make_key(request: Request, response: Response) -> NewSecretOut:
    response.headers.update(UNPACKED)
    state, access = await _managing(request)
    asked = await read_body(request, NewKeyIn)
    grants.check_known(access.tenant, asked.roles)
    grants.require_names(access.scope, access.tenant, asked.roles)
    await credentials.check_room(state.backends.keys, access.scope)
    key, secret = await credentials.create_key(
        state.backends.keys,
        access.tenant,
        asked.name,
        dict.fromkeys(asked.roles),
        created_by=access.scope.actor,
        networks=dict.fromkeys(asked.networks),
        expires_at=None if asked.expires_in is None else instant.now_us() + asked.expires_in * 1_000_000,
    )
    return NewSecretOut(**_out(key).model_dump(), client_secret=secret)


@router.get(
    "",
    response_model=KeysOut,
    summary="List the API keys",
    description="The newest first, revoked ones too: who made each, what it may, from where, when it was last used.",
    responses={**answer(200, {"data": [_EXAMPLE], "next_cursor": None}), **problems(400, 401, 403, 503)},
    openapi_extra={**needs(Permission.MANAGE), "parameters": PAGING},
)
async def list_keys(request: Request) -> KeysOut:
    state, access = await _managing(request)
    limit, before = paging_of(request, credentials.KEY_ID)
    found = await state.backends.keys.listing(access.scope, before=before, limit=limit + 1)
    next_cursor = found[limit - 1].id if len(found) > limit else None
    return KeysOut(data=[_out(key) for key in found[:limit]], next_cursor=next_cursor)


@router.get(
    "/{key_id}",
    response_model=KeyRecordOut,
    summary="Read an API key",
    description="All but its secrets.",
    responses={**answer(200, _EXAMPLE), **problems(401, 403, 404, 503)},
    openapi_extra=needs(Permission.MANAGE),
)
async def read_key(request: Request, key_id: str) -> KeyRecordOut:
    state, access = await _managing(request)
    return _out(await _find(state, access, key_id))


@router.patch(
    "/{key_id}",
    response_model=KeyRecordOut,
    summary="Change an API key",
    description="Its name or its networks; the latter hold within five seconds for every token that it was exchanged "
    "for. Its roles stay: make another key for others.",
    responses={**answer(200, _EXAMPLE), **problems(*_WRITES, 404, 409, 429)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(KeyChangeIn)},
)
async def change_key(request: Request, key_id: str) -> KeyRecordOut:
    state, access = await _managing(request)
    asked = await read_body(request, KeyChangeIn)
    key = await _within_own(state, access, key_id)
    networks = None if asked.networks is None else tuple(dict.fromkeys(asked.networks))
    key = await credentials.change(state.backends.keys, access.scope, key, name=asked.name, networks=networks)
    await _told(state)
    return _out(key)


@router.post(
    "/{key_id}/rotate",
    response_model=NewSecretOut,
    summary="Give an API key a new secret",
    description="The answer shows it, this once. The old ones work for `overlap` seconds more, a day unless it says "
    "otherwise. The key may allow no more than the caller has.",
    responses={**answer(200, _ROTATED), **problems(*_WRITES, 404, 409, 429)},
    openapi_extra={**needs(Permission.MANAGE), "requestBody": body_of(RotateIn)},
)
async def rotate_key(request: Request, response: Response, key_id: str) -> NewSecretOut:
    response.headers.update(UNPACKED)
    state, access = await _managing(request)
    asked = await read_body(request, RotateIn)
    key = await _within_own(state, access, key_id)
    keys, control = state.backends.keys, state.backends.control
    key, secret = await credentials.rotate(keys, control, access.scope, key, asked.overlap)
    await _told(state)
    return NewSecretOut(**_out(key).model_dump(), client_secret=secret)


@router.delete(
    "/{key_id}",
    status_code=204,
    response_class=Response,
    summary="Revoke an API key",
    description="At once it is good for no new token; within five seconds every process refuses its tokens and the "
    "viewer links made with them, and ends their streams and exports. For good; again changes nothing.",
    responses={204: {"description": "Revoked"}, **problems(401, 403, 404, 429, 503)},
    openapi_extra=needs(Permission.MANAGE),
)
async def revoke_key(request: Request, key_id: str) -> Response:
    state, access = await _managing(request)
    key = await _find(state, access, key_id)
    await credentials.revoke(state.backends.keys, state.backends.control, access.scope, key)
    await _told(state)
    return Response(status_code=204)


async def _managing(request: Request) -> tuple[State, Access]:
    state = state_of(request)
    return state, await state.authenticator.tenant_access(request, Permission.MANAGE)


async def _told(state: State) -> None:
    """This process goes by the change at once, the others within their two seconds."""
    with suppress(Unavailable):
        await state.snapshots.refresh()


async def _find(state: State, access: Access, key_id: str) -> ApiKey:
    known = credentials.KEY_ID.fullmatch(key_id)
    key = await state.backends.keys.get(access.scope, key_id) if known else None
    if key is None:
        raise NotFound("no such key")
    return key


async def _within_own(state: State, access: Access, key_id: str) -> ApiKey:
    """The key, which allows no more than the caller has: its secret, or its freedom, would be the caller's."""
    key = await _find(state, access, key_id)
    grants.require_names(access.scope, access.tenant, key.roles)
    return key


def _out(key: ApiKey) -> KeyRecordOut:
    return KeyRecordOut(
        client_id=key.id,
        name=key.name,
        roles=list(key.roles),
        networks=list(key.networks),
        created_at=instant.to_text(key.created_at),
        created_by=key.created_by,
        expires_at=_text(key.expires_at),
        revoked_at=_text(key.revoked_at),
        used_at=_text(key.used_at),
        secrets=[
            SecretOut(
                number=each.number, created_at=instant.to_text(each.created_at), expires_at=_text(each.expires_at)
            )
            for each in key.secrets
        ],
    )


def _text(at: int | None) -> str | None:
    return None if at is None else instant.to_text(at)
