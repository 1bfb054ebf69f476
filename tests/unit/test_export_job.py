"""An export as a job, killed at every step: the file in the end is whole, once, and as its checksum says."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from mongomock_motor import AsyncMongoMockClient

from consumer.jobs.export import ExportHandler
from consumer.jobs.runner import LeaseLost, Work
from core.adapters.archive.objects import ObjectArchive, open_archive
from core.adapters.store import drain
from core.adapters.store.events import MongoEventStore
from core.adapters.store.jobs import MongoJobs
from core.errors import Conflict, Forbidden
from core.export.saved import Checkpoint, checkpoint_of, folder_of
from core.export.source import Source
from core.ids import uuid7s
from core.jobs import Claim, Job, Json, Progress
from core.ports import AccessSnapshot
from core.query import EventQuery
from core.snapshots import Snapshots
from core.tenant import Tenant, TenantStatus
from tests.contracts.stores import START, a_scope, body_of, row
from tests.unit.ports import Ledger, anything

EVENTS = 60


class Killed(BaseException):
    """The process is gone."""


class Steps:
    """Counts what is done to the outside, and kills at one of the steps, before or after it is done."""

    def __init__(self) -> None:
        self.taken = 0
        self.kill_at: int | None = None

    def step(self) -> None:
        self.taken += 1
        if self.taken == self.kill_at:
            raise Killed


class Archive:
    def __init__(self, inner: ObjectArchive, steps: Steps) -> None:
        self.inner = inner
        self.steps = steps

    async def put(self, name: str, data: bytes) -> None:
        self.steps.step()
        await self.inner.put(name, data)
        self.steps.step()

    async def put_stream(self, name: str, pieces: AsyncIterator[bytes], size: int) -> None:
        self.steps.step()
        await self.inner.put_stream(name, pieces, size)
        self.steps.step()

    def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes, None]:
        return self.inner.read(name, start, end)

    async def size(self, name: str) -> int | None:
        return await self.inner.size(name)

    async def remove(self, folder: str) -> None:
        self.steps.step()
        await self.inner.remove(folder)


class Jobs(MongoJobs):
    steps = Steps()

    async def beat(self, claim: Claim, lease: float, progress: Progress | None = None) -> bool:
        self.steps.step()
        held = await super().beat(claim, lease, progress)
        self.steps.step()
        return held


class Control:
    def __init__(self, tenant: Tenant) -> None:
        self.found: Tenant | None = tenant
        self.revoked: set[str] = set()

    async def tenant(self, tenant_id: str) -> Tenant | None:
        return self.found

    async def snapshot(self) -> AccessSnapshot:
        return AccessSnapshot({}, frozenset(self.revoked))


class World:
    """A tenant with events, an archive in a folder, and a handler whose parts are small."""

    def __init__(self, folder: Path) -> None:
        self.now = START + 10**12
        self.steps = Steps()
        database = AsyncMongoMockClient()["test"]
        self.scope = a_scope()
        self.store = MongoEventStore(database)
        self.jobs = Jobs(database, lambda: self.now)
        self.jobs.steps = self.steps
        self.folder = folder
        self.archive = open_archive(folder.as_uri(), region="x")
        self.control = Control(Tenant(self.scope.tenant_id, "Acme", b"s" * 32, START - 1))
        source = Source(self.store, anything(None), anything(_ledger()))
        archive = anything(Archive(self.archive, self.steps))
        self.handler = ExportHandler(anything(self.control), Snapshots(anything(self.control)), source, archive, 3_000)
        self.bodies: list[bytes] = []

    async def fill(self) -> None:
        fields = [{"message": "x" * (n * 7 % 50), "metadata": {"n": n}} for n in range(EVENTS)]
        self.bodies = [body_of(self.scope.tenant_id, each, at=START + n // 4) for n, each in enumerate(fields)]
        await self.store.insert([row(self.scope, body) for body in self.bodies])

    async def ask(self, **spec: Any) -> str:
        job_id = uuid7s(self.now, 1)[0]
        spec = {"format": "ndjson", "packing": None, **spec}
        checkpoint = Checkpoint(query=EventQuery()).json()
        job = Job(
            job_id, self.scope.tenant_id, "export", spec, "ana", self.now, self.now, self.now + 10**12,
            progress=Progress(checkpoint=checkpoint),
        )  # fmt: skip
        await self.jobs.create(job, max_active=9)
        self.now += 1000
        return job_id

    async def run(self, job_id: str) -> Json:
        """Claim the job and run it; raises what ends the run, `Killed` among it."""
        self.now += 120_000_000
        claim = await self.jobs.claim(["export"], 60)
        assert claim is not None
        assert claim.job.id == job_id
        result = await self.handler.run(Work(self.jobs, claim, 60))
        assert await self.jobs.finish(claim, result, self.now + 10**12)
        return result

    async def file(self, job_id: str) -> bytes:
        job = await self.jobs.get(self.scope, job_id)
        assert job is not None
        made = checkpoint_of(job).file
        assert made is not None
        return b"".join([piece async for piece in self.archive.read(made.name)])

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


def _ledger() -> Ledger:
    class Complete(Ledger):
        async def complete_through(self, tenant_id: str = "") -> int | None:
            return None

    return Complete()


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(drain, "BATCH_BYTES", 600)
    monkeypatch.setattr(drain, "_STEP", 4)
    monkeypatch.setattr(drain, "_BATCH", 4)
    made = World(tmp_path)
    await made.fill()
    return made


FORMS = [("ndjson", None), ("ndjson", "gzip"), ("json", "zstd"), ("csv", None), ("parquet", None)]


@pytest.mark.parametrize(("form", "packing"), FORMS)
async def test_killed_at_every_step_it_ends_whole(world: World, form: str, packing: str | None) -> None:
    job_id = await world.ask(format=form, packing=packing)
    expected = world_content(world.bodies, form)
    result = await world.run(job_id)
    check(world, await world.file(job_id), result, form, packing, expected)
    steps, world.steps.taken = world.steps.taken, 0
    assert steps > 8
    for kill_at in range(1, steps + 1):
        job_id = await world.ask(format=form, packing=packing)
        world.steps.taken, world.steps.kill_at = 0, kill_at
        with pytest.raises(Killed):
            await world.run(job_id)
        world.steps.kill_at = None
        result = await world.run(job_id)
        check(world, await world.file(job_id), result, form, packing, expected)
        job = await world.jobs.get(world.scope, job_id)
        assert job is not None
        left = [path for path in world.files() if job_id in str(path)]
        assert [path for path in left if "parts" in str(path)] == []
        await world.handler.clean(job)
        assert [path for path in world.files() if job_id in str(path)] == []


async def test_killed_again_and_again_it_goes_forward(world: World) -> None:
    job_id = await world.ask()
    for _ in range(200):
        world.steps.taken, world.steps.kill_at = 0, 7
        try:
            result = await world.run(job_id)
        except Killed:
            continue
        break
    check(world, await world.file(job_id), result, "ndjson", None, world_content(world.bodies, "ndjson"))


async def test_a_runner_that_lost_its_lease_stops_and_spoils_nothing(world: World) -> None:
    job_id = await world.ask()
    stale = await world.jobs.claim(["export"], 60)
    assert stale is not None
    result = await world.run(job_id)
    whole = await world.file(job_id)
    with pytest.raises(LeaseLost):
        await world.handler.run(Work(world.jobs, stale, 60))
    assert await world.file(job_id) == whole
    assert hashlib.sha256(whole).hexdigest() == result["sha256"]


async def test_a_part_that_was_spoilt_fails_the_job(world: World) -> None:
    job_id = await world.ask()
    world.steps.kill_at = 10
    with pytest.raises(Killed):
        await world.run(job_id)
    world.steps.kill_at = None
    part = next(path for path in sorted(world.files()) if "parts" in str(path))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(Conflict):
        await world.run(job_id)


@pytest.mark.parametrize("status", [TenantStatus.SUSPENDED, TenantStatus.DELETING, None])
async def test_a_closed_tenant_gets_no_file(world: World, status: TenantStatus | None) -> None:
    job_id = await world.ask()
    tenant = Tenant(world.scope.tenant_id, "Acme", b"s" * 32, 0, status) if status else None
    world.control.found = tenant
    with pytest.raises(Forbidden):
        await world.run(job_id)
    assert world.files() == []


async def test_an_empty_export_is_a_file_too(world: World) -> None:
    world.now += 1
    for form, whole in (("ndjson", b""), ("json", b"[]\n")):
        job_id = await world.ask(format=form)
        job = await world.jobs.get(world.scope, job_id)
        assert job is not None
        await world.store._events.delete_many({})
        result = await world.run(job_id)
        assert (result["events"], result["bytes"], await world.file(job_id)) == (0, len(whole), whole)


def check(world: World, file: bytes, result: Json, form: str, packing: str | None, expected: Any) -> None:
    assert (result["events"], result["bytes"]) == (EVENTS, len(file))
    assert result["sha256"] == hashlib.sha256(file).hexdigest()
    if packing == "gzip":
        file = gzip.decompress(file)
    elif packing == "zstd":
        file = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(file), read_across_frames=True).read()
    assert content_of(file, form) == expected


def content_of(file: bytes, form: str) -> Any:
    if form == "parquet":
        return [row["id"] for row in pq.read_table(io.BytesIO(file)).to_pylist()]
    if form == "csv":
        return [line.split(b",")[0].decode() for line in file.split(b"\r\n")]
    return file


def world_content(bodies: list[bytes], form: str) -> Any:
    ordered = sorted(bodies, key=lambda body: (json.loads(body)["received_at"], json.loads(body)["id"]))
    ids = [json.loads(body)["id"] for body in ordered]
    if form == "ndjson":
        return b"".join(body + b"\n" for body in ordered)
    if form == "json":
        return b"[\n" + b",\n".join(ordered) + b"\n]\n"
    return ids if form == "parquet" else ["id", *ids, ""]


def test_a_jobs_files_lie_in_a_folder_of_its_tenant() -> None:
    job = Job("id", "tenant01", "export", {}, "", 0, 0, 0)
    assert folder_of(job) == "exports/tenant01/id"


async def test_an_export_ends_with_the_key_that_asked_for_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await world.ask()
    put, parts = world.archive.put, []

    async def revoked_meanwhile(name: str, data: bytes) -> None:
        await put(name, data)
        parts.append(name)
        world.control.revoked.add("ana")
        await world.handler._snapshots.refresh()

    monkeypatch.setattr(world.archive, "put", revoked_meanwhile)
    with pytest.raises(Forbidden, match="revoked"):
        await world.run(job_id)
    assert len(parts) == 1, "it stops at the next batch"
    with pytest.raises(Forbidden, match="revoked"):
        await world.run(job_id)
    job = await world.jobs.get(world.scope, job_id)
    assert job is not None
    assert checkpoint_of(job).file is None
    assert len(parts) == 1
