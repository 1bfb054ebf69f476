"""Exports as jobs: read in parts that outlive a killed runner, then joined into one file in the archive."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Final

from msgspec.structs import replace

from consumer.jobs.runner import Work
from core import instant
from core.errors import Conflict, Forbidden
from core.export.formats import FORMATS, Encoder
from core.export.naming import file_name
from core.export.packing import EXTENSIONS, packer
from core.export.saved import Checkpoint, Finished, Run, checkpoint_of, folder_of, part_name, part_names
from core.export.source import JOB_SETTLE_SECONDS, Source
from core.jobs import Job, Json, Progress
from core.ports import Archive, Control
from core.snapshots import Snapshots
from core.tenant import Tenant, TenantStatus

PART_BYTES: Final = 16 * 1024 * 1024
"""What a run holds in memory, and what a killed one has to read again."""
_SAVE_SECONDS: Final = 5.0


class ExportHandler:
    """See `consumer.jobs.runner.Handler`."""

    def __init__(
        self,
        control: Control,
        snapshots: Snapshots,
        source: Source,
        archive: Archive,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._control = control
        self._snapshots = snapshots
        self._source = source
        self._archive = archive
        self._part_bytes = part_bytes

    async def run(self, work: Work) -> Json:
        tenant = await self._control.tenant(work.job.tenant_id)
        if tenant is None or tenant.status is not TenantStatus.ACTIVE:
            raise Forbidden("the tenant is suspended or gone")
        await self._snapshots.current()
        self._check(work.job)
        saved = await self._begun(work, tenant)
        if not saved.complete:
            reading = _Reading(work, self._source, self._archive, saved, self._part_bytes)
            saved = await reading.run(lambda: self._check(work.job))
        self._check(work.job)
        if saved.file is None:
            saved = await self._joined(work, saved)
        await self._archive.remove(f"{folder_of(work.job)}/parts")
        assert saved.file is not None  # noqa: S101 - just joined
        form, packing = work.job.spec["format"], work.job.spec.get("packing")
        return {
            "events": saved.events,
            "bytes": saved.file.size,
            "sha256": saved.file.sha256,
            "file_name": file_name(tenant, saved.query, form + EXTENSIONS[packing]),
            "received_before": instant.to_text(saved.query.received_at.end or 0),
        }

    async def clean(self, job: Job) -> None:
        await self._archive.remove(folder_of(job))

    def _check(self, job: Job) -> None:
        """Raise once the key that asked for the export is revoked: what it began ends with it."""
        if self._snapshots.revoked(job.asked_by):
            raise Forbidden("the key that asked for this export was revoked; start another export")

    async def _begun(self, work: Work, tenant: Tenant) -> Checkpoint:
        """The checkpoint to go on from, its end fixed; a form that cannot be gone on with begins again."""
        saved = checkpoint_of(work.job)
        if not saved.bounded:
            query = await self._source.bounded(work.scope, tenant, saved.query, wait=JOB_SETTLE_SECONDS)
            saved = replace(saved, query=query, bounded=True)
        elif saved.runs and not saved.complete and FORMATS[work.job.spec["format"]].resumed is None:
            saved = Checkpoint(query=saved.query, bounded=True)
        await work.save(Progress(saved.events, None, saved.json()))
        return saved

    async def _joined(self, work: Work, saved: Checkpoint) -> Checkpoint:
        """The parts as one file. Its checksum is of what was read back; its name is this run's own."""
        digest, size = hashlib.sha256(), 0

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal size
            for name in part_names(work.job, saved):
                async for piece in self._archive.read(name):
                    digest.update(piece)
                    size += len(piece)
                    yield piece
            if size != saved.size:
                raise Conflict("a part of the file is not as it was written; start another export")

        name = f"{folder_of(work.job)}/file-{secrets.token_hex(8)}"
        await self._archive.put_stream(name, pieces(), saved.size)
        saved = replace(saved, file=Finished(name, size, digest.hexdigest()))
        await work.save(Progress(saved.events, saved.events, saved.json()))
        return saved


class _Reading:
    """One run over the events, from the checkpoint to the end."""

    def __init__(self, work: Work, source: Source, archive: Archive, saved: Checkpoint, part_bytes: int) -> None:
        self._work = work
        self._source = source
        self._archive = archive
        self._part_bytes = part_bytes
        self._saved = replace(saved, runs=(*saved.runs, Run(secrets.token_hex(8), 0)))
        self._buffer: list[bytes] = []
        self._size = 0
        self._packing: str | None = work.job.spec.get("packing")

    async def run(self, check: Callable[[], None]) -> Checkpoint:
        """Read to the end; `check` is called before each batch counts, and raises to end the run."""
        form = FORMATS[self._work.job.spec["format"]]
        continued = self._saved.size > 0 and form.resumed is not None
        encoder: Encoder = await asyncio.to_thread(form.resumed if continued and form.resumed else form.fresh)
        self._add(encoder.begin())
        saved, events = self._saved, self._saved.events
        batches = self._source.batches(self._work.scope, saved.query, saved.after)
        told = time.monotonic()
        async with aclosing(batches):
            async for batch in batches:
                check()
                if batch.events:
                    self._add(await asyncio.to_thread(encoder.events, batch.events))
                    events += len(batch.events)
                if self._size >= self._part_bytes:
                    await self._flush()
                    await self._save(replace(self._saved, after=batch.reached, events=events))
                elif time.monotonic() - told > _SAVE_SECONDS:
                    await self._work.save(Progress(events, None, self._saved.json()))
                else:
                    continue
                told = time.monotonic()
        self._add(await asyncio.to_thread(encoder.end))
        await self._flush()
        await self._save(replace(self._saved, events=events, complete=True))
        return self._saved

    def _add(self, data: bytes) -> None:
        self._buffer.append(data)
        self._size += len(data)

    async def _flush(self) -> None:
        """Write what has gathered as the run's next part; each is packed for itself."""
        data = await asyncio.to_thread(_packed, self._buffer, self._packing)
        self._buffer, self._size = [], 0
        *before, run = self._saved.runs
        await self._archive.put(part_name(self._work.job, run.name, run.parts), data)
        runs = (*before, replace(run, parts=run.parts + 1))
        self._saved = replace(self._saved, runs=runs, size=self._saved.size + len(data))

    async def _save(self, saved: Checkpoint) -> None:
        self._saved = saved
        await self._work.save(Progress(saved.events, saved.events if saved.complete else None, saved.json()))


def _packed(pieces: list[bytes], packing: str | None) -> bytes:
    data = b"".join(pieces)
    if packing is None or not data:
        return data
    made = packer(packing)
    return made.compress(data) + made.flush()
