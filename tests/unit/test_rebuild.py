"""A rebuild on ports in memory: it goes on where the store failed, and begins again where the index did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from consumer.jobs.rebuild import Rebuild
from core.errors import Unavailable
from core.ports import IndexOutcome, Stored
from core.tenant import Tenant, TenantScope
from tests.unit.ports import AT, TENANT, Index, Ledger, anything

COUNT = 40
# Two and two share their moment, as events of one bulk do.
EVENTS = [Stored(f"e{n:02}", "202605", AT + n // 2, AT + n // 2, b"", b"{}") for n in range(COUNT)]


class Store:
    """Gives `EVENTS` in batches of 4, and fails before the batches that `fails` names."""

    def __init__(self, *fails: int) -> None:
        self.fails = list(fails)
        self.read: list[str] = []

    async def count(self, scope: TenantScope) -> int:
        return COUNT

    async def scan(
        self, scope: TenantScope, *, start: int, end: int, descending: bool, batch: int
    ) -> AsyncIterator[list[Stored]]:
        left = sorted((e for e in EVENTS if start <= e.received_at < end), key=lambda e: (e.received_at, e.id))[::-1]
        while left:
            if self.fails and len(self.read) // 4 == self.fails[0]:
                self.fails.pop(0)
                raise Unavailable("store")
            some, left = left[:4], left[4:]
            self.read += [event.id for event in some]
            yield some


class Filled(Index):
    """Fails, with all that it held gone, at the call that `forgets` names."""

    def __init__(self, forgets: int = -1) -> None:
        super().__init__()
        self.forgets = forgets

    async def count(self, scope: TenantScope) -> int:
        return len(self.documents)

    async def index(self, scope: TenantScope, placement: str, documents: Any) -> list[IndexOutcome | Exception]:
        if self.calls == self.forgets:
            self.forgets = -1
            self.documents.clear()
            raise Unavailable("index")
        return await super().index(scope, placement, documents)


class Control:
    async def tenants(self) -> list[Tenant]:
        return [Tenant(TENANT, "one", b"s" * 32, 0)]


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.jobs.rebuild._RETRY_SECONDS", 0.0)


async def rebuilt(store: Store, index: Filled) -> Ledger:
    ledger = Ledger()
    await Rebuild(anything(Control()), anything(store), anything(index), anything(ledger)).run()
    assert set(index.documents) == {event.id for event in EVENTS}
    assert ledger.rebuilds == set()
    return ledger


async def test_it_goes_on_from_where_the_store_failed() -> None:
    store = Store(3, 7)
    await rebuilt(store, Filled())
    assert store.fails == []
    # What shares its moment with the last that was read is read again, and nothing else.
    assert len(store.read) <= COUNT + 2 * 2
    assert set(store.read) == {event.id for event in EVENTS}


async def test_it_begins_again_when_the_index_failed() -> None:
    """An index that fails may come back empty."""
    await rebuilt(Store(), Filled(forgets=5))
