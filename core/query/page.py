"""A request for one page of a query, as it was written and as it was understood."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from core.query.model import EventQuery

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 1000


class Page(msgspec.Struct, frozen=True):
    """A parsed request for one page. `fingerprint` names the query as written, relative times unresolved."""

    query: EventQuery
    limit: int
    cursor: str | None
    fingerprint: bytes
    now: int
    """The moment (microseconds) that relative times of the query are relative to."""
    resolve: Callable[[int], EventQuery]
    """The query as it is with another `now`."""
    from_store: bool = False
    """The page before it was answered by the store."""
    cursor_place: tuple[str, ...] = ("query", "cursor")
    """Where the request has its cursor, for what is wrong with it."""

    def at(self, now: int, *, from_store: bool) -> Page:
        """The same page with the moment of its first page, so that all pages have the same time ranges."""
        query = self.query if now == self.now else self.resolve(now)
        return replace(self, query=query, now=now, from_store=from_store)

    def restricted_to(self, other: EventQuery) -> Page:
        """The same page of the events that `other` finds too, whatever its cursor says."""
        return self.changed(lambda query: query.restricted_to(other))

    def changed(self, change: Callable[[EventQuery], EventQuery]) -> Page:
        """The same page of another query, whatever its cursor says."""
        return replace(self, query=change(self.query), resolve=lambda now: change(self.resolve(now)))


def fixed(query: EventQuery, limit: int, cursor: str | None, written: Any) -> Page:
    """A page of a query without relative times; `written` is what its cursors are bound to."""
    return Page(query, limit, cursor, fingerprint(written), 0, lambda _: query)


def fingerprint(written: Any) -> bytes:
    """What names a query as it was written: JSON's own types, in any order of keys."""
    return hashlib.sha256(msgspec.json.encode(written, order="deterministic")).digest()[:16]
