"""`Quarantine` on every backend."""

from __future__ import annotations

import pytest

from core.adapters.store.client import Database
from core.adapters.store.quarantine import MongoQuarantine
from core.ports.quarantine import Form, Kept, Match, Quarantined
from core.tenant import TenantScope
from tests.contracts.stores import START, a_scope, backend, database

__all__ = ["backend", "database"]


def item(scope: TenantScope, n: int, *, at: int = START, code: str = "invalid_event", fields: tuple[str, ...] = ()):
    kept = Kept(
        id=f"{scope.tenant_id}-{n:02}",
        at=at,
        code=code,
        fields=list(fields),
        form=Form.EVENT,
        body=b'{"a.$b":1e400}',
        size=9,
        sha256="f" * 64,
        cut=["x"],
        event_id="e",
        conflicts_with=None,
    )
    return Quarantined(scope.tenant_id, kept)


@pytest.fixture
def quarantine(database: Database) -> MongoQuarantine:
    return MongoQuarantine(database)


async def test_items_are_kept_once_as_they_came_and_are_their_tenants_alone(quarantine: MongoQuarantine) -> None:
    scope, other = a_scope(), a_scope()
    first = item(scope, 1)
    await quarantine.keep([first, item(other, 1)])
    await quarantine.keep([item(scope, 1, code="other"), item(scope, 2)])
    await quarantine.keep([])
    assert await quarantine.get(scope, [first.kept.id, "x", item(other, 1).kept.id]) == {first.kept.id: first}
    assert await quarantine.count(scope, Match()) == 2
    assert await quarantine.remove(scope, [item(other, 1).kept.id, "x"]) == 0
    assert not await quarantine.fix(other, first, b"{}")
    assert await quarantine.remove(scope, [first.kept.id, first.kept.id]) == 1
    assert await quarantine.count(other, Match()) == 1


async def test_they_are_listed_newest_first_page_by_page(quarantine: MongoQuarantine) -> None:
    scope = a_scope()
    items = [item(scope, n, at=START + n // 5) for n in range(23)]
    await quarantine.keep(items)
    await quarantine.keep([item(a_scope(), 1)])
    expected = sorted(items, key=lambda each: (each.kept.at, each.kept.id), reverse=True)
    found: list[Quarantined] = []
    before: tuple[int, str] | None = None
    while page := await quarantine.listing(scope, Match(), before=before, limit=4):
        found += page
        before = page[-1].kept.at, page[-1].kept.id
    assert found == expected


async def test_they_are_chosen_by_code_and_field(quarantine: MongoQuarantine) -> None:
    scope = a_scope()
    codes = [("a", ("x",)), ("a", ("y", "x")), ("b", ("x",)), ("a", ())]
    items = [item(scope, n, code=code, fields=fields) for n, (code, fields) in enumerate(codes)]
    await quarantine.keep(items)
    for match, count in ((Match("a"), 3), (Match("a", "x"), 2), (Match(None, "x"), 3), (Match("c"), 0), (Match(), 4)):
        assert await quarantine.count(scope, match) == count
        assert len(await quarantine.listing(scope, match, before=None, limit=9)) == count


async def test_what_is_fixed_stands_beside_what_was_sent(quarantine: MongoQuarantine) -> None:
    scope = a_scope()
    first = item(scope, 1)
    await quarantine.keep([first])
    assert await quarantine.fix(scope, first, b'{"b":1}')
    assert not await quarantine.fix(scope, first, b'{"c":1}')  # somebody was faster
    [found] = (await quarantine.get(scope, [first.kept.id])).values()
    assert (found.kept, found.body, found.revision) == (first.kept, b'{"b":1}', 1)
    assert await quarantine.fix(scope, found, b'{"d":1}')
