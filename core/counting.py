"""Counting a tenant's stored events, however many there are."""

from __future__ import annotations

from typing import Final

from core.ports import Accounts, EventStore
from core.ports.accounts import SECOND
from core.tenant import TenantScope

AT_ONCE: Final = 50_000


async def stored_between(
    store: EventStore, accounts: Accounts, scope: TenantScope, start: int, end: int, due: int
) -> int:
    """How many events the store holds with `start <= received_at < end`; the books say that `due` are to be there.

    Very many are counted in parts, each within the store's own deadline: a store that counts slowly would else never
    tell of the minute in which a million came. The books tell where they lie. Raises `Unavailable`.
    """
    total = 0
    waiting = [(start, end, due)]
    while waiting:
        low, high, expected = waiting.pop()
        middle = low + (high - low) // SECOND // 2 * SECOND
        if expected <= AT_ONCE or middle == low:
            total += await store.count(scope, start=low, end=high)
        else:
            earlier = (await accounts.tally(scope, low, middle)).due
            waiting += [(middle, high, expected - earlier), (low, middle, earlier)]
    return total
