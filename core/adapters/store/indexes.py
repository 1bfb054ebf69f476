"""The indexes that the store's queries stand on. Every one ascends: SecantusDB loses rows on a descending key."""

from __future__ import annotations

from typing import Final

from pymongo import ASCENDING, IndexModel

from core.adapters.store.client import BULK_DEADLINE, Database, store_calls

EVENTS: Final = "events"
ACCOUNTS: Final = "accounts"
HOLES: Final = "holes"
QUARANTINE: Final = "quarantine"
PARKED: Final = "parked"
OUTBOX: Final = "outbox"
RECEIPTS: Final = "receipts"
PRODUCERS: Final = "producers"
REBUILDS: Final = "rebuilds"
JOBS: Final = "jobs"
VIEWERS: Final = "viewers"
KEYS: Final = "keys"
CATALOGUES: Final = "catalogues"
CATALOGUE_HEADS: Final = "catalogue_heads"
USAGE: Final = "usage"
PROCESSES: Final = "processes"
KEY_QUOTAS: Final = "key_quotas"
HOLDS: Final = "holds"
TOMBSTONES: Final = "tombstones"
SEGMENTS: Final = "segments"
MIGRATIONS: Final = "migrations"

INDEXES: Final = {
    EVENTS: (("tenant_id", "timestamp", "_id"), ("tenant_id", "received_at", "_id")),
    ACCOUNTS: (("tenant_id", "second"),),
    HOLES: (("before",),),
    QUARANTINE: (("tenant_id", "at", "_id"),),
    PARKED: (("tenant_id", "parked_at"), ("parked_at",), ("tenant_id", "received_at")),
    OUTBOX: (("tenant_id", "received_at"),),
    RECEIPTS: (("producer", "sequence"), ("done_at",)),
    CATALOGUES: (("tenant_id", "version"),),
    VIEWERS: (("tenant_id", "_id"), ("expires_at",)),
    KEYS: (("tenant_id", "_id"), ("bound",)),
    USAGE: (("shared_at",), ("expires_at",)),
    HOLDS: (("tenant_id", "_id"),),
    TOMBSTONES: (("standing_since",),),
    SEGMENTS: (("tenant_id", "first_at", "first_id"), ("restored_until",)),
    JOBS: (("due_at",), ("expires_at",), ("tenant_id", "kind", "_id")),
}


async def ensure_indexes(database: Database, deadline: float = BULK_DEADLINE) -> None:
    """Make the missing indexes; harmless when they are there, also from several processes at once."""
    with store_calls(deadline):
        for collection, indexes in INDEXES.items():
            models = [IndexModel([(name, ASCENDING) for name in fields]) for fields in indexes]
            await database[collection].create_indexes(models)
