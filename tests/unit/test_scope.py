"""`TenantScope`: who can make one, for which tenant, and that what takes one cannot be called without."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from core.access import Permission, Role
from core.errors import Forbidden, Unauthenticated
from core.tenant import TENANT_ID, Claims, Tenant, TenantScope, TenantStatus, for_system, from_token

ROOT: Final = Path(__file__).parents[2]
MINE: Final = Tenant("aaaaaaaaaaaaaaaa", "mine", b"s" * 32, 0)


def claims(tenant_id: str | None, *roles: Role) -> Claims:
    return Claims("ana", tenant_id, frozenset(roles), "j", 0, 2**40)


def test_nobody_makes_a_scope_past_its_mints() -> None:
    for mint in (None, object(), True, "mint"):
        with pytest.raises(TypeError):
            TenantScope(mint, MINE.id, "ana", frozenset(Permission))
    scope = from_token(claims(MINE.id, Role.READER), MINE)
    for name in ("tenant_id", "permissions", "restriction", "actor"):
        with pytest.raises(AttributeError):
            setattr(scope, name, "other")
    with pytest.raises(TypeError):
        type("Mine", (TenantScope,), {})(None, MINE.id, "ana", frozenset())


@pytest.mark.parametrize(
    "other", ["bbbbbbbbbbbbbbbb", "aaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA", "аaaaaaaaaaaaaaaa"]
)
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PLATFORM])
def test_a_token_of_one_tenant_gives_no_scope_in_another(other: str, role: Role) -> None:
    with pytest.raises(Unauthenticated):
        from_token(claims(other, role), MINE)


def test_the_platform_reads_and_writes_nothing_in_a_tenant() -> None:
    assert from_token(claims(None, Role.PLATFORM), MINE).permissions == {Permission.MANAGE, Permission.PLATFORM}


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.PLATFORM, Role.VIEWER)])
def test_a_closed_tenant_gives_no_scope(role: Role) -> None:
    with pytest.raises(Forbidden):
        from_token(claims(MINE.id, role), replace(MINE, status=TenantStatus.SUSPENDED))
    with pytest.raises(Unauthenticated):
        from_token(claims(MINE.id, role), replace(MINE, status=TenantStatus.DELETING))


LOOK_ALIKES: Final = (
    "аaaaaaaaaaaaaaaa",  # the first letter is Cyrillic
    "ａaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaaa\n", " aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa\0",
    "aaaaaaaa*", "aaaaaaaa,bbbbbbbb", "-aaaaaaaa", "aaaaaaaa-202611", "../aaaaaaaa", "aaaaaaaa/..", "_all", "*", "",
    "aaaaaaa", "a" * 33, "aaaaaaaa%2a", "aaaaaaaa\u200b", "١٢٣٤٥٦٧٨", "aaaaaaaa.b",
)  # fmt: skip
"""Nothing of these is a tenant's id: it stands in names of indices, keys of records and paths of files."""


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=ascii)
def test_what_looks_like_a_tenants_id_is_none(name: str) -> None:
    assert not TENANT_ID.fullmatch(name)
    with pytest.raises(ValueError, match="not a tenant id"):
        for_system(name, "test")


# What mypy must say of each line, which is otherwise a good call.
FORGOTTEN: Final = """
from core.ports import EventIndex, EventFeed, EventStore, Keys, Quarantine, SavedSearches
from core.query import EventQuery
from core.tenant import Claims, Tenant, TenantScope

async def calls(
    store: EventStore, index: EventIndex, keys: Keys, searches: SavedSearches, quarantine: Quarantine, feed: EventFeed,
    claims: Claims, tenant: Tenant, query: EventQuery
) -> None:
    await store.get("id")  # wrong
    await store.get("aaaaaaaaaaaaaaaa", "id")  # wrong
    await store.get(tenant, "id")  # wrong
    await store.get(claims, "id")  # wrong
    await store.fetch(["id"])  # wrong
    await store.find(query, after=None, limit=5, total_bound=5)  # wrong
    await store.find(tenant.id, query, after=None, limit=5, total_bound=5)  # wrong
    await store.count()  # wrong
    await index.search(query, after=None, limit=5, total_bound=5)  # wrong
    await index.search(tenant.id, query, after=None, limit=5, total_bound=5)  # wrong
    await index.index("202611", [])  # wrong
    await index.drop(None)  # wrong
    await index.count(tenant)  # wrong
    await keys.get("key")  # wrong
    await searches.get(tenant.id, "id")  # wrong
    await quarantine.get(claims, ["id"])  # wrong
    await feed.watch([tenant.id], None)  # wrong

async def good(store: EventStore, index: EventIndex, feed: EventFeed, scope: TenantScope, query: EventQuery) -> None:
    await store.get(scope, "id")
    await store.find(scope, query, after=None, limit=5, total_bound=5)
    await index.search(scope, query, after=None, limit=5, total_bound=5)
    await feed.watch([scope], None)
"""


def test_a_call_without_a_scope_does_not_type_check(tmp_path: Path) -> None:
    path = tmp_path / "forgotten.py"
    path.write_text(FORGOTTEN, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--show-error-codes", str(path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    found = {
        int(line) for line in re.findall(r"forgotten\.py:(\d+): error: .*\[(?:arg-type|call-arg|list-item)\]", said)
    }
    wrong = {n for n, line in enumerate(FORGOTTEN.splitlines(), 1) if line.endswith("# wrong")}
    assert len(wrong) == 17
    assert found == wrong, said
