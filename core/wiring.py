"""From settings to adapters: the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from core.adapters.store.client import Database
from core.backup import Dump
from core.breaker import Breaker, guarded
from core.catalogue import Catalogues
from core.errors import Unavailable
from core.facet_source import FacetSource
from core.holds import Holds
from core.jobs import Jobs
from core.migration import MigrationRecords, Migrator
from core.ports import (
    Accounts,
    Archive,
    Control,
    EventFeed,
    EventIndex,
    EventStore,
    Keys,
    Ledger,
    Outbox,
    Parking,
    Purge,
    Quarantine,
    Queue,
    SavedSearches,
    Tombstones,
    Usage,
)
from core.restriction import restricted
from core.segments import Segments
from core.settings import FileQueueSettings, Settings
from core.viewers import ViewerLinks

log = logging.getLogger(__name__)
_PATIENCE: Final = 60.0
_RETRY: Final = 0.5
MIGRATION_DEADLINE: Final = 6 * 3600.0
"""Seconds for one call of a migration: an index over years of events takes its time."""


@dataclass(frozen=True, slots=True)
class Backends:
    """Every port, open."""

    queue: Queue
    store: EventStore
    parking: Parking
    quarantine: Quarantine
    outbox: Outbox
    ledger: Ledger
    accounts: Accounts
    control: Control
    index: EventIndex
    feed: EventFeed
    jobs: Jobs
    archive: Archive
    searches: SavedSearches
    catalogues: Catalogues
    viewers: ViewerLinks
    keys: Keys
    usage: Usage
    holds: Holds
    tombstones: Tombstones
    purge: Purge
    segments: Segments
    migrations: MigrationRecords
    breakers: dict[str, Breaker]
    """By dependency; the ports above are behind them. Those with a tenant's data know a viewer's filter as well."""


@asynccontextmanager
async def open_backends(settings: Settings) -> AsyncIterator[Backends]:
    """The backends that `settings` choose, closed on exit.

    Waits up to a minute for the store, which may start at the same time; raises `Unavailable` after that. Queue and
    index need not be up.
    """
    from core.adapters.index.opensearch import open_index
    from core.adapters.store.client import open_client

    async with AsyncExitStack() as stack:
        client = open_client(settings.mongodb_url.get_secret_value())
        stack.callback(client.close)
        database = client[settings.mongodb_database]
        breakers = {name: Breaker(name) for name in ("store", "index")}
        control, searches = await _opened(database, migrates=settings.migrate_on_start)
        control = guarded(control, breakers["store"])
        index = open_index(
            settings.opensearch_url.get_secret_value(),
            shards=settings.index_shards,
            replicas=settings.index_replicas,
            facets_of=FacetSource(control).of,
            **_identity(settings),
        )
        stack.push_async_callback(index.aclose)
        queue = _queue(settings)
        stack.push_async_callback(queue.aclose)
        yield _behind(settings, database, breakers, control, searches, index, queue)


def _behind(
    settings: Settings,
    database: Database,
    breakers: dict[str, Breaker],
    control: Control,
    searches: SavedSearches,
    index: EventIndex,
    queue: Queue,
) -> Backends:
    """Every port behind its breaker, and where it has a tenant's data, behind a viewer's filter."""
    from core.adapters.store.accounts import MongoAccounts
    from core.adapters.store.catalogues import MongoCatalogues
    from core.adapters.store.events import MongoEventStore
    from core.adapters.store.feed import MongoEventFeed
    from core.adapters.store.holds import MongoHolds
    from core.adapters.store.jobs import MongoJobs
    from core.adapters.store.keys import MongoKeys
    from core.adapters.store.ledger import MongoLedger
    from core.adapters.store.migrations import MongoMigrationRecords
    from core.adapters.store.outbox import MongoOutbox
    from core.adapters.store.parking import MongoParking
    from core.adapters.store.purge import MongoPurge
    from core.adapters.store.quarantine import MongoQuarantine
    from core.adapters.store.segments import MongoSegments
    from core.adapters.store.tombstones import MongoTombstones
    from core.adapters.store.usage import MongoUsage
    from core.adapters.store.viewers import MongoViewerLinks

    store = breakers["store"]
    return Backends(
        queue=queue,
        store=restricted(guarded(MongoEventStore(database), store)),
        parking=guarded(MongoParking(database), store),
        quarantine=restricted(guarded(MongoQuarantine(database), store)),
        outbox=guarded(MongoOutbox(database), store),
        ledger=guarded(MongoLedger(database), store),
        accounts=restricted(guarded(MongoAccounts(database), store)),
        control=control,
        index=restricted(guarded(index, breakers["index"])),
        feed=restricted(MongoEventFeed(database)),
        searches=restricted(guarded(searches, store)),
        jobs=restricted(guarded(MongoJobs(database), store)),
        keys=restricted(guarded(MongoKeys(database), store)),
        viewers=restricted(guarded(MongoViewerLinks(database), store)),
        holds=restricted(guarded(MongoHolds(database), store)),
        tombstones=guarded(MongoTombstones(database), store),
        purge=restricted(guarded(MongoPurge(database), store)),
        usage=restricted(guarded(MongoUsage(database), store)),
        segments=restricted(guarded(MongoSegments(database), store)),
        catalogues=restricted(guarded(MongoCatalogues(database), store)),
        migrations=guarded(MongoMigrationRecords(database), store),
        archive=_archive(settings),
        breakers=breakers,
    )


class _Identity(TypedDict):
    sign_for: str | None
    ca_file: Path | None


def _identity(settings: Settings) -> _Identity:
    """How a client of the index shows who it is, and knows the index: whoever speaks to it needs both."""
    sign_for = settings.aws_region if settings.opensearch_auth == "sigv4" else None
    return {"sign_for": sign_for, "ca_file": settings.opensearch_ca_file}


def _archive(settings: Settings) -> Archive:
    if settings.archive_url is None:
        from core.adapters.archive.absent import NoArchive

        return NoArchive()
    from core.adapters.archive.keeping import Keeping
    from core.adapters.archive.objects import open_archive

    return open_archive(
        settings.archive_url,
        region=settings.aws_region,
        endpoint=settings.archive_endpoint_url,
        keeping=Keeping(settings.archive_class, settings.archive_lock_days, settings.archive_lock_mode),
    )


def _queue(settings: Settings) -> Queue:
    chosen = settings.queue_settings
    if isinstance(chosen, FileQueueSettings):
        from core.adapters.queue.file import FileQueue

        return FileQueue(chosen.path, settings.max_receives)
    from core.adapters.queue.sqs import SqsQueue

    return SqsQueue(chosen.url, chosen.region, chosen.endpoint)


@asynccontextmanager
async def open_migrator(settings: Settings, deadline: float = MIGRATION_DEADLINE) -> AsyncIterator[Migrator]:
    """The migrations of store and index; `deadline` is in seconds, for each call. Nothing is asked before its calls."""
    from core.adapters.index import migrations as of_index
    from core.adapters.index.client import Client
    from core.adapters.store import migrations as of_store
    from core.adapters.store.client import open_client

    async with AsyncExitStack() as stack:
        client = open_client(settings.mongodb_url.get_secret_value())
        stack.callback(client.close)
        database = client[settings.mongodb_database]
        index = Client(settings.opensearch_url.get_secret_value(), write_deadline=60.0, **_identity(settings))
        stack.push_async_callback(index.aclose)
        steps = [
            *of_store.steps(database, deadline),
            *of_index.steps(index, settings.index_shards, settings.index_replicas),
        ]
        yield Migrator(of_store.MongoMigrationRecords(database), steps, uuid.uuid4().hex)


@asynccontextmanager
async def open_dump(settings: Settings, url: str) -> AsyncIterator[tuple[Dump, Archive]]:
    """The store as documents, and the place of a backup; raises ValueError for a URL of neither kind."""
    from core.adapters.archive.objects import open_archive
    from core.adapters.store.client import open_client
    from core.adapters.store.dump import MongoDump

    archive = open_archive(url, region=settings.aws_region, endpoint=settings.archive_endpoint_url)
    client = open_client(settings.mongodb_url.get_secret_value())
    try:
        yield MongoDump(client[settings.mongodb_database]), archive
    finally:
        client.close()


async def _migrated(database: Database, *, migrates: bool) -> None:
    """Returns when the store has what this version needs; the index's own steps are for `ocelot migrate` alone."""
    from core.adapters.store import migrations

    records = migrations.MongoMigrationRecords(database)
    migrator = Migrator(records, migrations.steps(database), uuid.uuid4().hex)
    if await migrator.is_ready():
        return
    if not migrates:
        raise Unavailable("store", "the store lacks what this version needs: run `ocelot migrate`")
    await migrator.expand()


async def _opened(database: Database, *, migrates: bool = True) -> tuple[Control, SavedSearches]:
    """What opens by asking the store, once that answers; migrates it and makes the platform's tenant on the way."""
    from core.adapters.store.control import MongoControl
    from core.adapters.store.searches import MongoSavedSearches
    from core.audit import ensure_platform_tenant

    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            await _migrated(database, migrates=migrates)
            control = await MongoControl.open(database)
            await ensure_platform_tenant(control)
            return control, await MongoSavedSearches.open(database)
        except Unavailable as error:
            if time.monotonic() > deadline:
                raise
            log.warning("waiting for the store: %s", error.message)
            await asyncio.sleep(_RETRY)
