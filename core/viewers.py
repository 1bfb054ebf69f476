"""Viewer links: short-lived, read-only tokens that reach the events of one filter, for embedding.

The token carries the filter, signed, so that reading by it asks nobody; the record says who made it, for what, and is
what revoking it goes by.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from core.errors import FieldError, InvalidQuery
from core.query import EventQuery, Text, leaves, words_of
from core.query.model import Condition
from core.tenant import TenantScope

MAX_LIFETIME: Final = 24 * 3600
"""Seconds."""
KEPT_FOR: Final = 90 * 86_400 * 1_000_000
"""Microseconds for which the record of a link stays after its end; the access audit tells of it for as long as events
are kept."""
MAX_FILTER_BYTES: Final = 3 * 1024
"""In the token, which has 8 KiB in all and goes along with every request."""
MAX_LEAVES: Final = 16
MAX_VALUES: Final = 64
MAX_WORDS: Final = 4
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ViewerLink:
    """The record of a link. Times are microseconds; `written` is the filter's tree as it was sent, JSON."""

    id: str
    tenant_id: str
    label: str
    filter: EventQuery
    written: bytes
    made_by: str
    made_at: int
    expires_at: int
    revoked_at: int | None = None


class ViewerLinks(Protocol):
    """The links that were made, until `expire`."""

    async def create(self, scope: TenantScope, link: ViewerLink) -> None:
        """Durable on return."""

    async def get(self, scope: TenantScope, link_id: str) -> ViewerLink | None: ...

    async def listing(
        self, scope: TenantScope, *, made_by: str | None, before: str | None, limit: int
    ) -> list[ViewerLink]:
        """Newest (greatest id) first, those with ids below `before`."""

    async def expire(self, before: int) -> None:
        """Forget the links that ended before this moment (microseconds)."""

    async def revoked(self, scope: TenantScope, link_id: str, at: int) -> None:
        """Note when it was revoked, once. It is `Control.revoke` that ends it."""


def new_link_id(now: int) -> str:
    """An id that sorts by the time it was made at (microseconds)."""
    return f"{now:016x}{uuid.uuid4().hex[:16]}"


def check_filter(query: EventQuery) -> None:
    """Raise `InvalidQuery` for a filter that holds nothing back, or is too large to go along with every query."""
    found = list(leaves(query.filters))
    values = sum(len(leaf.values) for leaf in found if isinstance(leaf, Condition))
    words = sum(len(words_of(leaf.text)[0]) for leaf in found if isinstance(leaf, Text))
    if not found:
        raise _fault("must say which events: a link without a filter would show all")
    if len(found) > MAX_LEAVES or values > MAX_VALUES or words > MAX_WORDS:
        raise _fault(f"may have {MAX_LEAVES} conditions, {MAX_VALUES} values and {MAX_WORDS} words")
    if len(_encode(query)) > MAX_FILTER_BYTES:
        raise _fault(f"may have {MAX_FILTER_BYTES} bytes")


def _fault(message: str) -> InvalidQuery:
    return InvalidQuery(f"filter {message}", errors=[FieldError(("body", "filter"), message, "filter")])
