"""Changing what is set for a tenant, and what a process lets go of when one is deleted."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.tokens import SigningKey, TokenIssuer, TokenVerifier
from core import tenancy
from core.access import Role
from core.catalogue import Catalogue, CatalogueCache, Mode
from core.errors import Conflict, NotFound
from core.placement import Period, Placement, place
from core.ports import AccessSnapshot
from core.snapshots import Snapshots
from core.tenant import Tenant, TenantStatus, for_system
from tests.unit.ports import anything

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOW = 20_000 * DAY + 7 * HOUR
ACME = Tenant("aaaaaaaa", "Acme", b"s" * 32, 0)


@given(
    st.lists(st.tuples(st.sampled_from(Period), st.integers(0, 3 * DAY)), max_size=12),
    st.integers(0, 40 * DAY),
)
def test_a_change_of_period_moves_no_event_that_any_process_may_have_placed(
    changes: list[tuple[Period, int]], at: int
) -> None:
    """Each process goes by a history that is at most seconds old: for the next hour all of them place alike."""
    history: tuple[Placement, ...] = (Placement(),)
    now = NOW
    for period, later in changes:
        now += later
        before, history = history, tenancy.with_period(history, period, now)
        for moment in (NOW - at, now, now + HOUR - 1):
            assert place(history, moment) == place(before, moment)
        assert place(history, now + 25 * HOUR) == place((Placement(0, period),), now + 25 * HOUR)
        assert history[0] == Placement()
        assert [each.since for each in history] == sorted({each.since for each in history})
        assert all(each.since % DAY == 0 for each in history)
        assert all(one.period is not next_.period for one, next_ in pairwise(history))


class Records:
    """A record that another changes first, as often as `rivals` says."""

    def __init__(self, tenant: Tenant | None, rivals: int = 0) -> None:
        self.tenant_, self.rivals, self.writes = tenant, rivals, 0

    async def tenant(self, tenant_id: str) -> Tenant | None:
        return self.tenant_

    async def replace_tenant(self, old: Tenant, new: Tenant) -> bool:
        assert self.tenant_ is not None
        if self.rivals:
            self.rivals -= 1
            self.tenant_ = dataclasses.replace(self.tenant_, name="rival", revision=self.tenant_.revision + 1)
        if old != self.tenant_:
            return False
        self.tenant_, self.writes = dataclasses.replace(new, revision=old.revision + 1), self.writes + 1
        return True


RECORDED: list[tuple[Tenant, Tenant]] = []


async def record(old: Tenant, new: Tenant) -> None:
    RECORDED.append((old, new))


async def test_a_change_is_made_again_on_what_another_made_of_the_tenant() -> None:
    records = Records(ACME, rivals=2)
    RECORDED.clear()
    changed = await tenancy.change(
        anything(records), ACME.id, lambda old: dataclasses.replace(old, retention_days=old.retention_days + 1), record
    )
    assert [old.revision for old, _ in RECORDED] == [0, 1, 2], "before each try, for it may take effect"
    assert changed == records.tenant_ == dataclasses.replace(ACME, name="rival", retention_days=91, revision=3)
    assert await tenancy.change(anything(records), ACME.id, lambda old: old, record) == changed
    assert records.writes == 1, "what changes nothing writes nothing"
    rivals = anything(Records(ACME, rivals=99))
    with pytest.raises(Conflict):
        await tenancy.change(rivals, ACME.id, lambda old: dataclasses.replace(old, name="x"), record)


async def test_nothing_of_a_tenant_that_goes_is_changed() -> None:
    with pytest.raises(NotFound):
        await tenancy.change(anything(Records(None)), ACME.id, lambda old: old, record)
    going = dataclasses.replace(ACME, status=TenantStatus.DELETING)
    with pytest.raises(Conflict) as refused:
        await tenancy.change(anything(Records(going)), ACME.id, lambda old: ACME, record)
    assert refused.value.code == "tenant_deleting"


async def test_a_process_keeps_nothing_of_a_tenant_that_was_deleted() -> None:
    key = SigningKey(SigningKey.generate())
    verifier = TokenVerifier(key, "ocelot", "api")
    tenants = {each: dataclasses.replace(ACME, id=each) for each in ("aaaaaaaa", "bbbbbbbb")}
    for tenant_id in tenants:
        verifier.verify(
            TokenIssuer(key, "ocelot", "api").issue(subject="s", tenant_id=tenant_id, roles=[Role.READER], lifetime=60)
        )

    class Control:
        async def snapshot(self) -> AccessSnapshot:
            return AccessSnapshot(dict(tenants), frozenset())

    class Catalogues:
        async def newest(self) -> dict[str, int]:
            return dict.fromkeys(tenants, 1)

        async def get(self, scope: Any, version: int | None = None) -> Catalogue:
            return Catalogue(1, Mode.ENFORCE, (), 0, "x")

    snapshots, catalogues = Snapshots(anything(Control())), CatalogueCache(anything(Catalogues()))
    snapshots.when_gone(verifier.forget)
    await snapshots.refresh()
    for tenant_id in tenants:
        await catalogues.checker(for_system(tenant_id, "test"))
    del tenants["aaaaaaaa"]
    await snapshots.refresh()
    await catalogues.refresh()
    assert [claims.tenant_id for claims in verifier._verified.values()] == ["bbbbbbbb"]
    assert [*catalogues._checkers] == ["bbbbbbbb"]
