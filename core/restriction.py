"""What a viewer may reach: each port with a tenant's data stands behind one of these, which knows the scope's filter.

Isolation holds here, not in the routes: a scope with a restriction gets a query's answer only with the restriction
added, an event only when it matches, and everything else of a port is refused. A method that is added to a port is
refused until it takes the query as an `EventQuery` argument.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import msgspec

from core.errors import Forbidden
from core.matching import Subject, compiled, event_of
from core.ports import Stored
from core.query import EventQuery, Page, check, fingerprint, without_own
from core.tenant import TenantScope

T = TypeVar("T")


def allows(scope: TenantScope, stored: Stored) -> bool:
    """Whether the scope may see the event."""
    if scope.restriction is None:
        return True
    return compiled(scope.restriction)(Subject(event_of(stored, scope.tenant_id)))


def restricted_query(scope: TenantScope, query: EventQuery) -> EventQuery:
    """What of the query's answer the scope gets to see, as a query: what it may, the service's own events if asked for.

    Raises `InvalidQuery` when that is too large.
    """
    query = without_own(query)
    if scope.restriction is None:
        return query
    narrowed = query.restricted_to(scope.restriction)
    check(narrowed)
    return narrowed


def restricted_page(scope: TenantScope, page: Page) -> Page:
    """The same for a page, whose cursors are then good for this restriction only."""
    page = page.changed(without_own)
    if scope.restriction is None:
        return page
    restricted_query(scope, page.query)
    written = [page.fingerprint.hex(), msgspec.to_builtins(scope.restriction)]
    return msgspec.structs.replace(page.restricted_to(scope.restriction), fingerprint=fingerprint(written))


class _Restricted:
    """Stands for `port`; calls whose scope has a restriction are narrowed or refused, all others are the port's own."""

    def __init__(self, port: object) -> None:
        self._port = port

    def __getattr__(self, name: str) -> Any:
        own = getattr(self._port, name)
        if not callable(own):
            return own

        def call(*arguments: Any, **named: Any) -> Any:
            scope = _restricted_scope((*arguments, *named.values()))
            if scope is None:
                return own(*arguments, **named)
            if (sift := _SIFTED.get(name)) is not None:
                return sift(scope, own(*arguments, **named))
            return own(*_narrowed(scope, arguments, named), **_with_query(scope, named))

        setattr(self, name, call)
        return call


def restricted(port: T) -> T:
    """`port`, which narrows or refuses what a restricted scope asks of it."""
    return cast(T, _Restricted(port))


async def _one(scope: TenantScope, found: Awaitable[Stored | None]) -> Stored | None:
    stored = await found
    return stored if stored is not None and allows(scope, stored) else None


async def _mapping(scope: TenantScope, found: Awaitable[dict[str, Stored]]) -> dict[str, Stored]:
    return {event_id: stored for event_id, stored in (await found).items() if allows(scope, stored)}


async def _batches(scope: TenantScope, found: AsyncIterator[list[Stored]]) -> AsyncIterator[list[Stored]]:
    async for batch in found:
        yield [stored for stored in batch if allows(scope, stored)]


_PLAIN: Final = frozenset({str, bytes, int, float, type(None), EventQuery})
"""Types that hold no scope, which need not be asked whether they are collections."""
_SIFTED: Final[Mapping[str, Callable[[TenantScope, Any], Any]]] = {"get": _one, "fetch": _mapping, "scan": _batches}
"""Methods of the store that answer with events whatever the query: what they return is sifted."""


def _restricted_scope(arguments: Iterable[Any]) -> TenantScope | None:
    """The scope among the arguments that has a restriction; raises for one in a collection, which has no one query."""
    for argument in arguments:
        if isinstance(argument, TenantScope):
            if argument.restriction is not None:
                return argument
        elif type(argument) not in _PLAIN and isinstance(argument, Collection):
            for each in argument:
                if isinstance(each, TenantScope) and each.restriction is not None:
                    raise _refused()
    return None


def _with_query(scope: TenantScope, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _narrow(scope, value) for name, value in values.items()}


def _narrowed(scope: TenantScope, arguments: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """The arguments with the query among them narrowed; raises when there is none, here or among the named ones."""
    if sum(isinstance(value, EventQuery) for value in (*arguments, *named.values())) != 1:
        raise _refused()
    return [_narrow(scope, value) for value in arguments]


def _narrow(scope: TenantScope, value: Any) -> Any:
    return restricted_query(scope, value) if isinstance(value, EventQuery) else value


def _refused() -> Forbidden:
    return Forbidden("a viewer link does not reach this")
