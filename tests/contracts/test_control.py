"""`Control` on every backend."""

from __future__ import annotations

import dataclasses

import pytest

from core.adapters.store.client import Database
from core.adapters.store.control import MongoControl
from core.errors import Conflict
from core.facets import NONE, Declared, FacetType, declare
from core.placement import Period, Placement
from core.tenant import Tenant, TenantStatus
from core.tenant_settings import AccessAudit, MaskAction, MaskBy, MaskingRule, Quotas

TENANT = Tenant("acme0001", "Acme", bytes(range(32)), 1_780_000_000_000_000)
OTHER = Tenant("zeta0001", "Zeta 💠", b"\xff" * 32, 5, TenantStatus.SUSPENDED, (Placement(), Placement(7, Period.DAY)))


@pytest.fixture
async def control(database: Database) -> MongoControl:
    return await MongoControl.open(database)


async def test_tenants_come_back_as_they_were(control: MongoControl) -> None:
    await control.create_tenant(OTHER)
    await control.create_tenant(TENANT)
    assert await control.tenant(TENANT.id) == TENANT
    assert await control.tenants() == [TENANT, OTHER]
    assert await control.tenant("nobody00") is None


async def test_a_tenant_is_created_once(control: MongoControl) -> None:
    await control.create_tenant(TENANT)
    with pytest.raises(Conflict):
        await control.create_tenant(dataclasses.replace(TENANT, name="Other"))
    assert await control.tenants() == [TENANT]


async def test_what_is_set_for_a_tenant_is_replaced_by_whoever_knows_it(
    control: MongoControl, database: Database
) -> None:
    for tenant in (TENANT, OTHER):
        await control.create_tenant(tenant)
    # As a tenant's record was before there were settings.
    settings = ("retention_days", "quotas", "masking", "access_audit", "quarantine", "revision")
    await database["tenants"].update_one({"_id": TENANT.id}, {"$unset": dict.fromkeys(settings, 1)})
    assert await control.tenant(TENANT.id) == TENANT
    facets = declare(NONE, [Declared("amount", "metadata.a", FacetType.NUMBER)])
    assert await control.replace_facets(TENANT.id, NONE, facets)
    changed = dataclasses.replace(
        TENANT,
        name="Acme 2",
        status=TenantStatus.SUSPENDED,
        placements=(Placement(), Placement(9, Period.YEAR)),
        retention_days=7,
        quotas=Quotas(events_per_second=5, bytes_per_day=1 << 40),
        masking=(MaskingRule(MaskBy.PATH, "$.metadata['a.b']", MaskAction.HASH),),
        access_audit=AccessAudit.BEST_EFFORT,
        quarantine=True,
    )
    # What is not for this call to change stays.
    assert await control.replace_tenant(TENANT, dataclasses.replace(changed, secret=b"x" * 32, created_at=1))
    assert not await control.replace_tenant(TENANT, OTHER)
    first = dataclasses.replace(changed, facets=facets, revision=1)
    assert await control.tenant(TENANT.id) == first
    assert (await control.snapshot()).tenants == {TENANT.id: first, OTHER.id: OTHER}
    assert await control.replace_tenant(first, dataclasses.replace(first, name="Acme 3"))
    assert await control.tenant(TENANT.id) == dataclasses.replace(first, name="Acme 3", revision=2)
    assert not await control.replace_tenant(dataclasses.replace(TENANT, id="nobody00"), TENANT)


async def test_the_snapshot_holds_tenants_and_what_is_revoked(control: MongoControl) -> None:
    assert (await control.snapshot()).tenants == {}
    for tenant in (TENANT, OTHER):
        await control.create_tenant(tenant)
    await control.revoke("key:k1", 11)
    await control.revoke("key:k1", 12)
    await control.revoke("token-7", 13)
    snapshot = await control.snapshot()
    assert snapshot.tenants == {TENANT.id: TENANT, OTHER.id: OTHER}
    assert snapshot.revoked == {"key:k1", "token-7"}


async def test_facets_are_replaced_by_whoever_knows_them(control: MongoControl, database: Database) -> None:
    for tenant in (TENANT, OTHER):
        await control.create_tenant(tenant)
    # As a tenant's record was before there were facets.
    await database["tenants"].update_one({"_id": TENANT.id}, {"$unset": {"facets": 1, "facet_serial": 1}})
    assert await control.tenant(TENANT.id) == TENANT
    assert await control.facets() == {}
    first = declare(
        NONE, [Declared("amount", "metadata.a", FacetType.NUMBER), Declared("ip", "metadata.i", FacetType.IP)]
    )
    assert await control.replace_facets(TENANT.id, NONE, first)
    assert not await control.replace_facets(TENANT.id, NONE, first)
    second = declare(first, [])
    assert await control.replace_facets(TENANT.id, first, second)
    third = declare(second, [Declared("when", "metadata.w", FacetType.DATE)])
    assert await control.replace_facets(TENANT.id, second, third)
    assert await control.facets() == {TENANT.id: third}
    assert await control.tenant(TENANT.id) == dataclasses.replace(TENANT, facets=third)
    assert (await control.snapshot()).tenants[TENANT.id].facets == third
    assert await control.tenant(OTHER.id) == OTHER
    assert not await control.replace_facets("nobody00", NONE, first)


async def test_two_databases_in_one_process_stay_apart(control: MongoControl, database: Database) -> None:
    beside = database.client[f"{database.name}_b"]
    second = await MongoControl.open(beside)
    try:
        await control.create_tenant(TENANT)
        await second.create_tenant(OTHER)
        assert await control.tenants() == [TENANT]
        assert await second.tenants() == [OTHER]
    finally:
        await beside.client.drop_database(beside.name)
