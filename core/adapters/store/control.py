"""Tenants and revocations in MongoDB: `Control`."""

from __future__ import annotations

from typing import Final

from beanie import init_beanie

from core.adapters.store.binding import create, own
from core.adapters.store.client import BULK_DEADLINE, Collection, Database, store_calls
from core.adapters.store.documents import (
    FacetRecord,
    RevocationDocument,
    TenantDocument,
    facet_records,
    facets_of,
)
from core.adapters.store.indexes import KEYS
from core.adapters.store.upserts import upsert
from core.facets import Facets
from core.networks import network
from core.ports import AccessSnapshot
from core.tenant import Tenant

_SETTABLE: Final = {
    "name",
    "status",
    "placements",
    "retention_days",
    "quotas",
    "masking",
    "access_audit",
    "quarantine",
    "permission_sets",
}


class MongoControl:
    """The collections `tenants` and `revocations`, and of `keys` their networks. Made by `open`."""

    def __init__(self, tenants: type[TenantDocument], revocations: type[RevocationDocument], keys: Collection) -> None:
        self._tenants = tenants
        self._revocations = revocations
        self._keys = keys

    @classmethod
    async def open(cls, database: Database) -> MongoControl:
        """Beanie binds a document class to one database: each opening binds classes of its own."""
        tenants, revocations = own(TenantDocument), own(RevocationDocument)
        with store_calls(BULK_DEADLINE):
            await init_beanie(database=database, document_models=[tenants, revocations])
        return cls(tenants, revocations, database[KEYS])

    async def create_tenant(self, tenant: Tenant) -> None:
        await create(self._tenants.of(tenant), "a tenant with this id exists")

    async def tenant(self, tenant_id: str) -> Tenant | None:
        with store_calls():
            found = await self._tenants.get(tenant_id)
        return None if found is None else found.tenant()

    async def tenants(self) -> list[Tenant]:
        with store_calls():
            found = await self._tenants.find_all().to_list()
        return [document.tenant() for document in sorted(found, key=lambda document: document.id)]

    async def replace_tenant(self, old: Tenant, new: Tenant) -> bool:
        # A tenant made before there were revisions has none.
        known = old.revision or {"$in": [0, None]}
        record = self._tenants.of(new).model_dump(mode="json", include=_SETTABLE) | {"revision": old.revision + 1}
        with store_calls():
            changed = await self._tenants.get_motor_collection().update_one(
                {"_id": old.id, "revision": known}, {"$set": record}
            )
        return changed.matched_count == 1

    async def facets(self) -> dict[str, Facets]:
        with store_calls():
            found = (
                await self._tenants.get_motor_collection()
                .find({"facet_serial": {"$gt": 0}}, {"facets": 1, "facet_serial": 1})
                .to_list(None)
            )
        return {
            document["_id"]: facets_of(
                [FacetRecord.model_validate(record) for record in document["facets"]], document["facet_serial"]
            )
            for document in found
        }

    async def replace_facets(self, tenant_id: str, old: Facets, new: Facets) -> bool:
        # A tenant made before there were facets has no serial.
        known = old.serial or {"$in": [0, None]}
        records = [record.model_dump(mode="json") for record in facet_records(new)]
        with store_calls():
            changed = await self._tenants.get_motor_collection().update_one(
                {"_id": tenant_id, "facet_serial": known}, {"$set": {"facets": records, "facet_serial": new.serial}}
            )
        return changed.matched_count == 1

    async def revoke(self, name: str, at: int, *, expires_at: int | None = None) -> None:
        with store_calls():
            revocations = self._revocations.get_motor_collection()
            await upsert(revocations, name, {"$setOnInsert": {"at": at, "expires_at": expires_at}})
            # What has expired is refused for that: every process would read it every other second for nothing.
            await revocations.delete_many({"expires_at": {"$gte": 0, "$lt": at}})

    async def snapshot(self) -> AccessSnapshot:
        with store_calls():
            tenants = await self._tenants.find_all().to_list()
            revoked = await self._revocations.find_all().to_list()
            bound = await self._keys.find({"bound": True}, {"networks": 1}).to_list(None)
        return AccessSnapshot(
            {document.id: document.tenant() for document in tenants},
            frozenset(document.id for document in revoked),
            {f"key:{key['_id']}": tuple(map(network, key["networks"])) for key in bound},
        )
