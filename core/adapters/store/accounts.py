"""The books in MongoDB: `Accounts`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from core.adapters.store.client import BULK_DEADLINE, BsonMap, Database, store_calls
from core.adapters.store.indexes import ACCOUNTS
from core.adapters.store.upserts import insert_once
from core.ports.accounts import SECOND, Account, Tally
from core.tenant import TenantScope

_FIGURES: Final = tuple(each.name for each in fields(Tally))
_SUMS: Final = {name: {"$sum": f"${name}"} for name in _FIGURES}


class MongoAccounts:
    """The collection `accounts`, one document an account; a figure that is 0 is left out."""

    def __init__(self, database: Database) -> None:
        self._accounts = database[ACCOUNTS]

    async def write(self, accounts: Sequence[Account]) -> None:
        await insert_once(self._accounts, [_document(account) for account in accounts])

    async def tally(self, scope: TenantScope, start: int, end: int) -> Tally:
        found = await self._grouped(scope, start, end, None)
        return _tally(found[0]) if found else Tally()

    async def by_source(self, scope: TenantScope, start: int, end: int) -> dict[str, Tally]:
        return {each["_id"]: _tally(each) for each in await self._grouped(scope, start, end, "$source")}

    async def _grouped(self, scope: TenantScope, start: int, end: int, by: str | None) -> list[BsonMap]:
        within = {"tenant_id": scope.tenant_id, "second": {"$gte": start, "$lt": end}}
        group: dict[str, Any] = {"_id": by, **_SUMS}
        with store_calls(BULK_DEADLINE):
            return await self._accounts.aggregate([{"$match": within}, {"$group": group}]).to_list(None)


def _document(account: Account) -> BsonMap:
    figures = {name: figure for name in _FIGURES if (figure := getattr(account.tally, name))}
    return {
        "_id": f"{account.source}:{account.tenant_id}:{account.second // SECOND}",
        "source": account.source,
        "tenant_id": account.tenant_id,
        "second": account.second,
        **figures,
    }


def _tally(document: BsonMap) -> Tally:
    return Tally(*(int(document[name]) for name in _FIGURES))
