"""Saved searches: a name and a query as it was written, which its owner or an administrator may change.

The query is kept as written, so that `-24h` means the day before each run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from core import instant
from core.access import Permission
from core.errors import Conflict, FieldError, Forbidden, Invalid, InvalidQuery, NotFound
from core.ids import uuid7s
from core.ports import SavedSearch, SavedSearches
from core.query import Page, parse, parse_document, strict_json
from core.tenant import TenantScope

MAX_NAME: Final = 200
MAX_QUERY_BYTES: Final = 16 * 1024
MAX_SEARCHES: Final = 1000
"""Of one tenant."""
_PAGING: Final = ("limit", "cursor")


class _Raw(msgspec.Struct):
    query: msgspec.Raw


_raw: Final = msgspec.json.Decoder(_Raw).decode


@dataclass(frozen=True, slots=True)
class Draft:
    """What a client wrote of a search, checked."""

    name: str
    query: str


def draft_of(body: bytes) -> Draft:
    """A search from `{"name": ..., "query": ...}`; raises `Invalid`, naming the place.

    The query is a string, the parameters of a URL, or an object, the body of a search by tree, without a page's.
    """
    document = strict_json.read(body)
    if not isinstance(document, dict):
        raise _fault((), "must be an object with name and query")
    for name in document:
        if name not in ("name", "query"):
            raise _fault((name,), "is neither name nor query")
    name, query = document.get("name"), document.get("query")
    if not isinstance(name, str) or isinstance(name, strict_json.Number) or not 0 < len(name.strip()) <= MAX_NAME:
        raise _fault(("name",), f"must be a string of 1 to {MAX_NAME} characters")
    if query is None:
        raise _fault(("query",), "must be a string or an object")
    written = bytes(_raw(body).query).decode()
    if len(written.encode()) > MAX_QUERY_BYTES:
        raise _fault(("query",), f"may have {MAX_QUERY_BYTES} bytes")
    _page(query, instant.now_us())
    return Draft(name.strip(), written)


def page_of(search: SavedSearch, paging: Sequence[tuple[str, str]], now: int) -> Page:
    """A page of the search's events as of now; `paging` may hold `limit` and `cursor`."""
    for name, _ in paging:
        if name not in _PAGING:
            message = "is neither limit nor cursor"
            raise InvalidQuery(f"{name} {message}", errors=[FieldError(("query", name), message, "unknown_parameter")])
    asked = parse(paging, now)
    page = _page(strict_json.read(search.query.encode()), now)
    return msgspec.structs.replace(page, limit=asked.limit, cursor=asked.cursor, cursor_place=asked.cursor_place)


class Searches:
    """What a tenant's people may do with its saved searches."""

    def __init__(self, saved: SavedSearches) -> None:
        self._saved = saved

    async def add(self, scope: TenantScope, draft: Draft) -> SavedSearch:
        """A new search of the scope's actor; raises `Conflict` when the tenant has as many as it may."""
        if await self._saved.count(scope) >= MAX_SEARCHES:
            raise Conflict(f"a tenant may have {MAX_SEARCHES} saved searches: delete some", code="too_many_searches")
        now = instant.now_us()
        [search_id] = uuid7s(now, 1)
        search = SavedSearch(search_id, scope.tenant_id, draft.name, draft.query, scope.actor, now, now)
        await self._saved.create(search)
        return search

    async def find(self, scope: TenantScope, search_id: str) -> SavedSearch:
        """Raises `NotFound`."""
        search = await self._saved.get(scope, search_id)
        if search is None:
            raise NotFound("no such search")
        return search

    async def change(self, scope: TenantScope, search_id: str, draft: Draft) -> SavedSearch:
        """The search with another name and query, still its owner's; raises `NotFound` or `Forbidden`."""
        search = await self._own(scope, search_id)
        changed = replace(search, name=draft.name, query=draft.query, updated_at=instant.now_us())
        if not await self._saved.replace(scope, changed):
            raise NotFound("no such search")
        return changed

    async def remove(self, scope: TenantScope, search_id: str) -> None:
        """Raises `NotFound` or `Forbidden`."""
        await self._own(scope, search_id)
        if not await self._saved.remove(scope, search_id):
            raise NotFound("no such search")

    async def _own(self, scope: TenantScope, search_id: str) -> SavedSearch:
        search = await self.find(scope, search_id)
        if search.owner != scope.actor and Permission.MANAGE not in scope.permissions:
            raise Forbidden("only its owner or an administrator changes a search")
        return search


def _page(query: Any, now: int) -> Page:
    if isinstance(query, str) and not isinstance(query, strict_json.Number):
        parameters = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
        _refuse_paging([name for name, _ in parameters])
        return parse(parameters, now)
    if not isinstance(query, dict):
        raise _fault(("query",), "must be a string or an object")
    _refuse_paging(query)
    try:
        return parse_document(query, now)
    except InvalidQuery as error:
        faults = [replace(fault, loc=("query", *fault.loc)) for fault in error.errors]
        raise InvalidQuery(error.message, code=error.code, errors=faults) from None


def _refuse_paging(names: Any) -> None:
    for name in names:
        if name in _PAGING:
            message = "belongs to a page and not to a search"
            fault = FieldError(("query", name), message, "parameter")
            raise InvalidQuery(f"{name} {message}", errors=[fault])


def _fault(place: tuple[str, ...], message: str) -> Invalid:
    name = place[0] if place else "the body"
    return Invalid(f"{name} {message}", code="invalid_request", errors=[FieldError(place, message, "value_error")])
