"""A log with events of many months, and what moves them into the archive and back, killed where a test says."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from consumer.jobs.restore import Restore
from consumer.jobs.retained import Ports
from consumer.jobs.retention import Retention
from consumer.jobs.runner import Work
from core import instant
from core.adapters.archive.objects import open_archive
from core.adapters.store.accounts import MongoAccounts
from core.adapters.store.events import MongoEventStore
from core.adapters.store.holds import MongoHolds
from core.adapters.store.jobs import MongoJobs
from core.adapters.store.ledger import MongoLedger
from core.adapters.store.segments import MongoSegments
from core.archiving.files import SegmentFiles
from core.envelope import Record
from core.holds import Hold
from core.ids import uuid7s
from core.jobs import RESTORE, RETENTION, Claim, Job, Json
from core.placement import place
from core.ports import Generation, IndexDocument, IndexOutcome, Stored, StoreRow
from core.query import Condition, EventQuery, Match, Value
from core.rows import row_of
from core.segments import Segment
from core.tenant import Tenant, TenantScope, for_system, new_tenant_id
from tests.killing import Killed, Port

SECOND = 1_000_000
DAY = 86_400 * SECOND
NOW = instant.parse("2026-06-15T12:00:00Z")[0]
BEFORE = instant.parse("2026-05-10T00:00:00Z")[0]


class MemoryIndex:
    """What retention asks of an index; the contract suites say what it is like."""

    def __init__(self) -> None:
        self.placements: dict[str, dict[str, bytes]] = defaultdict(dict)

    async def index(
        self, scope: TenantScope, placement: str, documents: Sequence[IndexDocument]
    ) -> list[IndexOutcome | Exception]:
        held = self.placements[placement]
        outcomes = [IndexOutcome.PRESENT if d.id in held else IndexOutcome.INDEXED for d in documents]
        for document in documents:
            held.setdefault(document.id, document.body)
        return list(outcomes)

    async def remove(self, scope: TenantScope, placement: str, ids: Collection[str]) -> int:
        held = self.placements.get(placement, {})
        return sum(held.pop(event_id, None) is not None for event_id in ids)

    async def drop_placement(self, scope: TenantScope, placement: str) -> None:
        self.placements.pop(placement, None)

    async def generations(self, scope: TenantScope) -> list[Generation]:
        return [Generation(placement, 1, True) for placement in sorted(self.placements)]

    async def refresh(self, scope: TenantScope) -> None: ...

    def ids(self) -> list[str]:
        return sorted(itertools.chain.from_iterable(self.placements.values()))


class World:
    """One tenant, its ports and its clock; `index` is a `MemoryIndex` unless one is given."""

    def __init__(self, database: Any, folder: Path, index: Any = None) -> None:
        self.tenant = Tenant(new_tenant_id(), "t", b"s" * 32, NOW - 400 * DAY)
        self.scope = for_system(self.tenant.id, "test")
        self.now = NOW
        self.folder = folder
        self.archive: Any = open_archive(folder.as_uri(), region="us-east-1")
        self.store = MongoEventStore(database)
        self.index: Any = index or MemoryIndex()
        self.ledger = MongoLedger(database)
        self.accounts = MongoAccounts(database)
        self.holds = MongoHolds(database)
        self.segments = MongoSegments(database)
        self.jobs = MongoJobs(database, lambda: self.now)
        self.rows: dict[str, StoreRow] = {}
        self.steps = 0
        self.kill_at = 0
        self.kill_before = True
        self._numbers = itertools.count(1000)

    async def tenant_of(self, tenant_id: str) -> Tenant | None:
        return self.tenant if tenant_id == self.tenant.id else None

    async def step(self, *, before: bool) -> None:
        self.steps += before
        if self.steps == self.kill_at and before is self.kill_before:
            raise Killed

    async def arrive(self, *times: str | int, user: str = "ben", key: str | None = None) -> list[str]:
        """Events received at these times, stored and indexed; with a `key`, of the same id each time."""
        rows = [self._row(instant.parse(at)[0] if isinstance(at, str) else at, user, key) for at in times]
        await self.store.insert(rows)
        for row in rows:
            self.rows[row.id] = row
            await self.index.index(self.scope, row.placement, [IndexDocument(row.id, row.body)])
        return [row.id for row in rows]

    def _row(self, at: int, user: str, key: str | None) -> StoreRow:
        number = next(self._numbers)
        event_id = uuid7s(at, 1)[0] if key is None else f"00000000-0000-8000-8000-{int(key):012}"
        event = {
            "id": event_id, "tenant_id": self.tenant.id, "timestamp": instant.to_text(at - number),
            "received_at": instant.to_text(at), "salt": f"s{number}", "severity": "INFO", "action": "a",
            "user_id": user, "tags": ["x"], "message": "Ünïcode",
        }  # fmt: skip
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        body = body[:-1] + b',"metadata":{"a.b":[1.0,1e400,null],"a.b ":"\\ud83d\\ude00"}}'
        placement = place(self.tenant.placements, at)
        content = None if key is None else hashlib.sha256(f"{key}{number}".encode()).digest()
        return row_of(Record(self.tenant.id, placement, body, content), f"e{number}")

    async def hold(self, user: str | None) -> Hold:
        """A hold of a user's events; None: of everything."""
        query = EventQuery()
        if user is not None:
            query = EventQuery(conditions=(Condition("user_id", (Value(user, Match.EQUAL),)),))
        hold = Hold(uuid7s(self.now, 1)[0], self.tenant.id, query, b"{}", "r", "test", self.now, 1)
        await self.holds.create(self.scope, hold)
        return hold

    async def ask(self, kind: str = RETENTION, **spec: int) -> Job:
        self.now += 1000
        given = {"before": BEFORE} if kind == RETENTION else {"received_from": 0, "received_to": 1 << 60}
        spec = given | ({"until": self.now + 7 * DAY} if kind == RESTORE else {}) | spec
        job = Job(uuid7s(self.now, 1)[0], self.tenant.id, kind, spec, "test", self.now, self.now, self.now + DAY)
        await self.jobs.create(job, max_active=9)
        return job

    async def claim(self) -> Claim:
        self.now += 120 * SECOND  # past any lease
        claim = await self.jobs.claim([RETENTION, RESTORE], 60)
        assert claim is not None
        return claim

    async def run(self, claim: Claim, *, killed: bool = False) -> Json:
        """One runner at the job; its ports die when `killed` at the world's `kill_at`."""

        def port(each: Any) -> Any:
            return Port(each, self) if killed else each

        control = type("Control", (), {"tenant": staticmethod(self.tenant_of)})()
        ports = Ports(
            jobs=port(self.jobs), control=port(control), store=port(self.store), index=port(self.index),
            ledger=port(self.ledger), accounts=port(self.accounts), holds=port(self.holds),
            segments=port(self.segments), files=SegmentFiles(port(self.archive), 3),
        )  # fmt: skip
        handlers: dict[str, Any] = {
            RETENTION: Retention(ports, clock=lambda: self.now, segment_events=3),
            RESTORE: Restore(ports),
        }
        return dict(await handlers[claim.job.kind].run(Work(port(self.jobs), claim, 60)))

    async def done(self, kind: str = RETENTION, **spec: int) -> Json:
        """The result of a job that nobody kills."""
        await self.ask(kind, **spec)
        claim = await self.claim()
        result = await self.run(claim)
        assert await self.jobs.finish(claim, result, self.now + DAY)
        return result

    async def stored(self) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        async for batch in self.store.scan(self.scope, start=0, end=1 << 60):
            found |= {event.id: event for event in batch}
        return found

    async def archived(self) -> list[Stored]:
        """Every event of every recorded segment, read from the files."""
        files = SegmentFiles(self.archive, 3)
        return [event for segment in await self.recorded() for event in await files.read(segment)]

    async def recorded(self) -> list[Segment]:
        return await self.segments.listing(self.scope, after=None, limit=1000)

    async def booked(self) -> int:
        """Events that are in the archive alone, by the books."""
        return (await self.accounts.tally(self.scope, 0, 1 << 60)).archived

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())
