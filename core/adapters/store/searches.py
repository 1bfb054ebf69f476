"""Saved searches in MongoDB: `SavedSearches`."""

from __future__ import annotations

from beanie import init_beanie

from core.adapters.store.binding import create, own
from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.documents import SearchDocument
from core.ports import SavedSearch
from core.tenant import TenantScope


class MongoSavedSearches:
    """The collection `searches`. Made by `open`."""

    def __init__(self, searches: type[SearchDocument]) -> None:
        self._searches = searches

    @classmethod
    async def open(cls, database: Database) -> MongoSavedSearches:
        searches = own(SearchDocument)
        with store_calls(BULK_DEADLINE):
            await init_beanie(database=database, document_models=[searches])
        return cls(searches)

    async def create(self, search: SavedSearch) -> None:
        await create(self._searches.of(search), "a search with this id exists")

    async def get(self, scope: TenantScope, search_id: str) -> SavedSearch | None:
        with store_calls():
            found = await self._searches.find_one(_one(scope, search_id))
        return None if found is None else found.search()

    async def listing(self, scope: TenantScope, *, before: str | None, limit: int) -> list[SavedSearch]:
        asked: BsonMap = {"tenant_id": scope.tenant_id}
        if before is not None:
            asked["_id"] = {"$lt": before}
        with store_calls():
            found = await self._searches.find(asked).sort("-_id").limit(limit).to_list()
        return [document.search() for document in found]

    async def count(self, scope: TenantScope) -> int:
        with store_calls():
            return await self._searches.find({"tenant_id": scope.tenant_id}).count()

    async def replace(self, scope: TenantScope, search: SavedSearch) -> bool:
        changes = {"name": search.name, "query": search.query, "updated_at": search.updated_at}
        with store_calls():
            done = await self._searches.get_motor_collection().update_one(_one(scope, search.id), {"$set": changes})
        return done.matched_count == 1

    async def remove(self, scope: TenantScope, search_id: str) -> bool:
        with store_calls():
            done = await self._searches.get_motor_collection().delete_one(_one(scope, search_id))
        return done.deleted_count == 1


def _one(scope: TenantScope, search_id: str) -> BsonMap:
    return {"_id": search_id, "tenant_id": scope.tenant_id}
