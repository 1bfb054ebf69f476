"""`ViewerLinks` on every backend: records that end."""

from __future__ import annotations

from core.adapters.store.client import Database
from core.adapters.store.viewers import MongoViewerLinks
from core.query import EventQuery
from core.tenant import for_system
from core.viewers import ViewerLink

ACME, OTHER = for_system("aaaaaaaa", "test"), for_system("bbbbbbbb", "test")


def link(name: str, tenant_id: str, expires_at: int) -> ViewerLink:
    return ViewerLink(name, tenant_id, name, EventQuery(), b"{}", "ana", 1, expires_at)


async def test_records_of_links_that_ended_are_forgotten_and_no_others(database: Database) -> None:
    links = MongoViewerLinks(database)
    for scope, name, expires_at in ((ACME, "old", 99), (ACME, "edge", 100), (ACME, "new", 500), (OTHER, "theirs", 5)):
        await links.create(scope, link(name, scope.tenant_id, expires_at))
    await links.revoked(ACME, "new", 10)
    await links.expire(100)
    await links.expire(100)
    found = await links.listing(ACME, made_by=None, before=None, limit=10)
    assert {each.id for each in found} == {"edge", "new"}
    assert await links.listing(OTHER, made_by=None, before=None, limit=10) == []
