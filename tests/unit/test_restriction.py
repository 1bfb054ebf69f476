"""Ports behind a restriction: what they do with a viewer's scope, whatever is added to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.access import Role
from core.errors import Forbidden, InvalidQuery
from core.ports import Stored
from core.query import NOT_OWN, Condition, EventQuery, Text, Value, of_nodes
from core.restriction import restricted
from core.tenant import Claims, Tenant, TenantScope, for_system, from_token
from core.viewers import check_filter

OWN = of_nodes([Condition("user_id", (Value("ana"),))])
TENANT = Tenant("aaaaaaaa", "a", b"s" * 32, 0)


def viewer(restriction: EventQuery = OWN) -> TenantScope:
    claims = Claims("viewer:1", TENANT.id, frozenset({Role.VIEWER}), "1", 0, 1 << 60, restriction, "key:k")
    return from_token(claims, TENANT)


def stored(user: str) -> Stored:
    body = (
        f'{{"id":"{user}","tenant_id":"aaaaaaaa","timestamp":"2026-01-01T00:00:00.000000Z",'
        f'"received_at":"2026-01-01T00:00:00.000000Z","salt":"s","action":"x","severity":"INFO","user_id":"{user}"}}'
    )
    return Stored(user, "202601", 0, 0, b"", body.encode())


class Port:
    """Methods as the ports have them, and as they may come to have."""

    name = "a port"

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def get(self, scope: TenantScope, event_id: str) -> Stored | None:
        return stored(event_id)

    async def fetch(self, scope: TenantScope, ids: list[str]) -> dict[str, Stored]:
        return {name: stored(name) for name in ids}

    async def bodies(self, scope: TenantScope, ids: list[str]) -> dict[str, bytes]:
        return {name: stored(name).body for name in ids}

    async def scan(self, scope: TenantScope, *, start: int) -> AsyncIterator[list[Stored]]:
        yield [stored("ana"), stored("ben")]
        yield [stored("ben")]

    async def search(self, scope: TenantScope, query: EventQuery, *, limit: int) -> EventQuery:
        return query

    async def later(self, scope: TenantScope, *, wanted: EventQuery) -> EventQuery:
        return wanted

    async def count(self, scope: TenantScope) -> int:
        return 5

    async def watch(self, scopes: list[TenantScope]) -> int:
        return 1

    async def two(self, scope: TenantScope, first: EventQuery, second: EventQuery) -> int:
        return 1

    async def ping(self) -> str:
        return "up"


async def test_a_scope_without_a_restriction_reaches_everything() -> None:
    port, scope = restricted(Port()), for_system("aaaaaaaa", "test")
    assert await port.count(scope) == 5
    assert await port.search(scope, EventQuery(), limit=1) == EventQuery()
    assert set(await port.fetch(scope, ["ana", "ben"])) == {"ana", "ben"}
    assert [len(batch) async for batch in port.scan(scope, start=0)] == [2, 1]
    assert (await port.watch([scope]), await port.ping(), port.name) == (1, "up", "a port")


async def test_a_viewers_query_is_narrowed_wherever_it_stands() -> None:
    port, scope = restricted(Port()), viewer()
    asked = of_nodes([Condition("action", (Value("x"),))], sort="received_at", descending=False)
    for got in (
        await port.search(scope, asked, limit=1),
        await port.search(scope=scope, query=asked, limit=1),
        await port.later(scope, wanted=asked),
    ):
        assert set(got.filters) == {*asked.filters, *OWN.filters, NOT_OWN}
        assert (got.sort, got.descending) == ("received_at", False)


async def test_a_viewer_gets_the_events_that_match() -> None:
    port, scope = restricted(Port()), viewer()
    assert await port.get(scope, "ben") is None
    assert (await port.get(scope, "ana")) == stored("ana")
    assert set(await port.fetch(scope, ["ana", "ben"])) == {"ana"}
    assert [[event.id for event in batch] async for batch in port.scan(scope, start=0)] == [["ana"], []]


async def test_what_has_no_query_to_narrow_is_refused() -> None:
    port, scope = restricted(Port()), viewer()
    for call in (
        lambda: port.count(scope),
        lambda: port.count(scope=scope),
        lambda: port.bodies(scope, ["ana"]),
        lambda: port.watch([for_system("aaaaaaaa", "test"), scope]),
        lambda: port.two(scope, EventQuery(), EventQuery()),
    ):
        with pytest.raises(Forbidden):
            await call()
    assert await port.ping() == "up"


async def test_a_query_that_is_too_large_with_the_filter_is_refused() -> None:
    large = of_nodes([Condition("user_id", tuple(Value(f"u{n}") for n in range(256)))])
    with pytest.raises(InvalidQuery):
        await restricted(Port()).search(viewer(), large, limit=1)


def test_a_viewer_holds_no_other_permission() -> None:
    assert {permission.value for permission in viewer().permissions} == {"logs:view"}
    with pytest.raises(AttributeError):
        viewer().restriction = None  # type: ignore[misc]


@pytest.mark.parametrize("nodes", [[], [Text(" ".join("abcdef"))]])
def test_a_filter_that_holds_nothing_back_or_too_much_is_refused(nodes: list[Any]) -> None:
    with pytest.raises(InvalidQuery):
        check_filter(of_nodes(nodes))
