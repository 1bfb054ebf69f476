"""Event catalogues in MongoDB: `core.catalogue.Catalogues`."""

from __future__ import annotations

from typing import Final

import msgspec
from pymongo.errors import DuplicateKeyError

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import CATALOGUE_HEADS, CATALOGUES
from core.adapters.store.upserts import upsert
from core.catalogue import Action, Catalogue, Mode
from core.errors import Conflict
from core.tenant import TenantScope

_HEADER: Final = {"actions": 0}
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[Action, ...]).decode


class MongoCatalogues:
    """The collections `catalogues`, one document a version, and `catalogue_heads`, one a tenant.

    Actions are kept as JSON text: a schema's keys may begin with `$`. The versions are the truth: a head is written
    after its version, and by the next who tries when the first was killed in between.
    """

    def __init__(self, database: Database) -> None:
        self._versions = database[CATALOGUES]
        self._heads = database[CATALOGUE_HEADS]

    async def newest(self) -> dict[str, int]:
        with store_calls():
            return {head["_id"]: int(head["version"]) async for head in self._heads.find()}

    async def get(self, scope: TenantScope, version: int | None = None) -> Catalogue | None:
        asked: BsonMap = {"tenant_id": scope.tenant_id}
        if version is not None:
            asked["_id"] = _id(scope, version)
        with store_calls(BULK_DEADLINE):
            found = await self._versions.find(asked).sort([("version", -1)]).limit(1).to_list(None)
        return _catalogue(found[0]) if found else None

    async def put(self, scope: TenantScope, catalogue: Catalogue) -> None:
        document = {
            "_id": _id(scope, catalogue.version),
            "tenant_id": scope.tenant_id,
            "version": catalogue.version,
            "mode": catalogue.mode.value,
            "actions": _encode(catalogue.actions).decode(),
            "changed_at": catalogue.changed_at,
            "changed_by": catalogue.changed_by,
        }
        there = False
        with store_calls(BULK_DEADLINE):
            try:
                await self._versions.insert_one(document)
            except DuplicateKeyError:
                there = True
        await upsert(self._heads, scope.tenant_id, {"$max": {"version": catalogue.version}})
        if there:
            raise Conflict("the catalogue was changed meanwhile; read it again", code="catalogue_changed")

    async def versions(self, scope: TenantScope, *, before: int | None, limit: int) -> list[Catalogue]:
        asked: BsonMap = {"tenant_id": scope.tenant_id}
        if before is not None:
            asked["version"] = {"$lt": before}
        with store_calls():
            found = await self._versions.find(asked, _HEADER).sort([("version", -1)]).limit(limit).to_list(None)
        return [_catalogue(document) for document in found]


def _id(scope: TenantScope, version: int) -> str:
    return f"{scope.tenant_id}:{version}"


def _catalogue(document: BsonMap) -> Catalogue:
    return Catalogue(
        version=int(document["version"]),
        mode=Mode(document["mode"]),
        actions=_decode(document.get("actions", "[]")),
        changed_at=int(document["changed_at"]),
        changed_by=document["changed_by"],
    )
