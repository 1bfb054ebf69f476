"""`ocelot backup` and `ocelot restore`: the whole store into files with checksums, and back."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from cli.operator import failed, with_settings
from consumer.jobs.rebuild import Rebuild
from core.backup import Contents, Dump, Manifest, back_up, manifest_of, restore, verify
from core.errors import Conflict, OcelotError
from core.ports import Archive
from core.query import Position
from core.segments import Segment
from core.settings import Settings
from core.tenant import for_system
from core.wiring import Backends, open_backends, open_dump, open_migrator

T = TypeVar("T")
_PAGE: Final = 500
Place = Annotated[str, typer.Argument(help="A folder, or s3://bucket/prefix.")]


def backup_command(place: Place) -> None:
    """Write every document of the store, with checksums; the service may run. Keep it as secret as the store."""

    async def work(dump: Dump, archive: Archive) -> Manifest:
        return await back_up(dump, archive, uuid.uuid4().hex, _told)

    manifest = _with_dump(with_settings(), place, work, fresh=True)
    typer.echo(
        f"backup {manifest.id} of the database {manifest.database}: {_size(manifest)}, as of {manifest.began_at}"
    )
    if manifest.altered:
        raise failed(f"{manifest.altered} events are not what their hash covers; the backup has them as they are")


def restore_command(
    place: Place,
    check: Annotated[bool, typer.Option("--check", help="Only read the backup and compare its checksums.")] = False,
    reindex: Annotated[bool, typer.Option(help="Make the index anew from the restored store.")] = True,
) -> None:
    """Put a backup into an empty database, compare what is there with it, and make the index anew."""
    settings = with_settings()

    async def verified(_: Dump, archive: Archive) -> Manifest:
        manifest = await manifest_of(archive)
        await verify(archive, manifest, _told if check else lambda _: None)
        return manifest

    async def restored(dump: Dump, archive: Archive) -> Manifest:
        manifest = await verified(dump, archive)
        await restore(dump, archive, manifest, _told)
        async with open_migrator(settings) as migrator:
            await migrator.expand(index=False)
        await dump.end()
        return manifest

    manifest = _with_dump(settings, place, verified if check else restored, fresh=False)
    typer.echo(f"backup {manifest.id} of {manifest.began_at}: {_size(manifest)}, {'good' if check else 'restored'}")
    if not check and _run(_afterwards(settings, reindex)):
        raise failed("the archive lacks files that the store names")


async def _afterwards(settings: Settings, reindex: bool) -> int:
    """What the store's records ask for: the index anew, and files of the archive; how many of these are missing."""
    async with open_backends(settings) as backends:
        files = missing = 0
        for tenant in await backends.control.tenants():
            if reindex:
                # The mark goes when the index is whole again; until then the store answers what it can.
                await backends.ledger.set_rebuilding(tenant.id, True)
                await backends.index.drop(for_system(tenant.id, "restore"))
            async for segment in _segments(backends, tenant.id):
                files += 1
                if await backends.archive.size(segment.name) != segment.size:
                    missing += 1
                    typer.echo(f"not in the archive: {segment.name}", err=True)
        typer.echo(f"{files} archived files, {missing} missing")
        if reindex:
            await Rebuild(backends.control, backends.store, backends.index, backends.ledger).run()
            typer.echo("the index is rebuilt")
    return missing


async def _segments(backends: Backends, tenant_id: str) -> AsyncIterator[Segment]:
    scope = for_system(tenant_id, "restore")
    after: Position | None = None
    while page := await backends.segments.listing(scope, after=after, limit=_PAGE):
        for segment in page:
            yield segment
        after = Position(page[-1].first.us, page[-1].first.id)


def _with_dump(settings: Settings, place: str, work: Callable[[Dump, Archive], Awaitable[T]], *, fresh: bool) -> T:
    folder = None if place.startswith(("s3://", "file://")) else Path(place).resolve()
    if folder is not None and not fresh and not folder.is_dir():
        raise failed(f"there is no folder {place}")
    os.umask(0o077)  # the documents are every tenant's events, and their keys' digests

    async def run() -> T:
        url = place if folder is None else folder.as_uri()
        try:
            async with open_dump(settings, url) as (dump, archive):
                return await work(dump, archive)
        except ValueError as error:
            raise Conflict(f"{place}: {error}") from None

    result = _run(run())
    if folder is not None and fresh:
        _sync(folder)
    return result


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except OcelotError as error:
        raise failed(error.message) from None


def _sync(folder: Path) -> None:
    """On return the files outlive a power failure."""
    for path in [*folder.iterdir(), folder]:
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _told(contents: Contents) -> None:
    typer.echo(f"{contents.name:16} {contents.documents:>12}  {contents.bytes:>15}  {contents.sha256}")


def _size(manifest: Manifest) -> str:
    documents, size = (sum(getattr(c, what) for c in manifest.collections) for what in ("documents", "bytes"))
    return f"{documents} documents in {len(manifest.collections)} collections, {size} bytes"
